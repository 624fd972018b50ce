"""This module sends heartbeats from its own thread, because a busy event loop must not make a live worker look dead.

The first heartbeat is full (system information, recent log lines) and goes at once. Light ones follow at each interval,
and when the state that they report has changed; every 300 s one is full again (protocol.md#a4). A heartbeat that fails
is not repeated: the next one follows as planned.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.process import host
from kubiya_worker.process.counters import ActivityCounters

log = structlog.get_logger()

FULL_EVERY: Final = 300.0  # seconds


class BeatSchedule:
    """Decide which beats are full; times come from a monotonic clock. Pure."""

    def __init__(self) -> None:
        self._full_at: float | None = None

    def is_full(self, now: float) -> bool:
        """Return whether the beat at `now` is a full one; call this once for each beat."""
        full = self._full_at is None or now >= self._full_at
        if full:
            self._full_at = now + FULL_EVERY
        return full


class HeartbeatReport:
    """Make the body of a heartbeat: what it says of the worker.

    `health` returns the worker's state, and `logs` the lines since the last full beat, without secrets.
    """

    def __init__(
        self,
        counters: ActivityCounters,
        hostname: str,
        *,
        health: Callable[[], dict[str, Any]] = dict,
        logs: Callable[[], list[str]] = list,
    ) -> None:
        self._counters, self._hostname, self._health, self._logs = counters, hostname, health, logs

    def light(self) -> dict[str, Any]:
        """Return a light heartbeat in the form of docs/protocol.md#a4."""
        counts = self._counters.counts()
        return {
            "status": "active",
            "tasks_processed": counts.completed,
            "current_task_id": self._counters.current(),
            "worker_metadata": {
                "hostname": self._hostname,
                "active_tasks": counts.active,
                "completed_tasks": counts.completed,
                "failed_tasks": counts.failed,
                "last_pickup_at": self._counters.last_pickup(),
                **host.usage(),
                **self._health(),
            },
        }

    def full(self) -> dict[str, Any]:
        """Return a full heartbeat: a light one with system information and recent log lines."""
        return {**self.light(), "system_info": host.description(self._hostname), "logs": self._logs()}


class Heartbeat:
    """Send heartbeats. `heard` is called with each answer, in the thread of the heartbeats."""

    def __init__(
        self,
        control_plane: ControlPlane,
        worker_id: str,
        report: HeartbeatReport,
        *,
        interval: float,
        heard: Callable[[dict[str, Any]], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare the thread. `interval` is in seconds."""
        self._control_plane, self._worker_id, self._report, self._interval = control_plane, worker_id, report, interval
        self._heard, self._clock, self._schedule = heard, clock, BeatSchedule()
        self._stop, self._wake = threading.Event(), threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def soon(self) -> None:
        """Send the next beat at once, because the state has changed and nobody should wait an interval to learn it."""
        self._wake.set()

    def stop(self) -> None:
        """Send no further beat, and wait at most 1 s for one that is being sent."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            # Clear before the state is read: a change after this line is in this beat or wakes the next one.
            self._wake.clear()
            try:
                self.beat()
            except Exception as error:  # no error may end the heartbeats
                log.error("heartbeat.fault", error=f"{type(error).__name__}: {error}")
            if not self._stop.is_set():
                self._wake.wait(self._interval)

    def beat(self) -> None:
        """Send one heartbeat."""
        body = self._report.full() if self._schedule.is_full(self._clock()) else self._report.light()
        try:
            answer = self._control_plane.heartbeat(self._worker_id, body)
        except ControlPlaneError as error:
            if not self._failing:
                log.warning("heartbeat.failing", error=error.message)
            self._failing = True
            return
        if self._failing:
            log.info("heartbeat.recovered")
        self._failing = False
        self._heard(answer)
