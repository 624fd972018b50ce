"""This module plans the use of a stream that shows only the first 1,000 events of an execution (protocol.md#c1). Pure.

The published server keeps 1,000 events of an execution, and a client reads them by their place: it never sees later
ones while the execution runs. So a run of any length must not send more, and the important events have places to the
end:

    events so far   what is not sent any more
    0 … 500         text as it comes is joined, the more so the longer the run is; each answer gets an eighth of it
    from 500        chunks: the text comes with its complete message
    from 700        messages without text (they only ask for tools), notices that are no warnings
    from 850        `tool_started`: `tool_completed` tells what ran
    from 930        tools and notices. Messages with text, questions and the failure have the last 70 places
    from 1,000      everything but questions and the failure

The end itself needs no place: the server makes it from how the workflow closes. The session has everything.
"""

from __future__ import annotations

from typing import Any, Final

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol.events import Event

LIMIT: Final = 1_000  # events
CHUNKED: Final = 500
SHARE: Final = 8
MOST_CHUNKS: Final = 60  # chunks of one answer
LEVELS: Final = (700, 850, 930, 1_000)
BEGIN: Final = 8  # events with which a run begins: three, and notices
FAILED_CALL: Final = 6  # events of a model call that failed for good, besides its chunks
MEMBER_SHARE: Final = 4  # a member's run may use this part of what is left
MEMBER_LEAST: Final = 10

_TOOLS: Final = frozenset({ev.TOOL_STARTED, ev.TOOL_COMPLETED})
_STARTED: Final = frozenset({ev.TOOL_STARTED})
_ALWAYS: Final = frozenset({ev.APPROVAL_REQUESTED, ev.APPROVAL_RESOLVED, ev.ERROR})


def allowed_chunks(used: int) -> int:
    """Return into how many chunks the next answer may be split, after so many events."""
    return max(0, min(MOST_CHUNKS, (CHUNKED - used) // SHARE))


def level(used: int) -> int:
    """Return how few events the next step may send: 0 sends everything, 4 almost nothing."""
    return sum(used >= limit for limit in LEVELS)


def is_sent(event: Event, sparing: int) -> bool:
    """Return whether an event is sent at this level."""
    event_type: str = event["event_type"]
    data: dict[str, Any] = event["data"]
    if not sparing or event_type in _ALWAYS:
        return True
    if sparing >= 4:
        return False
    if event_type == ev.MESSAGE:
        return bool(str(data.get("content") or "").strip())
    if event_type == ev.NOTICE:
        return sparing < 3 and data.get("severity") not in (None, "info")
    if event_type in _TOOLS:
        return sparing < 3 and not (sparing == 2 and event_type in _STARTED)
    return True


def for_member(used: int) -> int:
    """Return how many events a member's run may send."""
    return max(MEMBER_LEAST, (LIMIT - used) // MEMBER_SHARE)
