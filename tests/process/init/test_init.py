"""PID 1: signals are passed on, orphans are reaped, the exit code is the child's. In a real PID namespace."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.processes import UNSHARE, may_unshare

ROOT = Path(__file__).parents[3]
INIT = "import os, sys; from kubiya_worker.launch import init; sys.exit(init.run(sys.argv[1:], os.environ))"

Start = Callable[[str], subprocess.Popen[str]]


pytestmark = pytest.mark.skipif(not may_unshare(), reason="may not make PID namespaces here")


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(script: str) -> subprocess.Popen[str]:
        argv = [*UNSHARE, sys.executable, "-c", INIT, sys.executable, "-u", "-c", script]
        process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_exit_code_is_the_childs(start: Start) -> None:
    assert start("raise SystemExit(77)").wait(60) == 77


def test_a_child_that_a_signal_ended_gives_128_and_the_signal(start: Start) -> None:
    assert start("import os; os.kill(os.getpid(), 9)").wait(60) == 137


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2])
def test_signals_reach_the_child(start: Start, number: signal.Signals) -> None:
    process = start(
        f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [{number.value}]); print('up');"
        f" print(signal.sigwait([{number.value}]).name); raise SystemExit(3)"
    )
    assert _line(process) == "up"
    # `unshare` is outside of the namespace; PID 1 of it is its only child.
    inner = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout.split()
    subprocess.run(["kill", f"-{number.value}", *inner], check=True)
    assert _line(process) == number.name
    assert process.wait(60) == 3


def test_orphans_are_reaped(start: Start) -> None:
    """Twenty grandchildren lose their parent and end; none stays as a zombie of PID 1."""
    process = start(
        "import os, pathlib, time\n"
        "for _ in range(20):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        os.fork()\n"
        "        os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
        "def left():\n"
        "    stats = [p.read_text() for p in pathlib.Path('/proc').glob('[0-9]*/stat')]\n"
        "    return sum(s.rpartition(')')[2].split()[1] == '1' for s in stats)\n"
        "deadline = time.monotonic() + 60\n"
        "while left() > 1 and time.monotonic() < deadline: time.sleep(0.01)\n"
        "print(left())\n"
    )
    assert _line(process) == "1"  # the child itself
    assert process.wait(60) == 0
