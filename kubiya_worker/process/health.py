"""This module measures health by work pickup: the event loop runs, and Temporal says that this worker polls.

The event loop alone touches `/tmp/worker-alive`, and a thread removes it when the loop is silent, so that a probe that
only does `cat` fails then. `/tmp/worker-ready` exists only while the worker takes up work.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog

from kubiya_worker._supervisor.posix import files
from kubiya_worker._supervisor.posix.notify import NotifySender

log = structlog.get_logger()

READABLE: Final = 0o666  # less the umask: the probes of another user read the files
ALIVE_EVERY: Final = 5.0  # seconds between touches of the alive file
SILENT_AFTER: Final = 20.0  # seconds without a beat after which the loop counts as blocked


class ProbeFile:
    """A probe file that contains its owner's id, so that only the owner removes it."""

    def __init__(self, path: str, worker_id: str = "") -> None:
        """Take the path of the file; `worker_id` is empty until the control plane has given one."""
        self._path, self.worker_id = Path(path), worker_id
        self._since = datetime.now(UTC).isoformat()
        self._warned = False

    def write(self) -> None:
        content = {"worker_id": self.worker_id, "pid": os.getpid(), "since": self._since, "at": time.time()}
        try:
            files.replace(self._path, json.dumps(content) + "\n", READABLE)
        except OSError as error:
            if not self._warned:
                log.warning("health.file_not_written", path=str(self._path), error=str(error))
            self._warned = True

    def remove(self) -> None:
        try:
            if json.loads(self._path.read_text()).get("pid") == os.getpid():
                self._path.unlink()
        except (OSError, ValueError, AttributeError):
            pass  # the file is already gone, or belongs to another worker


class LoopWatchdog:
    """Check that the event loop runs: touch the alive file, feed the watchdog, and measure how late the loop is.

    While the worker is `stuck` (Temporal answers, but the worker does not poll) it does not touch the file nor feed the
    watchdog, so that the worker is restarted: nothing else helps.
    """

    def __init__(self, alive: ProbeFile, notifier: NotifySender, silent_after: float = SILENT_AFTER) -> None:
        self._alive, self._notifier, self._silent_after = alive, notifier, silent_after
        self.lag = 0.0  # seconds by which the loop woke late, at the last beat
        self.stuck = False
        self._beat_at = time.monotonic()
        self._ended = threading.Event()
        # Guards the alive file: without it the watching thread could remove the file just after a beat touched it.
        self._lock = threading.Lock()

    def snapshot(self) -> dict[str, Any]:
        """Return the loop's state for heartbeats; safe to call from another thread."""
        silent = time.monotonic() - self._beat_at
        return {
            "event_loop_lag": round(self.lag, 4),
            "event_loop_silent": round(silent, 1),
            "event_loop_blocked": silent > self._silent_after,
        }

    async def run(self) -> None:
        every = min(ALIVE_EVERY, self._notifier.watchdog_every or ALIVE_EVERY)
        threading.Thread(target=self._watch, name="pulse", daemon=True).start()
        try:
            while True:
                self._beat_at = time.monotonic()
                if not self.stuck:
                    with self._lock:
                        self._alive.write()
                    self._notifier.send("WATCHDOG=1")
                await asyncio.sleep(every)
                self.lag = max(0.0, time.monotonic() - self._beat_at - every)
        finally:
            self._ended.set()
            with self._lock:
                self._alive.remove()

    def _watch(self) -> None:
        """Run in a thread and notice that the event loop is blocked, which the loop cannot notice itself."""
        blocked = False
        while not self._ended.wait(min(1.0, self._silent_after / 4)):
            was, blocked = blocked, time.monotonic() - self._beat_at > self._silent_after
            if blocked and not was:
                log.error("worker.blocked", silent=f"{self._silent_after:g}s", effect="no step of any run goes on")
            elif was and not blocked:
                log.warning("worker.unblocked")
            if blocked or self.stuck:
                with self._lock:
                    if time.monotonic() - self._beat_at > self._silent_after or self.stuck:
                        self._alive.remove()
