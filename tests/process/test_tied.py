"""Temporal and the control plane of tests end with pytest, also when it is killed and runs no teardown."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import runs
from tests.support.stack import ROOT, Process, wait_until

ALONE = """
from pathlib import Path
from tests.support.stack import Process
print(Process(["sleep", "600"], {}, Path("/"), tied=True).pid, flush=True)
input()
"""
ENGINE = """
from tests.support.stack import Stack

def test_it(tmp_path):
    with Stack(tmp_path) as stack:
        print("pids", stack.temporal.pid, stack.server.pid, flush=True)
        stack.temporal.wait(600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_tied_program_ends_with_whoever_started_it(number: signal.Signals, tmp_path: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", ALONE], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdin is not None and starter.stdout is not None
    with starter.stdin, starter.stdout:
        pid = int(starter.stdout.readline())
        assert runs(pid)
        starter.send_signal(number)
        starter.wait(60)
    wait_until(lambda: not runs(pid), 60, "the program has ended")


def test_a_tied_program_that_ends_first_leaves_no_watcher(tmp_path: Path) -> None:
    program = Process([sys.executable, "-c", "import os; print(os.getpid())"], {}, tmp_path, tied=True)
    assert program.wait() == 0
    assert program.lines == [str(program.pid)]  # the end of its output came, which a watcher would hold open
    program.kill()


@pytest.mark.slow
def test_the_engine_ends_with_a_pytest_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "test_engine.py").write_text(ENGINE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")  # without one, the ini file of a folder above is taken
    options = ["-s", "-p", "no:cacheprovider"]
    run = Process([sys.executable, "-m", "pytest", *options, "test_engine.py"], {}, tmp_path)
    try:
        temporal, server = map(int, run.expect(r"pids \d+ \d+").split()[-2:])
        assert runs(temporal) and runs(server)
        run.signal(signal.SIGTERM)
        run.wait()
        wait_until(lambda: not runs(temporal) and not runs(server), 60, "Temporal and the control plane have ended")
    finally:
        run.kill()
