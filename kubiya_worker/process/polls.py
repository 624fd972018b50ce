"""This module finds out when this worker last asked Temporal for work.

A queue has partitions, and what Temporal says of the queue is what its root partition knows. The root knows of a poll
at another partition only if it was forwarded, and each partition forwards one at a time. So with several workers on a
queue, the one workflow poll of a new worker can stay unseen until it ends, after a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final

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
LISTED: Final[dict[str, Callable[[Any], Iterable[Any]]]] = {
    WORKFLOW: lambda answer: answer.workflow_task_queue_partitions,
    ACTIVITY: lambda answer: answer.activity_task_queue_partitions,
}
ANSWER_WITHIN: Final = timedelta(seconds=4)
QUIET: Final = 45.0  # seconds without a new poll at the root, after which the other partitions are asked as well
AGAIN: Final = 0.5  # seconds between two questions to the other partitions


class Polls:
    """A callable that returns the times of the last polls in seconds, by kind; kinds never seen are missing.

    The times are of the server's clock. Raises RPCError when Temporal does not answer.
    """

    def __init__(
        self, client: Client, task_queue: str, identity: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client, self._queue, self._identity, self._clock = client, task_queue, identity, clock
        self._heard: dict[str, tuple[float, float]] = {}  # kind -> (the server's time, our time when we first saw it)
        self._asked = clock()

    async def __call__(self) -> dict[str, float]:
        for kind in KINDS:
            self._hear(kind, await self._last(kind, self._queue))
        now = self._clock()
        quiet = [kind for kind in KINDS if kind not in self._heard or now - self._heard[kind][1] >= QUIET]
        if quiet and now - self._asked >= AGAIN:
            self._asked = now
            await self._ask_partitions(quiet)
        return {kind: at for kind, (at, _) in self._heard.items()}

    def _hear(self, kind: str, at: float | None) -> None:
        if at is not None and (kind not in self._heard or at > self._heard[kind][0]):
            self._heard[kind] = (at, self._clock())

    async def _ask_partitions(self, kinds: list[str]) -> None:
        service = self._client.workflow_service
        queue = TaskQueue(name=self._queue)
        try:
            request = ListTaskQueuePartitionsRequest(namespace=self._client.namespace, task_queue=queue)
            known = await service.list_task_queue_partitions(request, timeout=ANSWER_WITHIN)
            for kind in kinds:
                listed = (
                    known.workflow_task_queue_partitions if kind == WORKFLOW else known.activity_task_queue_partitions
                )
                for name in sorted({partition.key for partition in listed} - {self._queue}):
                    self._hear(kind, await self._last(kind, name))
        except RPCError as error:  # this server does not show partitions, so use the root's answer alone
            log.debug("temporal.partitions_unknown", error=error.message)

    async def _last(self, kind: str, name: str) -> float | None:
        request = DescribeTaskQueueRequest(
            namespace=self._client.namespace, task_queue=TaskQueue(name=name), task_queue_type=KINDS[kind]
        )
        answer = await self._client.workflow_service.describe_task_queue(request, timeout=ANSWER_WITHIN)
        times = [p.last_access_time.ToNanoseconds() / 1e9 for p in answer.pollers if p.identity == self._identity]
        return max(times, default=None)
