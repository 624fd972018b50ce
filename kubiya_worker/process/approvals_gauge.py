"""This module asks the control plane how many tool calls of the queue wait for a person's approval.

A worker that counted by itself would lose the count at its restart, and would not learn that a person answered a call
of another worker. So all workers of a queue report the control plane's number, and none while it does not answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import structlog

from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.control_plane.queue_routes import QueueRoutes

log = structlog.get_logger()

EVERY: Final = 15.0  # seconds between requests
SELDOM: Final = 300.0  # seconds between requests to a control plane that does not count approvals


class ApprovalsGauge:
    """Ask in a thread until closed; `report` is called with the number, or None where it is not known."""

    def __init__(self, queues: QueueRoutes, queue_id: str, report: Callable[[int | None], None]) -> None:
        self._queues, self._queue_id, self._report = queues, queue_id, report
        self._stop = threading.Event()
        threading.Thread(target=self._run, name="approvals-waiting", daemon=True).start()

    def close(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                number = self._queues.approvals_waiting(self._queue_id)
                pause = SELDOM if number is None else EVERY
            except ControlPlaneError as error:
                log.debug("approvals.not_counted", error=error.message)
                number, pause = None, EVERY
            self._report(number)
            self._stop.wait(pause)
