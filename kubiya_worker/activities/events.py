"""Publication of an activity's events: in order, in batches, and never lost without the caller's knowledge.

One `Publisher` serves one activity attempt. Events go out from a task of its own while the activity works; text chunks
that wait together are joined. Where the workflow allows it, the last events of a step are still on their way when its
result is (in_flight.py). What the control plane cannot take goes to the spool on disk when the activity ends, and where
that takes nothing, back to the workflow, which keeps it. Event ids are deterministic where the content is, so a
second sending is stored once. The first event says what has to be there before it (`after`), so that the order holds
when the steps of an execution, and their spools, are on different hosts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from temporalio import activity

from kubiya_worker.activities.in_flight import TOO_EARLY, InFlight
from kubiya_worker.activities.pacing import EventPacing
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.control_plane.spool import Spool, without_pieces
from kubiya_worker.control_plane.writer import Writer
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import unconfirmed
from kubiya_worker.protocol.execution import Member
from kubiya_worker.protocol.streams import on_stream

WINDOW: Final = 0.02  # seconds: chunks that arrive within it travel together
FIRST: Final = 0.005  # seconds that the first event waits: what a fast step has to say travels in one request
CLOSE_TIMEOUT: Final = 10.0  # seconds that a finished activity waits for its last events before it hands them back
BATCH: Final = 200  # events in one request
MERGED_BYTES: Final = 32_768  # a joined chunk grows no larger
SPOOL_LOOKS_EVERY: Final = 0.2  # seconds, while older events of the execution wait on disk
HANDED_BACK: Final = 262_144  # bytes of events that a history takes from one step when the spool takes none


def merge_chunks(events: list[ev.Event]) -> list[ev.Event]:
    """Join neighbouring text chunks of the same message; the order of everything stays."""
    merged: list[ev.Event] = []
    for event in events:
        last = merged[-1] if merged else None
        data = event["data"]
        if (
            last is not None
            and event["event_type"] == last["event_type"] == ev.MESSAGE_CHUNK
            and data["message_id"] == last["data"]["message_id"]
            and len(last["data"]["content"]) + len(data["content"]) <= MERGED_BYTES
        ):
            size = int(last["data"].get("batch_info", {}).get("batch_size", 1)) + 1
            content = last["data"]["content"] + data["content"]
            batch = {"is_batched": True, "batch_size": size}
            merged[-1] = {**last, "data": {**last["data"], "content": content, "batch_info": batch}}
        else:
            merged.append(event)
    return merged


class Publisher:
    """`async with Publisher(...) as out: out.emit(event)`.

    Afterwards `undelivered` is what the caller has to keep. `spooled` says what later events have to come after in
    place of `behind`: the last event that waits on disk, or nothing as all is delivered; None: as before.
    `hold`: something older is the caller's still, so nothing may go out.

    With `in_flight`, and after `leave_behind`, the last events may still be on their way: `unconfirmed` has them.
    """

    def __init__(
        self,
        writer: Writer,
        execution_id: str,
        *,
        hold: bool = False,
        member: Member | None = None,
        spool: Spool | None = None,
        behind: Sequence[str] = (),
        pace: EventPacing | None = None,
        in_flight: InFlight | None = None,
        find_missing: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Set up the publisher. `pace` limits the number of events; None sets no limit.

        `find_missing` sends what has to come before, when the control plane does not have it.
        """
        self.pace = pace
        self._writer = writer
        self._execution_id = execution_id
        self._stream = member.stream if member else execution_id
        self._member = member
        self._hold = hold
        self._spool = spool or Spool()
        self._behind = list(behind)
        self._in_flight = in_flight or InFlight()
        self._find_missing = find_missing
        self._message: Mapping[str, Any] | None = None  # the message of the step's result, if events may be left
        self._emitted = False
        self._queue: list[ev.Event] = []
        self._sending: list[ev.Event] = []  # a batch once formed stays as it is: a retry must repeat it exactly
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.undelivered: list[ev.Event] = []
        self.spooled: list[str] | None = None
        self.unconfirmed: list[ev.Event] = []

    @property
    def sent(self) -> int:
        """Return the number of events that this attempt has sent or kept, where that is limited."""
        return self.pace.count if self.pace is not None else 0

    async def __aenter__(self) -> Publisher:
        if not self._hold:
            self._task = asyncio.create_task(self._run())
        return self

    def emit(self, event: ev.Event) -> None:
        if self._member is not None and self._member.quiet and event["event_type"] in ev.PIECES:
            return
        if self.pace is not None and not self.pace.wants(event):
            return
        if not self._emitted and self._behind:
            event = {**event, "after": self._behind}
        self._emitted = True
        self._queue.append(event)
        self._wake.set()

    def leave_behind(self, message: Mapping[str, Any]) -> None:
        """Let the step end before its last events have arrived. `message` is the one in the step's result."""
        self._message = message

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._wake.set()
        if kind is None and await self._leave():
            return
        left = await self._send_rest()
        # What an attempt that failed has streamed is streamed anew by the next one, perhaps from elsewhere.
        await self._keep(left if kind is None else without_pieces(left))

    async def _send_rest(self) -> list[ev.Event]:
        """Send what is left within a time limit. Return what could not be sent."""
        if self._task is not None:
            done, _ = await asyncio.wait({self._task}, timeout=CLOSE_TIMEOUT)
            if not done:
                self._task.cancel()
                await asyncio.wait({self._task})
        return self._left()

    def _left(self) -> list[ev.Event]:
        return self._sending + (merge_chunks(self._queue) if self.pace is None else self.pace.take(self._queue))

    async def _leave(self) -> bool:
        """Let the last events go on without the step, where the workflow can send them again. Return False if not."""
        if self._message is None or self._task is None or self._task.done() or activity.is_worker_shutdown():
            return False
        if (
            self._spool.holds(self._stream)
            or len(self._queue) > BATCH
            or not await self._in_flight.stored(self._behind)
        ):
            return False
        events = self._left()  # as they will be sent
        packed = unconfirmed.packed(events, self._message)
        if not events or unconfirmed.size(packed) > unconfirmed.MOST:
            return False
        last: str = on_stream(self._execution_id, self._member, events[-1:])[1][0]["event_id"]
        self._in_flight.add(last, self._send_alone())
        self.spooled, self.unconfirmed = [last], packed
        return True

    async def _send_alone(self) -> bool:
        """Send what is left when the step is over, or keep it on disk. Return whether the control plane has it."""
        left = await self._send_rest()
        if left:  # what the disk does not take either, the workflow sends at the end of the turn
            await asyncio.to_thread(self._spool.add, *on_stream(self._execution_id, self._member, left))
        return not left

    async def _keep(self, events: list[ev.Event]) -> None:
        if not events:
            self.spooled = [] if self._emitted else None
            return
        small = _size(events) <= HANDED_BACK
        # With what the workflow has still to deliver; and a worker that ends may take its disk with it.
        if small and (self._hold or activity.is_worker_shutdown()):
            self.undelivered = events
            return
        stream, shown = on_stream(self._execution_id, self._member, events)
        if await asyncio.to_thread(self._spool.add, stream, shown):
            self.spooled = [shown[-1]["event_id"]]
            return
        if not small:
            kept = without_pieces(events)
            kept = kept if _size(kept) <= HANDED_BACK else []
            self._spool.count_lost(len(events) - len(kept), "too large for the spool and for a history")
            events = kept
        self.undelivered = events

    async def _run(self) -> None:
        delay = 0.1
        await self._wake.wait()
        await self._pause(FIRST)
        await self._in_flight.stored(self._behind)
        while self._sending or self._queue or not self._closing.is_set():
            if self._spool.holds(self._stream):  # older ones go first
                if self._closing.is_set():
                    return
                await self._pause(SPOOL_LOOKS_EVERY)
                continue
            if not self._sending:
                if not self._queue:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                if self.pace is not None and not self._closing.is_set():
                    longer = self.pace.wait(self._queue)
                    if longer > 0:
                        await self._more(longer)
                        continue
                if self.pace is None:
                    self._sending = merge_chunks(self._queue[:BATCH])
                    del self._queue[:BATCH]
                else:
                    self._sending, self._queue = self.pace.take(self._queue), []
                if not self._sending:
                    continue
            # One by one where each is a request: a second try must not repeat those that were taken.
            portion = self._sending if self.pace is None else self._sending[:1]
            try:
                await self._writer.publish(*on_stream(self._execution_id, self._member, portion))
            except ControlPlaneError as error:
                if not error.retryable:
                    self._spool.count_lost(len(portion), f"refused: {error}")
                    self._sending = self._sending[len(portion) :]
                    continue
                if error.status == TOO_EARLY and self._find_missing is not None:
                    with contextlib.suppress(Exception):  # else it is tried again, and sent when the turn ends
                        await self._find_missing()
                        self._find_missing = None
                        continue
                if self._closing.is_set():
                    return  # better than to hold a slot while nobody listens
                await self._pause(error.retry_after or delay)
                delay = min(delay * 2, 5.0)
                continue
            delay = 0.1
            self._sending = self._sending[len(portion) :]
            self._spool.hurry()
            if not self._sending:
                await self._pause(WINDOW)

    async def _more(self, seconds: float) -> None:
        """Let text gather for some seconds. Any other event, or the end of the activity, stops the wait."""
        self._wake.clear()
        await _within(self._wake, seconds)

    async def _pause(self, seconds: float) -> None:
        """Let events gather for some seconds. The end of the activity stops the wait."""
        await _within(self._closing, seconds)


async def _within(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, at most some seconds. `asyncio.wait_for` would make a task for each wait."""
    if event.is_set():
        return
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass  # it is time


def _size(events: list[ev.Event]) -> int:
    return len(json.dumps(events, default=str))
