"""The journal of a supervisor: what it says and writes about itself, and keeps there for those who look for it.

Log lines, the state file, the info file, and the files by which it is found (PID file, lock file). A full disk or a
tidy person may take each of them; what is missing is written again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from . import info, lines, state
from .instance import Instance
from .loop import Loop, Rebindable
from .posix import files
from .timers import Timers

RETRY_EVERY: Final = 5.0  # seconds between tries to write to a full disk
STATUS_EVERY: Final = 1.0  # seconds between writes of the child's status; each STATUS= would be a write


class Journal:
    """The log, the state file and the info file of this supervisor; `timers` are those of its loop."""

    def __init__(self, instance: Instance, timers: Timers) -> None:
        self._spec, self._log, self._state, self._timers = instance.spec, instance.log, instance.state, timers
        self._owned, self._pid_file = instance.owned, instance.pid_file
        self._info: files.Stamp | None = None  # the info file as we have written it
        self._wrong: set[str] = set()  # files that cannot be made again, said once

    def say(self, level: str, event: str, **fields: object) -> None:
        self._log.line(lines.line(level, f"supervisor.{event}", name=self._spec.name, **fields))

    def become(self, name: str, why: str) -> None:
        self._state.become(name, why)
        self.write_state()

    def write_state(self) -> None:
        self._state.log.update(self._log.counts())
        self._timers.drop("state")
        if not self._state.write():
            self._timers.set("state", RETRY_EVERY, self.write_state)

    def write_state_soon(self) -> None:
        if "state" not in self._timers:
            self._timers.set("state", STATUS_EVERY, self.write_state)

    def write_info(self) -> None:
        """Write the info file for people. It is correct as long as it exists."""
        spec = self._spec
        if not spec.info_file:
            return
        if state.replace(spec.info_file, info.text(spec, self._state.began, self._state.child)):
            self._info = files.stamp(spec.info_file)
        else:
            self._timers.set("info", RETRY_EVERY, self.write_info)

    def copy(self, output: bytes) -> None:
        """Copy output of the child to the log."""
        self._log.feed(output)
        if self._log.losing and "log" not in self._timers:
            self.write_state()
            self._timers.set("log", RETRY_EVERY, self._retry_log)

    def _retry_log(self) -> None:
        if not self._log.retry():
            self._timers.set("log", RETRY_EVERY, self._retry_log)
        self.write_state()

    def restore(self) -> None:
        """Make again what somebody has removed, moved or overwritten; nobody could find us without it."""
        self._restore("lock file", self._owned.restore)
        self._restore("PID file", self._pid_file.restore)
        if self._state.written and files.stamp(self._spec.state_file) is None:
            self.write_state()
        if self._info is not None and files.stamp(self._spec.info_file) is None:
            self.write_info()

    def _restore(self, name: str, restore: Callable[[], str]) -> None:
        try:
            how = restore()
        except OSError as error:
            if name not in self._wrong:
                self.say("warning", "file_not_restored", file=name, error=str(error))
            self._wrong.add(name)
            return
        self._wrong.discard(name)
        if how:
            self.say("warning", "file_restored", file=name, how=how)

    def bind_again(self, name: str, source: Rebindable, loop: Loop) -> None:
        """Bind a socket again that somebody has removed, and say so."""
        if loop.bind_again(source):
            self.say("warning", "file_restored", file=name, how="removed or replaced")

    def close(self) -> None:
        """Remove the info file and close the log."""
        files.remove_own(self._spec.info_file, self._info)
        self._log.close()
