"""End the processes of a run whose guard was killed: SIGTERM, and SIGKILL a few seconds later.

A guard that lives does this itself.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection
from typing import Final

from .posix import kept, processes
from .posix.child import Child
from .timers import Timers

GRACE: Final = 3.0  # seconds that they get to stop
GIVE_UP_AFTER: Final = 5.0  # seconds of SIGKILL, after which one that does not end is left alone
LOOK_EVERY: Final = 0.05


class Orphans:
    """Find and end orphans. Its timer is "orphans".

    `reaper`: this process inherits them. `keep` is the folder that names processes which outlive a run.
    """

    def __init__(
        self, table: processes.Table, timers: Timers, clock: Callable[[], float], *, reaper: bool, keep: str
    ) -> None:
        self._table, self._timers, self._clock = table, timers, clock
        self._reaper, self._keep = reaper, keep

    def end(self, child: Child, *, grace: float, but: Callable[[], Collection[int]], done: Callable[[], None]) -> None:
        """End what is left of the child's run, then call `done`. `but` returns PIDs that are no part of it."""
        kill_at = self._clock() + grace

        def left() -> list[processes.Process]:
            remaining = processes.remains(
                self._table, os.getpid(), child.pid, child.run, reaper=self._reaper, but=but()
            )
            return kept.without(remaining, self._keep, self._table)

        def look() -> None:
            remaining, over = left(), self._clock() - kill_at
            if not remaining or over >= GIVE_UP_AFTER:
                done()
                return
            if over >= 0:
                processes.signal_all(self._table, remaining, signal.SIGKILL)
            self._timers.set("orphans", LOOK_EVERY, look)

        processes.signal_all(self._table, left(), signal.SIGTERM)
        look()
