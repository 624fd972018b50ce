"""This module tells in the log when Temporal cannot be reached, and when it answers again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from kubiya_worker.event_log import EventLogger

log = EventLogger(__name__)

AGAIN: Final = 600.0  # seconds until an outage that goes on is told again


class TemporalOutage:
    """One line at its beginning and one at its end, however many executions and schedules wait for Temporal meanwhile.

    Each of them tries every second: with a line for each try the log would hold nothing else.
    """

    def __init__(self, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._address, self._clock = address, clock
        self._since: float | None = None
        self._told = 0.0

    def began(self, error: str) -> None:
        """Note that a call to Temporal failed."""
        now = self._clock()
        if self._since is not None and now - self._told < AGAIN:
            return
        self._since, self._told = self._since or now, now
        log.warning("temporal.unreachable", address=self._address, error=error)

    def ended(self) -> None:
        """Note that a call to Temporal succeeded."""
        if self._since is not None:
            log.info("temporal.reachable", address=self._address, after=f"{self._clock() - self._since:.0f}s")
            self._since = None
