"""This module decides that a worker is ready when Temporal says that it polls, and asks again as this can change.

Temporal keeps a poller in its list for minutes after its last poll, with the time of that poll. So a worker polls while
those times advance. They are the server's and are compared only with each other; our monotonic clock tells how long
ago a time was new.
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
EVERY: Final = 5.0  # seconds between questions while it is ready
AGAIN_EVERY: Final = 1.0  # seconds between questions while it is not ready
STALE: Final = 90.0  # seconds: a long poll takes up to 60, and its time is reported before the next poll
STRIKES: Final = 2  # unanswered questions in a row after which Temporal counts as lost


class Sight:
    """Decide whether this worker polls, from the times of last polls by kind and when Temporal reported them. Pure."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[float, float]] = {}  # kind -> the server's time, our time when that was new

    def take(self, polls: Mapping[str, float], now: float, *, slots_full: bool) -> bool:
        """Return whether the worker polls; with all slots taken, only workflow polls are needed.

        A worker whose slots are full does not ask for activities, and picks up waiting ones as soon as it can.
        """
        for kind, at in polls.items():
            if kind not in self._heard or at > self._heard[kind][0]:
                self._heard[kind] = (at, now)
        needed = (WORKFLOW,) if slots_full else (WORKFLOW, ACTIVITY)
        return all(now - self._heard.get(kind, (0.0, -math.inf))[1] <= STALE for kind in needed)

    def lose(self) -> None:
        """Forget all polls: Temporal was away, and each poller must be seen again."""
        self._heard = {kind: (at, -math.inf) for kind, (at, _) in self._heard.items()}


class Listener(Protocol):
    """An object that is told in the event loop when readiness changes."""

    def ready(self) -> None: ...
    def lost(self, reason: str, *, stuck: bool) -> None:
        """Report that the worker is not ready; `stuck` means that Temporal answers but the worker does not poll
        (restart helps).
        """


async def watch(
    polls: Callable[[], asyncio.Future[dict[str, float]]],
    slots_full: Callable[[], bool],
    listener: Listener,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Ask until cancelled, and tell the listener each change."""
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
