"""End the processes that a killed supervisor and its guard left, so that no second child runs beside them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from .posix import processes

GRACE: Final = 3.0  # seconds to end after each signal; also after SIGKILL, because a busy machine needs time for it
LOOK_EVERY: Final = 0.05


def clear_away(
    before: Mapping[str, Any],
    table: processes.Table,
    say: Callable[..., None],
    clock: Callable[[], float],
) -> None:
    """End what is left of the run that the state file `before` names, and say so. Returns when it is gone."""
    run = (before.get("child") or {}).get("run")
    if before.get("state") not in ("stopped", "failed", None):
        say("warning", "predecessor_killed", pid=(before.get("supervisor") or {}).get("pid"))
    if not run:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        every = table.all()
        left = [every[pid] for pid in table.marked(run) if pid in every and pid != os.getpid()]
        if not left:
            return
        say("warning", "cleared_away", pids=",".join(str(process.pid) for process in left))
        processes.signal_all(table, left, number)
        deadline = clock() + GRACE
        while clock() < deadline and {*table.marked(run)} - {os.getpid()}:
            time.sleep(LOOK_EVERY)
