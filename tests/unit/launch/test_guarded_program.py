"""A program under a guard: its code, its signals, and that it ends when its starter is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from kubiya_worker.launch.guarded_program import GUARD_KILLED, GuardedProgram
from tests.support.processes import runs
from tests.support.supervised import until

PATIENCE = 40.0
STUBBORN = "trap '' TERM; echo $$; while :; do sleep 100; done"  # a shell that SIGTERM does not end


@contextmanager
def guarded(folder: Path, *argv: str) -> Iterator[GuardedProgram]:
    program = GuardedProgram("test", argv, {"PATH": os.defpath}, folder / "log")
    try:
        yield program
    finally:
        program.kill()
        program.wait(PATIENCE)
        program.close()


def test_the_code_is_the_programs_and_its_output_is_in_the_log(tmp_path: Path) -> None:
    with guarded(tmp_path, "/bin/sh", "-c", "echo hello; exit 7") as program:
        assert program.wait(PATIENCE) and program.code() == 7
        assert program.last_lines() == ["hello"]


def test_a_program_that_is_not_there_says_so_in_the_log(tmp_path: Path) -> None:
    with guarded(tmp_path, str(tmp_path / "nothing")) as program:
        assert program.wait(PATIENCE) and program.code() == 78
        assert "nothing cannot be started" in program.last_lines()[0]


def test_terminate_reaches_the_program(tmp_path: Path) -> None:
    with guarded(tmp_path, "/bin/sh", "-c", "echo up; exec sleep 100") as program:
        until(program.last_lines)
        program.terminate()
        assert program.wait(PATIENCE) and program.code() == 128 + signal.SIGTERM


def test_kill_ends_a_program_that_ignores_sigterm_and_all_below_it(tmp_path: Path) -> None:
    with guarded(tmp_path, "/bin/sh", "-c", STUBBORN) as program:
        pid = int(until(program.last_lines)[0])
        below = until(lambda: psutil.Process(pid).children())
        program.terminate()
        program.kill()
        assert program.wait(PATIENCE) and program.code() == 128 + signal.SIGKILL
        assert not [each for each in (pid, below[0].pid) if runs(each)]


def test_a_killed_guard_takes_its_program_along(tmp_path: Path) -> None:
    with guarded(tmp_path, "/bin/sh", "-c", "echo $$; exec sleep 100") as program:
        pid = int(until(program.last_lines)[0])
        os.kill(program.pid, signal.SIGKILL)
        assert program.wait(PATIENCE) and program.code() == GUARD_KILLED
        if sys.platform == "linux":  # elsewhere nothing but the death pipe tells the program
            until(lambda: not runs(pid))


def test_nothing_outlives_a_starter_that_was_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from kubiya_worker.launch.guarded_program import GuardedProgram\n"
        f"program = GuardedProgram('test', ['/bin/sh', '-c', {STUBBORN!r}], {{}}, Path(sys.argv[1]))\n"
        "time.sleep(100)\n"
    )
    log = tmp_path / "log"
    starter = subprocess.Popen([sys.executable, "-c", code, str(log)])
    try:
        pid = int(until(lambda: log.exists() and log.read_text().strip()))
    finally:
        starter.kill()
        starter.wait()
    until(lambda: not runs(pid))
