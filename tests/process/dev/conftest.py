"""Runs of `kubiya dev` that are stopped, whatever the test did."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.dev import Dev


@pytest.fixture
def started() -> Iterator[list[Dev]]:
    runs: list[Dev] = []
    yield runs
    for run in runs:
        if run.process.popen.poll() is None:
            run.process.signal(signal.SIGTERM)
            try:
                run.process.wait(40)
            except subprocess.TimeoutExpired:
                pass  # killed below
        run.process.kill()
