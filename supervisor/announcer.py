"""The announcer tells those above the supervisor how it goes: the process that started it, and the service manager."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .daemon import Readiness
from .posix.child import ChildExit
from .posix.notify import NotifySender
from .timers import Timers


class Announcer:
    """The readiness pipe to the starter, and the notify socket of the service manager. Each may be missing.

    Its timer is "own_watchdog".
    """

    def __init__(self, readiness: Readiness, environment: Mapping[str, str], timers: Timers) -> None:
        self._readiness, self._manager, self._timers = readiness, NotifySender(environment), timers

    def keep_alive(self) -> None:
        """Give the service manager a sign of life now and from time to time, if it wants one."""
        if self._manager.watchdog_every:
            self._manager.send("WATCHDOG=1")
            self._timers.set("own_watchdog", self._manager.watchdog_every, self.keep_alive)

    def child_started(self, pid: int) -> None:
        self._readiness.tell("started", pid=os.getpid(), worker_pid=pid)

    def child_ready(self, pid: int, log_file: str) -> None:
        self._readiness.final(True, pid=os.getpid(), worker_pid=pid, log_file=log_file)
        self._manager.send("READY=1", f"MAINPID={os.getpid()}")

    def child_status(self, status: str) -> None:
        self._manager.send(f"STATUS={status}")

    def child_died(self, end: ChildExit, kind: str, last_lines: list[str], retry_in: float) -> None:
        self._readiness.tell(
            "died",
            exit_code=end.shell_code,
            **{"class": kind},
            reason=str(end),
            last_lines=last_lines,
            retry_in=round(retry_in, 3),
        )

    def stopping(self) -> None:
        self._manager.send("STOPPING=1")

    def finished(self, code: int, why: str, last_lines: list[str]) -> None:
        self._readiness.final(False, exit_code=code, reason=why, last_lines=last_lines)
