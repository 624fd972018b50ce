"""This module tells, where debugging is on, what held the event loop: nothing else is served meanwhile.

The loop says every few milliseconds that it is alive. A thread looks whether it does, and where its code is when it
does not. A call that keeps Python's interpreter to itself, such as the parsing of a large JSON, is seen when it ends.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from types import FrameType
from typing import Final

log = logging.getLogger(__name__)

BEAT: Final = 0.005  # seconds between two signs of life
HELD: Final = 0.020  # seconds without one that are told
DEEP: Final = 6  # calls that are told, the innermost first
OURS: Final = "/kubiya_worker/"


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
                log.warning("loop.held seconds=%.3f in=%s", took, where)
                where = ""
            if late > self._held and not where:
                where, since = place_of(sys._current_frames().get(loop_thread)), alive


def place_of(frame: FrameType | None) -> str:
    """Return the innermost call of a frame, and those of this package that led to it: `file:line name < …`."""
    calls = traceback.extract_stack(frame)[::-1] if frame is not None else []
    shown = [each for number, each in enumerate(calls) if not number or OURS in each.filename]
    return " < ".join(f"{'/'.join(each.filename.split('/')[-2:])}:{each.lineno} {each.name}" for each in shown[:DEEP])
