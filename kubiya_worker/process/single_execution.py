"""This module ends a worker in single-execution mode (docs/protocol.md#f6) once the executions of its queue are over.

Executions that were over before this worker began do not count: on a used queue it would end at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

import structlog

from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.control_plane.queue_routes import QueueRoutes
from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.process.stop import Stop
from kubiya_worker.protocol import execution as ex

log = structlog.get_logger()

FIRST: Final = 1.0  # seconds until the first check
EVERY: Final = 2.0
SIGHTINGS: Final = 2  # checks in a row that must find all executions over
SETTLE: Final = 2.0  # seconds from the last check to the end, in which the last events of a run can arrive
LONGEST: Final = 1800.0  # seconds after which the worker ends in any case
OVER: Final = "single-execution"  # why the worker ends, in its log and for the control plane
TIME_UP: Final = "single-execution-timeout"

Rows = Iterable[Mapping[str, Any]]


class Sightings:
    """Decide from one check to the next whether all executions of this worker are over. Pure."""

    def __init__(self, before: Rows = ()) -> None:
        """Take `before`, the queue's executions when this worker began."""
        self._over_before = {str(row.get("id")) for row in before if _is_over(row)}
        self._in_a_row = 0
        self.open = 0  # executions that were not over at the last check

    def update(self, rows: Rows) -> bool:
        """Return whether nothing is left to do."""
        ours = [row for row in rows if str(row.get("id")) not in self._over_before]
        self.open = sum(not _is_over(row) for row in ours)
        self._in_a_row = self._in_a_row + 1 if ours and not self.open else 0
        return self._in_a_row >= SIGHTINGS

    def forget(self) -> None:
        """Record a check without an answer: earlier checks no longer count."""
        self._in_a_row = 0


def _is_over(row: Mapping[str, Any]) -> bool:
    return ex.is_final(str(row.get("status")))


class SingleExecution:
    """Ask the control plane about the queue's executions, and end the worker when all are over."""

    def __init__(self, queues: QueueRoutes, registration: Registration) -> None:
        self._queues = queues
        self._queue_id = registration.queue_id or registration.task_queue_name
        self._ephemeral = registration.queue_ephemeral
        self._sightings = Sightings()
        self._done = False  # set when every execution was over

    async def begin(self) -> None:
        """Record, before the worker polls, the executions that are already over."""
        rows = await self._queue_executions()
        if rows is not None:
            self._sightings = Sightings(rows)

    async def watch(self, stop: Stop) -> None:
        """Ask the worker to end when all executions are over or the time limit is reached."""
        try:
            async with asyncio.timeout(LONGEST):
                await self._until_over()
        except TimeoutError:
            self._done = not self._sightings.open
            log.warning("worker.single_execution_timeout", open=self._sightings.open, limit=f"{LONGEST:g}s")
            stop.finish(TIME_UP, hurried=True)
        else:
            self._done = True
            stop.finish(OVER)

    def delete_queue_if_done(self) -> None:
        """Delete an ephemeral queue, unless an execution is left on it. Blocks."""
        if not (self._done and self._ephemeral):
            return
        try:
            self._queues.delete(self._queue_id)
            log.info("worker.queue_deleted", queue=self._queue_id)
        except ControlPlaneError as error:
            log.warning("worker.queue_not_deleted", queue=self._queue_id, error=error.message)

    async def _until_over(self) -> None:
        await asyncio.sleep(FIRST)
        while True:
            rows = await self._queue_executions()
            if rows is None:
                self._sightings.forget()
            elif self._sightings.update(rows):
                await asyncio.sleep(SETTLE)
                return
            await asyncio.sleep(EVERY)

    async def _queue_executions(self) -> list[dict[str, Any]] | None:
        try:
            return await asyncio.to_thread(self._queues.executions, self._queue_id)
        except ControlPlaneError as error:
            log.warning("worker.executions_unknown", error=error.message)
            return None
