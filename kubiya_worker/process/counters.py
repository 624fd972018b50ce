"""This module counts a worker's activities; heartbeats and metrics read the counts from other threads."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from kubiya_worker.process.worker_pair import SUFFIX
from kubiya_worker.protocol import names
from kubiya_worker.protocol.events import now


@dataclass(frozen=True)
class ActivityCounts:
    active: int
    completed: int
    failed: int


class ActivityCounters(Interceptor):
    """A Temporal interceptor that counts activities: active, completed, failed (a cancelled one is neither)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: dict[bytes, str] = {}
        self._slots: dict[bytes, str] = {}  # the types of those that hold slots of the worker's own queue
        self._completed = self._failed = 0
        self._picked_up: str | None = None

    def last_pickup(self) -> str | None:
        """Return when the newest activity began, as UTC in ISO-8601; None before the first one."""
        with self._lock:
            return self._picked_up

    def counts(self) -> ActivityCounts:
        with self._lock:
            return ActivityCounts(len(self._active), self._completed, self._failed)

    def current(self) -> str | None:
        """Return the oldest running task as `<workflow id>/<activity type>`, or None."""
        with self._lock:
            return next(iter(self._active.values()), None)

    def slots_taken(self) -> int:
        """Return how many slots of the worker's own queue are taken. Local activities take none."""
        with self._lock:
            return len(self._slots)

    def crowded(self, slots: int) -> bool:
        """Return whether a model call would have to wait for a tool: all slots are taken, and not by model calls."""
        with self._lock:
            return len(self._slots) >= slots and not names.MODEL_ACTIVITIES.issuperset(self._slots.values())

    def begin(self, token: bytes, name: str, *, holds: str = "") -> None:
        """Count an activity; `holds` is its type where it takes a slot of the worker's own queue."""
        with self._lock:
            self._active[token] = name
            if holds:
                self._slots[token] = holds
            self._picked_up = now()

    def end(self, token: bytes, *, failed: bool | None) -> None:
        with self._lock:
            self._active.pop(token, None)
            self._slots.pop(token, None)
            self._completed += failed is False
            self._failed += failed is True

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Counting(next, self)


class _Counting(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, counters: ActivityCounters) -> None:
        super().__init__(next)
        self._counters = counters

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        # This activity is no work: it only waits, outside this process.
        if info.activity_type == names.AWAIT_CONTROL_PLANE:
            return await super().execute_activity(input)
        holds = "" if info.is_local or info.task_queue.endswith(SUFFIX) else info.activity_type
        self._counters.begin(info.task_token, f"{info.workflow_id}/{info.activity_type}", holds=holds)
        failed: bool | None = True
        try:
            result = await super().execute_activity(input)
            failed = False
            return result
        except asyncio.CancelledError:
            failed = None
            raise
        finally:
            self._counters.end(info.task_token, failed=failed)
