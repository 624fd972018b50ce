"""A program that `kubiya dev` runs under a guard, so that it does not outlive `kubiya dev`.

`kubiya dev` can be killed with SIGKILL and then cannot stop its programs. The guard is the one that a supervisor uses
(`supervisor/posix/guard.py`). It has its own session: a Ctrl-C in the terminal reaches `kubiya dev` only, which then
stops its programs in order.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from kubiya_worker._supervisor.posix.child import Child
from kubiya_worker._supervisor.posix.guard import ChildCommand

GUARD_KILLED = 128 + signal.SIGKILL  # the exit code of a program whose guard was killed


class GuardedProgram:
    """A program under a guard. Its output is appended to `log`; nothing of its environment is written anywhere."""

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str], log: Path, *, umask: int = -1) -> None:
        """Start the guard and its program. Raises OSError when the log or the guard fails.

        `umask` -1 keeps the umask of this process.
        """
        self.name = name
        self.log = log
        self.started = time.monotonic()
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            self.log_start = os.fstat(descriptor).st_size  # bytes: where this run's lines begin
            run = os.urandom(8).hex()
            # Spawned, not forked: `kubiya dev` has other threads at its start.
            self._child = Child(ChildCommand(tuple(argv)), dict(env), run, descriptor, spawn=True, umask=umask)
        finally:
            os.close(descriptor)
        assert self._child.process is not None
        self._guard = self._child.process
        self._code: int | None = None

    @property
    def pid(self) -> int:
        """Return the PID of the guard."""
        return self._guard.pid

    def code(self) -> int | None:
        """Return the program's exit code (128 + signal); None while it or something that it has left runs."""
        if self._code is None and self._guard.poll() is not None:
            self._child.hear()
            end = self._child.end
            self._code = GUARD_KILLED if end is None else end.shell_code
            if end is not None and end.why:
                self._append(f"{end.why}\n")
        return self._code

    def terminate(self) -> None:
        self._child.signal(signal.SIGTERM)

    def kill(self) -> None:
        self._child.kill()

    def wait(self, timeout: float) -> bool:
        """Return whether the program has ended within `timeout` seconds."""
        try:
            self._guard.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """Let go of the guard; it ends a program that still runs."""
        self.code()
        self._child.close()

    def last_lines(self, count: int = 5, size: int = 8192) -> list[str]:
        """Return the last lines that this run has logged."""
        try:
            with self.log.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                begin = self.log_start if end >= self.log_start else 0  # it was rotated, so all of it is of this run
                file.seek(max(begin, end - size))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return []
        return [line for line in lines if line.strip()][-count:]

    def _append(self, text: str) -> None:
        try:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError:
            pass  # the disk is full; the exit code still tells what happened
