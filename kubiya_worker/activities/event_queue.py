"""The events of a step that are still to be sent. They form batches; text chunks that wait together are joined."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from kubiya_worker.activities.pacing import EventPacing
from kubiya_worker.protocol import events as ev

BATCH: Final = 200  # events in one request
MERGED_BYTES: Final = 32_768  # a joined chunk grows no larger


class EventQueue:
    """The queue of one step: the batch that is being sent, and the events that wait behind it.

    The first event says what has to be there before it (`after`). `pace` limits the number of events; None sets no
    limit. After `close` no event comes any more.
    """

    def __init__(self, after: Sequence[str] = (), pace: EventPacing | None = None) -> None:
        self.pace = pace
        self.used = False  # whether an event was ever put in
        self._after = list(after)
        self._waiting: list[ev.Event] = []
        self._batch: list[ev.Event] = []  # once formed it stays as it is: a retry must repeat it exactly
        self._changed = asyncio.Event()
        self._closed = asyncio.Event()

    def put(self, event: ev.Event) -> None:
        if self.pace is not None and not self.pace.wants(event):
            return
        if not self.used and self._after:
            event = {**event, "after": self._after}
        self.used = True
        self._waiting.append(event)
        self._changed.set()

    def close(self) -> None:
        self._closed.set()
        self._changed.set()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    @property
    def empty(self) -> bool:
        return not self._batch and not self._waiting

    @property
    def fits_in_batch(self) -> bool:
        """Return True when one batch takes all that waits."""
        return len(self._waiting) <= BATCH

    @property
    def between_batches(self) -> bool:
        return not self._batch

    def rest(self) -> list[ev.Event]:
        """Return all that is still to be sent, in the form in which it would be sent."""
        return self._batch + (merge_chunks(self._waiting) if self.pace is None else self.pace.take(self._waiting))

    async def next_request(self) -> list[ev.Event]:
        """Return the events of the next request. Return none after a wait for more events: then ask again."""
        if not self._batch:
            if not self._waiting:
                await self.more()
                return []
            gathering = 0.0 if self.pace is None or self.closed else self.pace.wait(self._waiting)
            if gathering > 0:
                await self.more(gathering)
                return []
            self._form_batch()
        # One by one where each is a request: a second try must not repeat those that were taken.
        return self._batch if self.pace is None else self._batch[:1]

    def _form_batch(self) -> None:
        if self.pace is None:
            self._batch = merge_chunks(self._waiting[:BATCH])
            del self._waiting[:BATCH]
        else:
            self._batch, self._waiting = self.pace.take(self._waiting), []

    def settle(self, request: Sequence[ev.Event]) -> None:
        """Forget the events of the request, which were stored or refused."""
        self._batch = self._batch[len(request) :]

    async def more(self, seconds: float | None = None) -> None:
        """Wait for another event, or the close, at most some seconds."""
        if not self.closed:
            self._changed.clear()
            await _within(self._changed, seconds)

    async def pause(self, seconds: float) -> None:
        """Wait for some seconds, in which events gather. The close stops the wait."""
        await _within(self._closed, seconds)


async def _within(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for the event, at most some seconds. `asyncio.wait_for` would make a task for each wait."""
    if event.is_set():
        return
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass  # it is time


def merge_chunks(events: Sequence[ev.Event]) -> list[ev.Event]:
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
