"""Heartbeats to the control plane, from a thread of their own: a busy event loop must not make a live worker look dead.

The first beat is full (system information, recent log lines) and goes at once; light ones follow each interval; every
300 s one is full again (PROTOCOL A.4). A beat that fails is not repeated: the next one goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.process import system
from kubiya_worker.process.counters import Counters

log = structlog.get_logger()

FULL_EVERY: Final = 300.0  # seconds


def payload(counters: Counters, *, full: bool, hostname: str, health: dict[str, Any]) -> dict[str, Any]:
    """One heartbeat as PROTOCOL A.4 has it."""
    counts = counters.counts()
    body: dict[str, Any] = {
        "status": "active",
        "tasks_processed": counts.completed,
        "current_task_id": counters.current(),
        "worker_metadata": {
            "hostname": hostname,
            "active_tasks": counts.active,
            "completed_tasks": counts.completed,
            "failed_tasks": counts.failed,
            **system.own_usage(),
            **health,
        },
    }
    return {**body, "system_info": system.info(hostname), "logs": []} if full else body


class Heartbeat:
    def __init__(
        self,
        control_plane: ControlPlane,
        worker_id: str,
        counters: Counters,
        *,
        interval: float,
        hostname: str,
        health: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._control_plane, self._worker_id, self._counters = control_plane, worker_id, counters
        self._interval, self._hostname, self._health = interval, hostname, health
        self._stop = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No beat follows; one that is under way is not waited for longer than 2 s."""
        self._stop.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        full_at = time.monotonic()
        while True:
            full = time.monotonic() >= full_at
            if full:
                full_at = time.monotonic() + FULL_EVERY
            self._beat(full)
            if self._stop.wait(self._interval):
                return

    def _beat(self, full: bool) -> None:
        body = payload(self._counters, full=full, hostname=self._hostname, health=self._health())
        try:
            self._control_plane.heartbeat(self._worker_id, body)
        except ControlPlaneError as error:
            if not self._failing:
                log.warning("heartbeat.failing", error=error.message)
            self._failing = True
            return
        if self._failing:
            log.info("heartbeat.recovered")
        self._failing = False
