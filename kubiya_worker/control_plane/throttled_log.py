"""Log lines about optional data and writes that failed: one line for each fault, not one for each time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

EVERY: Final = 600.0  # seconds until the same fault is logged again, with how often it came meanwhile
MOST: Final = 200  # different faults that are remembered


class ThrottledLog:
    """The complaints log the same fault once in `EVERY` seconds. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._logged: dict[tuple[str, str], tuple[float, int]] = {}  # when a fault was logged last, how often since

    def add(self, event: str, about: str, text: str) -> None:
        """Log `event` with `text`, unless the same fault was logged a short while ago."""
        with self._lock:
            now, key = self._clock(), (event, about)
            previous = self._logged.get(key)
            if previous is not None and now - previous[0] < EVERY:
                self._logged[key] = (previous[0], previous[1] + 1)
                return
            if len(self._logged) >= MOST:
                self._logged.clear()
            self._logged[key] = (now, 0)
        again = f" {previous[1]} more since the last line" if previous and previous[1] else ""
        log.warning("%s %s%s", event, text, again)
