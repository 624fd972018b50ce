"""This module counts a worker's activities; heartbeats and metrics read the counts from other threads."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

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

    def begin(self, token: bytes, name: str) -> None:
        with self._lock:
            self._active[token] = name
            self._picked_up = now()

    def end(self, token: bytes, *, failed: bool | None) -> None:
        with self._lock:
            self._active.pop(token, None)
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
        self._counters.begin(info.task_token, f"{info.workflow_id}/{info.activity_type}")
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
