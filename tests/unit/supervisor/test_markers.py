"""A process is found by an entry of its environment: by the beginning of its value, or by exactly this value."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kubiya_worker._supervisor.posix.markers import pids_with


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_value_is_found_by_its_beginning_or_exactly() -> None:
    value = f"{os.getpid()}.call"
    process = subprocess.Popen(["sleep", "60"], env={"FIRST": "1", "KUBIYA_TEST_MARKER": value})
    try:
        entry = f"KUBIYA_TEST_MARKER={os.getpid()}.".encode()
        assert pids_with(entry) == [process.pid]
        assert pids_with(entry + b"\0") == []
        assert pids_with(entry + b"call\0") == [process.pid]
        assert pids_with(b"TEST_MARKER=") == []  # an entry is found from its first letter only
    finally:
        process.kill()
        process.wait()
