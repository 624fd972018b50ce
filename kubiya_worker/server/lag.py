"""This module tells, where debugging is on, what held the event loop: nothing else is served meanwhile.

The loop says every few milliseconds that it is alive. A thread looks whether it does, and where its code is when it
does not. A call that keeps Python's interpreter to itself, such as the parsing of a large JSON, is seen when it ends.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from types import FrameType
from typing import Final

from kubiya_worker.event_log import EventLogger, place_of

log = EventLogger(__name__)

BEAT: Final = 0.005  # seconds between two signs of life
HELD: Final = 0.020  # seconds without one that are told


class LagRecorder:
    """`seconds` is the longest time in which the loop was held, since its beginning."""

    def __init__(self, held: float = HELD) -> None:
        self._held = held
        self._alive = 0.0
        self._over = threading.Event()
        self.seconds = 0.0

    async def run(self) -> None:
        """Record until cancelled."""
        loop_thread = threading.get_ident()
        self._alive = time.monotonic()
        watcher = threading.Thread(target=self._watch, args=(loop_thread,), name="lag", daemon=True)
        watcher.start()
        try:
            while True:
                await asyncio.sleep(BEAT)
                self._alive = time.monotonic()
        finally:
            self._over.set()

    def _watch(self, loop_thread: int) -> None:
        where, since = "", 0.0
        while not self._over.wait(BEAT):
            alive = self._alive
            late = time.monotonic() - alive - BEAT
            if where and alive != since:  # it goes on
                took = alive - since - BEAT
                self.seconds = max(self.seconds, took)
                log.warning("loop.held", place=where, seconds=took)
                where = ""
            if late > self._held and not where:
                where, since = _place(sys._current_frames().get(loop_thread)), alive


def _place(frame: FrameType | None) -> str:
    return "" if frame is None else place_of(traceback.extract_stack(frame))
