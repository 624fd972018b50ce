"""A run is one start of the child, what is known of it, and the steps that end it.

end ──grace period──> force (SIGTERM, twice) ──kill_after──> kill (SIGKILL to all) ──1 s──> SIGKILL to the guard
dump (SIGABRT) ──5 s──> kill
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Final

from . import lines
from .aftermath import RunFacts
from .posix.child import Child, ChildExit
from .spec import Spec
from .timers import Timers

DUMP_GRACE: Final = 5.0  # seconds that a hung child gets to write where it hangs
GUARD_GRACE: Final = 1.0  # seconds that a guard gets to kill the run
SWEEP_GRACE: Final = 10.0  # seconds that a guard gets to end what the child left behind; it needs 4 at most


class ChildRun:
    """The run of `child` since `started_at`. Its timers are "force", "again", "kill" and "guard"."""

    def __init__(
        self, child: Child, started_at: float, *, spec: Spec, timers: Timers, say: Callable[..., None]
    ) -> None:
        self.child, self.started_at = child, started_at
        self.ready_at: float | None = None
        self.hung = self.killed = False
        self.orphan_end: ChildExit | None = None  # the end of the child when its guard was killed
        self.early: list[dict[str, str]] = []  # notifications that came before the guard reported the child's PID
        self._spec, self._timers, self._say = spec, timers, say

    @property
    def ready(self) -> bool:
        return self.ready_at is not None

    def facts(self, intent: str) -> RunFacts:
        return RunFacts(intent, self.ready, self.hung, self.killed)

    def healthy(self, now: float) -> float:
        """Return the seconds since it was ready; 0 if it never was."""
        return 0.0 if self.ready_at is None else now - self.ready_at

    # -- its end

    def signal(self, number: int) -> None:
        """Signal the child, and wake it: a suspended child cannot act on a signal."""
        self.child.signal(number)
        self.child.signal(signal.SIGCONT)

    def end(self) -> None:
        """Ask the child to stop within the grace period."""
        self.signal(signal.SIGTERM)
        self._begin_grace_period()

    def stops_by_itself(self) -> None:
        """Give a child that stops by itself its grace period, once: saying it again does not gain more time."""
        if "force" not in self._timers and "kill" not in self._timers:
            self._begin_grace_period()

    def _begin_grace_period(self) -> None:
        self._timers.set("force", self._spec.grace_period, lambda: self.force(self._spec.kill_after))

    def force(self, patience: float) -> None:
        """Ask for a forced stop. Kill the run after `patience` seconds."""
        self._timers.drop("force")
        self.child.signal(signal.SIGTERM)
        # Sent again: a busy child may measure less than 1 s between the first two and not see a forced stop.
        self._timers.set("again", 0.5, lambda: self.child.signal(signal.SIGTERM))
        self._timers.set("kill", patience, self._kill)

    def dump(self) -> None:
        """Let a hung child write where it hangs, then kill the run."""
        # On SIGABRT Python's faulthandler writes every thread's stack to the log; other runtimes do the same.
        self.signal(signal.SIGABRT)
        self._timers.set("kill", DUMP_GRACE, self._kill)

    def _kill(self) -> None:
        self.killed = True
        self._say("warning", "killing", pid=self.child.pid or None)
        self.child.kill()
        self._timers.set("guard", GUARD_GRACE, self.child.kill_guard)

    def child_ended(self) -> None:
        """Give the guard its time to end what the child left behind."""
        self._timers.drop("force", "again")
        if "guard" not in self._timers:  # a guard that was suspended would keep us waiting for ever
            self._timers.set("guard", SWEEP_GRACE, self.child.kill_guard)

    def close(self) -> None:
        self._timers.drop("force", "again", "kill", "guard")
        self.child.close()


def death(run: ChildRun | None, end: ChildExit, kind: str, now: float, last_lines: list[str]) -> dict[str, object]:
    """Return the entry for the state file's `deaths`. `run` is None for a child that could not be started."""
    return {
        "at": lines.utc(),
        "pid": run.child.pid if run else None,
        "code": end.code,
        "signal": end.signal,
        "class": kind,
        "why": end.why,
        "uptime": round(now - run.started_at, 3) if run else 0.0,
        "last_lines": last_lines,
    }
