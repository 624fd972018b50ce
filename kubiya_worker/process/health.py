"""Health as it is true of work pickup: the event loop turns, and Temporal says that this worker polls.

`/tmp/worker-alive` is touched by the event loop only; `/tmp/worker-ready` exists only while the worker takes up work.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog

from kubiya_worker.process.notify import Notifier, watchdog_interval

log = structlog.get_logger()

ALIVE_EVERY: Final = 5.0  # seconds between touches of the alive file


class HealthFile:
    """A probe file: its content says whose it is, so that only the owner removes it."""

    def __init__(self, path: str, worker_id: str) -> None:
        self._path, self._worker_id = Path(path), worker_id
        self._since = datetime.now(UTC).isoformat()
        self._warned = False

    def write(self) -> None:
        content = {"worker_id": self._worker_id, "pid": os.getpid(), "since": self._since, "at": time.time()}
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            draft.write_text(json.dumps(content) + "\n")
            draft.replace(self._path)
        except OSError as error:
            if not self._warned:
                log.warning("health.file_not_written", path=str(self._path), error=str(error))
            self._warned = True

    def remove(self) -> None:
        try:
            if json.loads(self._path.read_text()).get("pid") == os.getpid():
                self._path.unlink()
        except (OSError, ValueError):
            pass  # gone already, or another worker's


class Pulse:
    """The event loop's own heartbeat: alive file, watchdog, and how late the loop is."""

    def __init__(self, alive: HealthFile, notifier: Notifier) -> None:
        self._alive, self._notifier = alive, notifier
        self.lag = 0.0  # seconds by which the loop woke late, at the last beat
        self._beat_at = time.monotonic()

    def snapshot(self) -> dict[str, Any]:
        """For heartbeats, from another thread."""
        return {"event_loop_lag": round(self.lag, 4), "event_loop_silent": round(time.monotonic() - self._beat_at, 1)}

    async def run(self) -> None:
        every = min(ALIVE_EVERY, watchdog_interval() or ALIVE_EVERY)
        while True:
            self._alive.write()
            self._notifier.send("WATCHDOG=1")
            self._beat_at = time.monotonic()
            await asyncio.sleep(every)
            self.lag = max(0.0, time.monotonic() - self._beat_at - every)
