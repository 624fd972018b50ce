"""A stop waits for the end of a process, also where nobody buries it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil

from kubiya_worker.launch import control

# Starts a process that ends at once, tells its PID and never asks for it: as the first process of many containers.
NEGLECTFUL = (
    "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', '']); print(p.pid, flush=True); input()"
)


def test_a_process_that_nobody_buries_has_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", NEGLECTFUL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        try:
            process = psutil.Process(int(parent.stdout.readline()))
            began = time.monotonic()
            assert control.wait(process, 60)
            assert time.monotonic() - began < 30 and process.status() == psutil.STATUS_ZOMBIE
        finally:
            parent.kill()


def test_a_process_that_goes_on_has_not_ended() -> None:
    assert not control.wait(psutil.Process(os.getpid()), 0.3)
