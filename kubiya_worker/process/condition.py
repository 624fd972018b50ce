"""What is true of a worker, and where that is told."""

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
    """What is true of this worker, where it is told: the ready file, NOTIFY_SOCKET, the log, heartbeats."""

    def __init__(
        self, settings: Settings, registration: Registration, pulse: Pulse, notifier: Notifier, began: float
    ) -> None:
        self._file = HealthFile(settings.ready_file, registration.worker_id)
        self._queue = registration.queue_name or settings.queue_id
        self._worker_id, self._pulse, self._notifier, self._began = registration.worker_id, pulse, notifier, began
        self._state = "connecting"
        self._before = False
        self.polled = asyncio.Event()  # it was ready once
        self.changed: Callable[[], None] = lambda: None  # called before anybody is told
        self._left: dict[str, int] = {}

    def snapshot(self) -> dict[str, Any]:
        """For heartbeats, from another thread."""
        about = {"state": self._state, "polling": self._state == "polling", "stuck": self._pulse.stuck}
        return {**about, **self._pulse.snapshot()}

    def facts(self) -> dict[str, Any]:
        """For the status file: what changes only when something happens."""
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
        # Last: who is told by this looks at once, and finds all of the above.
        self._notifier.send("READY=1", f"STATUS=polling queue {self._queue}")
        self.polled.set()

    def lost(self, reason: str, *, stuck: bool) -> None:
        self._state, self._pulse.stuck = "waiting", stuck
        self._file.remove()
        self.changed()
        self._notifier.send(f"STATUS=not ready: {reason}")
        log.warning("worker.not_ready", queue=self._queue, reason=reason)

    def draining(self, tasks: int, *, hurried: bool) -> None:
        """`hurried`: within the grace period. STOPPING=1 starts a clock of systemd's, so a drain does not say it."""
        if self._state != "draining":
            self._state = "draining"
            self._file.remove()
            self.changed()
        self._notifier.send("STOPPING=1" if hurried else "DRAINING=1", f"STATUS=draining {tasks} tasks")

    def leaves(self, finished: int, executions: int | None) -> None:
        """At the end of a drain: steps that have finished since it began, executions of the queue that are not over."""
        self._left = {"drained_tasks": finished}
        if executions is not None:
            self._left["open_executions"] = executions
