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


class Complaints:
    """The complaints log the same fault once in `EVERY` seconds. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._told: dict[tuple[str, str], tuple[float, int]] = {}  # when a fault was logged last, how often since

    def add(self, event: str, about: str, text: str) -> None:
        """Log `event` with `text`, unless the same fault was logged a short while ago."""
        with self._lock:
            now, key = self._clock(), (event, about)
            told = self._told.get(key)
            if told is not None and now - told[0] < EVERY:
                self._told[key] = (told[0], told[1] + 1)
                return
            if len(self._told) >= MOST:
                self._told.clear()
            self._told[key] = (now, 0)
        again = f" {told[1]} more since the last line" if told and told[1] else ""
        log.warning("%s %s%s", event, text, again)
