"""Publication of a step's events: in order, in batches, and never lost without the workflow's knowledge.

One `Publisher` serves one activity attempt. Event ids are deterministic where the content is, so a second sending is
stored once. The first event says what has to be there before it, so that the order holds when the steps of an
execution, and their spools, are on different hosts.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from kubiya_worker.activities.event_handover import EventHandover, EventOutcome
from kubiya_worker.activities.event_queue import EventQueue
from kubiya_worker.activities.event_sender import EventSender
from kubiya_worker.activities.pacing import EventPacing
from kubiya_worker.control_plane.spool import without_pieces
from kubiya_worker.protocol import events as ev


class Publisher:
    """`async with Publisher(...) as out: out.emit(event)`. Afterwards `outcome` is what the workflow has to know."""

    def __init__(self, queue: EventQueue, sender: EventSender, handover: EventHandover) -> None:
        self._queue = queue
        self._sender = sender
        self._handover = handover
        self._message: Mapping[str, Any] | None = None  # the message of the step's result, if events may be left
        self.outcome = EventOutcome()

    @property
    def pace(self) -> EventPacing | None:
        return self._queue.pace

    @property
    def sent(self) -> int:
        """Return the number of events that this attempt has sent or kept, where that is limited."""
        return self.pace.count if self.pace is not None else 0

    async def __aenter__(self) -> Publisher:
        if not self._handover.hold:
            self._sender.start()
        return self

    def emit(self, event: ev.Event) -> None:
        if not self._handover.stream.hides(event):
            self._queue.put(event)

    def leave_behind(self, message: Mapping[str, Any]) -> None:
        """Let the step end before its last events have arrived. `message` is the one in the step's result."""
        self._message = message

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.close()
        self.outcome = await self._end(failed=kind is not None)

    async def _end(self, *, failed: bool) -> EventOutcome:
        if self._message is not None and not failed:
            outcome = await self._handover.leave(self._queue, self._sender, self._message)
            if outcome is not None:
                return outcome
        left = await self._sender.finish()
        if failed:  # the next attempt streams its text anew, perhaps from elsewhere
            left = without_pieces(left)
        if left:
            return await self._handover.keep(left)
        return EventOutcome(spooled=[] if self._queue.used else None)
