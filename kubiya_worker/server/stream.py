"""Server-sent events of one execution (PROTOCOL C.3), out of its numbered log.

With `Last-Event-ID` every event with a higher number follows, once, in order, also for an execution that is over.
Without it the client gets the conversation so far as flat `message` events, `history_complete`, and then what follows.
Each frame carries the number of the event that it shows, so a client can resume after any of them.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import StreamingResponse

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.server.store.events import Stored
from kubiya_worker.server.store.executions import Execution

if TYPE_CHECKING:
    from kubiya_worker.server.plane import Plane

KEEPALIVE: Final = 15.0  # seconds
LONGEST: Final = 270.0  # seconds; then the client is asked to connect again
HISTORY: Final = 200  # messages
FLAT: Final = frozenset({ev.STATUS, ev.DONE, ev.APPROVAL_RESOLVED})


def counter_of(last_event_id: str) -> int:
    """The number in `{execution}_{counter}_{micros}`, or in a bare number; anything else counts as 0."""
    found = re.fullmatch(r"(?:.*_)?(\d+)_\d+|(\d+)", last_event_id.strip())
    return int(found[1] or found[2]) if found else 0


def frame(event_type: str, data: Any, event_id: str | None = None) -> bytes:
    head = f"id: {event_id}\n" if event_id else ""
    return (
        f"{head}event: {event_type}\ndata: {json.dumps(data, separators=(',', ':'), ensure_ascii=False)}\n\n".encode()
    )


def shown(event: Stored, *, flat: bool = False) -> bytes:
    event_id = f"{event.execution_id}_{event.sequence}_{event.micros}"
    if flat or event.event_type in FLAT:
        return frame(event.event_type, event.data, event_id)
    return frame(event.event_type, {"data": event.data, "timestamp": event.timestamp}, event_id)


def split_history(log: list[Stored]) -> tuple[list[Stored], list[Stored]]:
    """(history, rest): complete messages up to the last one, and what came after it.

    Everything after the last complete message (the beginning of one that is being written, a tool that runs) is rest.
    """
    last = max((i for i, e in enumerate(log) if e.event_type == ev.MESSAGE), default=-1)
    return [e for e in log[: last + 1] if e.event_type == ev.MESSAGE], log[last + 1 :]


def stream(plane: Plane, organization_id: str, execution: Execution, last_event_id: str | None) -> StreamingResponse:
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    frames = _frames(plane, organization_id, execution["id"], last_event_id)
    return StreamingResponse(frames, media_type="text/event-stream", headers=headers)


async def _frames(plane: Plane, organization_id: str, execution_id: str, last: str | None) -> AsyncIterator[bytes]:
    watcher = plane.watch(execution_id)
    ends = time.monotonic() + LONGEST
    try:
        sequence = 0
        if last is None:
            log = _all(plane, execution_id)
            history, rest = split_history(log)
            for event in history[-HISTORY:]:
                yield shown(event, flat=True)
            about = {"execution_id": execution_id, "message_count": len(history)}
            truncated = len(history) > HISTORY
            yield frame("history_complete", {**about, "is_truncated": truncated, "has_more": truncated})
            sequence = rest[0].sequence - 1 if rest else (log[-1].sequence if log else 0)
        else:
            sequence = counter_of(last)
        while True:
            watcher.clear()
            for event in plane.events.after(execution_id, sequence):
                sequence = event.sequence
                yield shown(event)
                if event.event_type == ev.DONE:
                    return
            if sequence < plane.events.last(execution_id):
                continue
            execution = plane.executions.get(organization_id, execution_id)
            if execution is None or ex.is_final(execution["status"]):
                # Over, and the client has all of it. Say so, for one that came after the last event.
                status = execution["status"] if execution else ex.CANCELLED
                yield frame(ev.DONE, {"execution_id": execution_id, "status": status})
                return
            left = ends - time.monotonic()
            if left <= 0 or plane.closing.is_set():
                yield frame("reconnect", {"reason": "timeout", "duration": LONGEST})
                return
            try:
                await asyncio.wait_for(watcher.wait(), min(KEEPALIVE, left))
            except TimeoutError:
                yield b": keepalive\n\n"
    finally:
        plane.unwatch(execution_id, watcher)


def _all(plane: Plane, execution_id: str) -> list[Stored]:
    log: list[Stored] = []
    while True:
        page = plane.events.after(execution_id, log[-1].sequence if log else 0)
        if not page:
            return log
        log += page
