"""Publication of an activity's events: in order, in batches, and never lost without the caller's knowledge.

One `Publisher` serves one activity attempt. Events go out from a task of its own while the activity works; text chunks
that wait together are joined. What the control plane cannot take goes to the spool on disk when the activity ends, and
where that takes nothing, back to the workflow, which keeps it. Event ids are deterministic where the content is, so a
second sending is stored once. The first event says what has to be there before it (`after`), so that the order holds
when the steps of an execution, and their spools, are on different hosts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from types import TracebackType
from typing import Final

from temporalio import activity

from kubiya_worker.activities.pacing import EventPacing
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.control_plane.spool import Spool, without_pieces
from kubiya_worker.control_plane.writer import Writer
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol.execution import Member

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


def on_stream(execution_id: str, member: Member | None, events: list[ev.Event]) -> tuple[str, list[ev.Event]]:
    """Return the stream and the form of a run's events. A member's events show on its team's stream."""
    if member is None:
        return execution_id, events
    return member.stream, [ev.of_member(event, execution_id, member.event_fields()) for event in events]


class Publisher:
    """`async with Publisher(...) as out: out.emit(event)`.

    Afterwards `undelivered` is what the caller has to keep. `spooled` says what later events have to come after in
    place of `behind`: the last event that waits on disk, or nothing as all is delivered; None: as before.
    `hold`: something older is the caller's still, so nothing may go out.
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
    ) -> None:
        """Set up the publisher. `pace` limits the number of events; None sets no limit."""
        self.pace = pace
        self._writer = writer
        self._execution_id = execution_id
        self._stream = member.stream if member else execution_id
        self._member = member
        self._hold = hold
        self._spool = spool or Spool()
        self._behind = list(behind)
        self._emitted = False
        self._queue: list[ev.Event] = []
        self._sending: list[ev.Event] = []  # a batch once formed stays as it is: a retry must repeat it exactly
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.undelivered: list[ev.Event] = []
        self.spooled: list[str] | None = None

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

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._wake.set()
        if self._task is not None:
            done, _ = await asyncio.wait({self._task}, timeout=CLOSE_TIMEOUT)
            if not done:
                self._task.cancel()
                await asyncio.wait({self._task})
        left = self._sending + (merge_chunks(self._queue) if self.pace is None else self.pace.take(self._queue))
        # What an attempt that failed has streamed is streamed anew by the next one, perhaps from elsewhere.
        await self._keep(left if kind is None else without_pieces(left))

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
