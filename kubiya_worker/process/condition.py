"""This module holds the state of a worker and tells it to the ready file, systemd, the log and heartbeats."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from kubiya_worker.control_plane.client import Registration
from kubiya_worker.process.health import HealthFile, Pulse
from kubiya_worker.process.notify import Notifier
from kubiya_worker.settings import Settings

log = structlog.get_logger()


class Condition:
    """The state of this worker, which it writes to the ready file, NOTIFY_SOCKET, the log and heartbeats."""

    def __init__(
        self, settings: Settings, registration: Registration, pulse: Pulse, notifier: Notifier, began: float
    ) -> None:
        self._file = HealthFile(settings.ready_file, registration.worker_id)
        self._queue = registration.queue_name or settings.queue_id
        self._worker_id, self._pulse, self._notifier, self._began = registration.worker_id, pulse, notifier, began
        self._state = "connecting"
        self._before = False
        self.polled = asyncio.Event()  # set once the worker has been ready for the first time
        self.changed: Callable[[], None] = lambda: None  # called before any other listener is told
        self._left: dict[str, int] = {}

    def snapshot(self) -> dict[str, Any]:
        """Return the state for heartbeats; safe to call from another thread."""
        about = {"state": self._state, "polling": self._state == "polling", "stuck": self._pulse.stuck}
        return {**about, **self._pulse.snapshot()}

    def facts(self) -> dict[str, Any]:
        """Return the facts for the status file, which change only when something happens."""
        blocked = self._pulse.snapshot()["event_loop_blocked"]
        polling = self._state == "polling" and not blocked
        about = {"worker_id": self._worker_id, "state": self._state, "polling": polling, "blocked": blocked}
        return {**about, **self._left}

    def ready(self) -> None:
        self._state, self._pulse.stuck = "polling", False
        self._file.write()
        self.changed()
        if self._before:
            log.info("worker.ready_again", queue=self._queue, worker_id=self._worker_id)
        else:
            seconds = time.monotonic() - self._began
            log.info("worker.ready", queue=self._queue, worker_id=self._worker_id, seconds=seconds)
        self._before = True
        # This comes last: whoever is told by it reads the state at once, and must find all of the above.
        self._notifier.send("READY=1", f"STATUS=polling queue {self._queue}")
        self.polled.set()

    def lost(self, reason: str, *, stuck: bool) -> None:
        self._state, self._pulse.stuck = "waiting", stuck
        self._file.remove()
        self.changed()
        self._notifier.send(f"STATUS=not ready: {reason}")
        log.warning("worker.not_ready", queue=self._queue, reason=reason)

    def draining(self, tasks: int, *, hurried: bool) -> None:
        """Report that the worker drains; `hurried` means that it stops within the grace period.

        Only a stop sends STOPPING=1, because this message starts systemd's own time limit, and a drain has none.
        """
        if self._state != "draining":
            self._state = "draining"
            self._file.remove()
            self.changed()
        self._notifier.send("STOPPING=1" if hurried else "DRAINING=1", f"STATUS=draining {tasks} tasks")

    def leaves(self, finished: int, executions: int | None) -> None:
        """Record the result of a drain: steps that finished since it began, and the queue's executions that are
        still open.
        """
        self._left = {"drained_tasks": finished}
        if executions is not None:
            self._left["open_executions"] = executions
