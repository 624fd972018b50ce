"""This module streams one execution's numbered log as server-sent events (docs/protocol.md#c3).

With `Last-Event-ID` every event with a higher number follows, once, in order, also for an execution that is over.
Without it the client gets the conversation so far as flat `message` events, `history_complete`, and then the log from
the end of the history: after the last complete message, or at the first event of what is still open. Each frame carries
the number of the event that it shows, and the numbers only grow. So a client can resume after any frame without losing
or repeating an event.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from kubiya_worker.protocol import execution as ex
from kubiya_worker.server.store.database import dumps
from kubiya_worker.server.store.executions import status_of
from kubiya_worker.server.store.stored_events import StoredEvents
from kubiya_worker.server.stream_frames import frame, shown

if TYPE_CHECKING:
    from kubiya_worker.server.plane import Plane

KEEPALIVE = 15.0  # seconds
LONGEST = 270.0  # seconds; then the client is asked to connect again
HISTORY: Final = 200  # messages


def counter_of(last_event_id: str) -> int:
    """Return the number in `{execution}_{counter}_{micros}` or in a bare number; any other text counts as 0. Pure."""
    match = re.fullmatch(r"(?:.*_)?(\d{1,18})_\d+|(\d{1,18})", last_event_id.strip(), re.ASCII)
    return int(match[1] or match[2]) if match else 0


class EventStream(StreamingResponse):
    """A streaming reply that ends when its client leaves.

    Starlette takes a group of tasks with scopes for that, which costs more than a short stream itself.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        working = asyncio.current_task()
        assert working is not None
        listening = asyncio.create_task(self.listen_for_disconnect(receive))
        listening.add_done_callback(lambda done: done.cancelled() or working.cancel())
        try:
            await self.stream_response(send)
        except asyncio.CancelledError:
            if listening.done():  # the client has left, and nobody else ends this
                working.uncancel()
                return
            raise
        finally:
            listening.cancel()


def stream(
    plane: Plane, execution_id: str, last_event_id: str | None, allowed: Callable[[], bool] = lambda: True
) -> StreamingResponse:
    """Return the streaming reply; the caller has already checked the execution's organization.

    `allowed` is asked before each piece: a stream ends when the key of its client does.
    """
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return EventStream(
        _frames(plane, execution_id, last_event_id, allowed), media_type="text/event-stream", headers=headers
    )


async def _frames(
    plane: Plane, execution_id: str, last_event_id: str | None, allowed: Callable[[], bool]
) -> AsyncIterator[str | bytes]:
    watcher = plane.watchers.join(execution_id)
    ends = time.monotonic() + LONGEST
    over = False  # whether the execution was final before the last look at its log
    try:
        sequence = counter_of(last_event_id) if last_event_id is not None else None
        known = await plane.stores.events.reading(lambda log: log.last(execution_id))
        if sequence is not None and sequence > known:
            gap = {"execution_id": execution_id, "last_event_id": last_event_id, "last_known": known}
            yield frame("gap_detected", dumps({**gap, "reason": "the log does not have that event"}))
            sequence = None
        if sequence is None:
            end, history = await plane.stores.events.reading(lambda log: _history(log, execution_id))
            yield history
            sequence = end - 1
        while True:
            watcher.clear()
            if not allowed():
                return
            page = await plane.watchers.page(execution_id, sequence)
            if page is None and over:
                return
            over = False
            if page is not None:
                sequence = page.last
                if page.text:
                    yield page.text
                if page.more or watcher.is_set():
                    continue
            # The row became final in the transaction that wrote `done`: a client with the whole log has seen it. That
            # may have been after this page was read, so the log is looked at once more.
            if page is None or page.done:
                status = await plane.database.reading(lambda reader: status_of(reader, execution_id))
                over = status is None or ex.is_final(status)
                if over:
                    continue
            left = ends - time.monotonic()
            if left <= 0 or plane.closing.is_set():
                reason = "timeout" if left <= 0 else "shutdown"
                yield frame("reconnect", dumps({"reason": reason, "duration": LONGEST}))
                return
            if not await watcher.wait(min(KEEPALIVE, left)):
                yield ": keepalive\n\n"
    finally:
        plane.watchers.leave(execution_id, watcher)


def _history(log: StoredEvents, execution_id: str) -> tuple[int, str]:
    """Return the number of the first event after the history, and the history's frames."""
    end = log.history_end(execution_id)
    messages = log.messages(execution_id, end, HISTORY + 1)
    truncated = len(messages) > HISTORY
    messages = messages[-HISTORY:]
    about: dict[str, Any] = {"execution_id": execution_id, "message_count": len(messages)}
    complete = frame("history_complete", dumps({**about, "is_truncated": truncated, "has_more": truncated}))
    return end, "".join(shown(execution_id, event, flat=True) for event in messages) + complete
