"""S7: what a supervisor costs."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.supervised import Supervised


@pytest.mark.skipif(sys.platform != "linux", reason="measured on Linux")
@pytest.mark.skipif("COVERAGE_PROCESS_CONFIG" in os.environ, reason="coverage.py takes memory of its own")
def test_it_is_small_and_sleeps(tmp_path: Path) -> None:
    with Supervised(tmp_path, "ready", "wait", foreground=False) as supervised:
        process = psutil.Process(supervised.ready()["pid"])
        assert process.memory_info().rss < 20_000_000
        for _ in range(5):  # on a busy machine it may not have come to rest yet
            before = sum(process.cpu_times()[:2])
            time.sleep(3)  # idle CPU is a figure over time
            used = sum(process.cpu_times()[:2]) - before
            if used < 0.011:
                break
        assert used < 0.011, "at most one tick of the clock"
