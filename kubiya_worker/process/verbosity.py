"""This module raises the log level to DEBUG for ten minutes after the last SIGUSR2, then restores it."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import Final

import structlog

from kubiya_worker.process.logging import QUIET

log = structlog.get_logger()

ROOT: Final = ""
SECONDS: Final = 600.0


class Verbosity:
    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float = SECONDS) -> None:
        self._loop, self._seconds = loop, seconds
        self._levels: dict[str, int] = {}  # the original levels by logger, to restore later
        self._timer: asyncio.TimerHandle | None = None

    def install(self) -> None:
        self._loop.add_signal_handler(signal.SIGUSR2, self.up)

    def up(self) -> None:
        if not self._levels:
            for name in (ROOT, *QUIET):
                logger = logging.getLogger(name)
                self._levels[name] = logger.level
                logger.setLevel(logging.DEBUG)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._seconds, self._down)
        log.info("log.verbose", lasts=f"{self._seconds:g}s")

    def _down(self) -> None:
        log.info("log.level", level=logging.getLevelName(self._levels[ROOT]).lower())
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        self._levels, self._timer = {}, None
