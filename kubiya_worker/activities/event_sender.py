"""The task that sends a step's events while the step works: in order, with retries, never past older ones on disk."""

from __future__ import annotations

import asyncio
from typing import Final

from kubiya_worker.activities.event_queue import EventQueue
from kubiya_worker.activities.in_flight import TOO_EARLY
from kubiya_worker.activities.predecessors import Predecessors
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.control_plane.spool import Spool
from kubiya_worker.control_plane.writer import Writer
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol.streams import RunStream

WINDOW: Final = 0.02  # seconds: chunks that arrive within it travel together
FIRST: Final = 0.005  # seconds that the first event waits: what a fast step has to say travels in one request
CLOSE_TIMEOUT: Final = 10.0  # seconds that a finished activity waits for its last events before it hands them back
SPOOL_LOOKS_EVERY: Final = 0.2  # seconds, while older events of the execution wait on disk
FIRST_RETRY: Final = 0.1  # seconds
LONGEST_RETRY: Final = 5.0  # seconds


class EventSender:
    """The sender of one step's queue. It ends when the queue is closed and empty, or what is left cannot be sent."""

    def __init__(
        self, writer: Writer, stream: RunStream, queue: EventQueue, predecessors: Predecessors, spool: Spool
    ) -> None:
        self._writer = writer
        self._stream = stream
        self._queue = queue
        self._predecessors = predecessors
        self._spool = spool
        self._retry = FIRST_RETRY
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def finish(self) -> list[ev.Event]:
        """Send what is left of the closed queue within a time limit. Return what could not be sent."""
        if self._task is not None:
            done, _ = await asyncio.wait({self._task}, timeout=CLOSE_TIMEOUT)
            if not done:
                self._task.cancel()
                await asyncio.wait({self._task})
        return self._queue.rest()

    async def _run(self) -> None:
        queue = self._queue
        if queue.empty:
            await queue.more()
        await queue.pause(FIRST)
        await self._predecessors.arrived()
        while not queue.empty or not queue.closed:
            if self._spool.holds(self._stream.id):  # older ones go first
                if queue.closed:
                    return
                await queue.pause(SPOOL_LOOKS_EVERY)
                continue
            request = await queue.next_request()
            if request and not await self._send(request):
                return

    async def _send(self, request: list[ev.Event]) -> bool:
        """Send the events once, and wait for as long as the next try has to. Return False to give up."""
        try:
            await self._writer.publish(self._stream.id, self._stream.shown(request))
        except ControlPlaneError as error:
            return await self._after_fault(request, error)
        self._retry = FIRST_RETRY
        self._queue.settle(request)
        self._spool.hurry()
        if self._queue.between_batches:
            await self._queue.pause(WINDOW)
        return True

    async def _after_fault(self, request: list[ev.Event], error: ControlPlaneError) -> bool:
        if not error.retryable:
            self._spool.count_lost(len(request), f"refused: {error}")
            self._queue.settle(request)
            return True
        if error.status == TOO_EARLY and await self._predecessors.sent():
            return True
        if self._queue.closed:
            return False  # better than to hold a slot while nobody listens
        await self._queue.pause(error.retry_after or self._retry)
        self._retry = min(self._retry * 2, LONGEST_RETRY)
        return True
