"""Ready is what Temporal says: this worker polls. It is asked again and again, because that can change.

Temporal keeps a poller in its list for minutes after its last poll, with the time of that poll. So a worker polls while
those times advance. They are the server's own and are compared with each other only; how long ago one was new is told
by our monotonic clock.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import structlog
from temporalio.service import RPCError

from kubiya_worker.process.polls import ACTIVITY, WORKFLOW

log = structlog.get_logger()

FIRST_EVERY: Final = 0.02  # seconds between questions until it is ready for the first time
EVERY: Final = 5.0  # seconds between questions after that
AGAIN_EVERY: Final = 1.0  # seconds between questions while it is not ready
STALE: Final = 90.0  # seconds: a long poll takes up to 60, and its answer comes before the next
STRIKES: Final = 2  # questions in a row without an answer after which Temporal counts as lost


class Sight:
    """Pure: whether this worker polls, by what Temporal said (times of last polls by kind) and when it said so."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[float, float]] = {}  # kind -> the server's time, our time when that was new

    def take(self, polls: Mapping[str, float], now: float, *, slots_full: bool) -> bool:
        """With all slots taken a worker does not ask for activities, and picks up what waits as soon as it can."""
        for kind, at in polls.items():
            if kind not in self._heard or at > self._heard[kind][0]:
                self._heard[kind] = (at, now)
        needed = (WORKFLOW,) if slots_full else (WORKFLOW, ACTIVITY)
        return all(now - self._heard.get(kind, (0.0, -math.inf))[1] <= STALE for kind in needed)

    def lose(self) -> None:
        """Temporal was away: each poller has to be heard anew."""
        self._heard = {kind: (at, -math.inf) for kind, (at, _) in self._heard.items()}


class Listener(Protocol):
    """Told when readiness changes; called from the loop."""

    def ready(self) -> None: ...
    def lost(self, reason: str, *, stuck: bool) -> None:
        """`stuck`: Temporal answers, and this worker does not ask it for work. A restart helps."""


async def watch(
    polls: Callable[[], asyncio.Future[dict[str, float]]],
    slots_full: Callable[[], bool],
    listener: Listener,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """For ever: asks, and tells the listener each change."""
    sight, is_ready, was_ready, strikes = Sight(), False, False, 0
    while True:
        try:
            polling = sight.take(await polls(), clock(), slots_full=slots_full())
            strikes = 0
            if polling and not is_ready:
                is_ready = was_ready = True
                listener.ready()
            elif is_ready and not polling:
                is_ready = False
                listener.lost(f"it has not polled for {STALE:g} s", stuck=True)
        except RPCError as error:
            strikes += 1
            if strikes == STRIKES:
                sight.lose()
                if is_ready:
                    is_ready = False
                    listener.lost(f"Temporal does not answer: {error.message}", stuck=False)
                elif not was_ready:
                    log.warning("temporal.describe_failed", error=error.message)
        calm = is_ready and not strikes
        await asyncio.sleep(EVERY if calm else AGAIN_EVERY if was_ready or strikes else FIRST_EVERY)
