"""This module asks Temporal when this worker last polled, and decides by the answers whether the worker is ready.

A queue has partitions, and Temporal's answer about a queue is that of its root partition. The root learns of a poll at
another partition only if the poll was forwarded, and each partition forwards one at a time. So with several workers on
a queue, the root may not know of a new worker's only workflow poll until that poll ends, after a minute.

Temporal keeps a poller in its list for minutes after its last poll, with the time of that poll. So a worker polls while
those times advance. They are the server's and are compared only with each other; our monotonic clock tells how long
ago a time was new.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final, Protocol

import structlog
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, ListTaskQueuePartitionsRequest
from temporalio.client import Client
from temporalio.service import RPCError

log = structlog.get_logger()

WORKFLOW, ACTIVITY = "workflow", "activity"
KINDS: Final = {
    WORKFLOW: TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    ACTIVITY: TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
}
ANSWER_WITHIN: Final = timedelta(seconds=4)
QUIET: Final = 45.0  # seconds without a new poll at the root, after which the other partitions are asked as well
PARTITIONS_EVERY: Final = 0.5  # seconds between two requests to the other partitions
FIRST_EVERY: Final = 0.02  # seconds between requests until the worker is ready for the first time
EVERY: Final = 5.0  # seconds between requests while it is ready
NOT_READY_EVERY: Final = 1.0  # seconds between requests while it is not ready
STALE: Final = 90.0  # seconds: a long poll takes up to 60, and its time is reported before the next poll
STRIKES: Final = 2  # unanswered questions in a row after which Temporal counts as lost


class Pollers:
    """A callable that returns the times of the last polls in seconds, by kind; kinds never seen are missing.

    The times are of the server's clock. Raises RPCError when Temporal does not answer.
    """

    def __init__(
        self, client: Client, task_queue: str, identity: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client, self._queue, self._identity, self._clock = client, task_queue, identity, clock
        self._last_polls: dict[
            str, tuple[float, float]
        ] = {}  # kind -> (the server's time, our time when we first saw it)
        self._partitions_asked_at = clock()

    async def __call__(self) -> dict[str, float]:
        for kind in KINDS:
            self._record(kind, await self._last(kind, self._queue))
        now = self._clock()
        silent_kinds = [
            kind for kind in KINDS if kind not in self._last_polls or now - self._last_polls[kind][1] >= QUIET
        ]
        if silent_kinds and now - self._partitions_asked_at >= PARTITIONS_EVERY:
            self._partitions_asked_at = now
            await self._ask_partitions(silent_kinds)
        return {kind: at for kind, (at, _) in self._last_polls.items()}

    def _record(self, kind: str, at: float | None) -> None:
        if at is not None and (kind not in self._last_polls or at > self._last_polls[kind][0]):
            self._last_polls[kind] = (at, self._clock())

    async def _ask_partitions(self, kinds: list[str]) -> None:
        service = self._client.workflow_service
        queue = TaskQueue(name=self._queue)
        try:
            request = ListTaskQueuePartitionsRequest(namespace=self._client.namespace, task_queue=queue)
            partitions = await service.list_task_queue_partitions(request, timeout=ANSWER_WITHIN)
            for kind in kinds:
                of_kind = (
                    partitions.workflow_task_queue_partitions
                    if kind == WORKFLOW
                    else partitions.activity_task_queue_partitions
                )
                for name in sorted({partition.key for partition in of_kind} - {self._queue}):
                    self._record(kind, await self._last(kind, name))
        except RPCError as error:  # this server does not show partitions, so use the root's answer alone
            log.debug("temporal.partitions_unknown", error=error.message)

    async def _last(self, kind: str, name: str) -> float | None:
        request = DescribeTaskQueueRequest(
            namespace=self._client.namespace, task_queue=TaskQueue(name=name), task_queue_type=KINDS[kind]
        )
        answer = await self._client.workflow_service.describe_task_queue(request, timeout=ANSWER_WITHIN)
        times = [p.last_access_time.ToNanoseconds() / 1e9 for p in answer.pollers if p.identity == self._identity]
        return max(times, default=None)


class PollTracker:
    """Decide whether this worker polls, from the times of last polls by kind and when Temporal reported them. Pure."""

    def __init__(self) -> None:
        self._last_polls: dict[str, tuple[float, float]] = {}  # kind -> the server's time, our time when that was new

    def update(self, polls: Mapping[str, float], now: float, *, slots_full: bool) -> bool:
        """Return whether the worker polls; with all slots taken, only workflow polls are needed.

        A worker whose slots are full does not ask for activities, and picks up waiting ones as soon as it can.
        """
        for kind, at in polls.items():
            if kind not in self._last_polls or at > self._last_polls[kind][0]:
                self._last_polls[kind] = (at, now)
        needed = (WORKFLOW,) if slots_full else (WORKFLOW, ACTIVITY)
        return all(now - self._last_polls.get(kind, (0.0, -math.inf))[1] <= STALE for kind in needed)

    def forget(self) -> None:
        """Forget all polls: Temporal was away, and each poller must be seen again."""
        self._last_polls = {kind: (at, -math.inf) for kind, (at, _) in self._last_polls.items()}


class ReadinessListener(Protocol):
    """An object whose methods are called in the event loop when the worker's readiness changes."""

    def ready(self) -> None: ...
    def lost(self, reason: str, *, stuck: bool) -> None:
        """Report that the worker is not ready; `stuck`: Temporal answers, but the worker does not poll (restart it)."""


async def watch(
    polls: Callable[[], asyncio.Future[dict[str, float]]],
    slots_full: Callable[[], bool],
    listener: ReadinessListener,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Ask Temporal again and again until cancelled, and call the listener at each change."""
    tracker, is_ready, was_ready, strikes = PollTracker(), False, False, 0
    while True:
        try:
            polling = tracker.update(await polls(), clock(), slots_full=slots_full())
            strikes = 0
            if polling and not is_ready:
                is_ready = was_ready = True
                listener.ready()
            elif is_ready and not polling:
                is_ready = False
                listener.lost(f"it has not polled for {STALE:g} s", stuck=True)
        except RPCError as error:
            strikes += 1
            if strikes == STRIKES:
                tracker.forget()
                if is_ready:
                    is_ready = False
                    listener.lost(f"Temporal does not answer: {error.message}", stuck=False)
                elif not was_ready:
                    log.warning("temporal.describe_failed", error=error.message)
        steady = is_ready and not strikes
        await asyncio.sleep(EVERY if steady else NOT_READY_EVERY if was_ready or strikes else FIRST_EVERY)
