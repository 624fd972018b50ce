"""Event types and their data (PROTOCOL C.2). Builders return {event_id, event_type, data, timestamp}.

`event_id` is ours: deterministic, so that an event that is sent again (a retry, another worker) is stored once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

METADATA: Final = "metadata"
RUN_STARTED: Final = "run_started"
MESSAGE: Final = "message"
MESSAGE_CHUNK: Final = "message_chunk"
RESET_CHUNKS: Final = "reset_chunks"
TOOL_STARTED: Final = "tool_started"
TOOL_COMPLETED: Final = "tool_completed"
THINKING_START: Final = "thinking_start"
THINKING_DELTA: Final = "thinking_delta"
THINKING_COMPLETE: Final = "thinking_complete"
STATUS: Final = "status"
ERROR: Final = "error"
DONE: Final = "done"
APPROVAL_REQUESTED: Final = "approval_requested"  # ours
APPROVAL_RESOLVED: Final = "approval_resolved"
NOTICE: Final = "notice"  # ours: a line for the person (a retry after 429, a budget that is nearly used up)

TERMINAL: Final = frozenset({DONE, ERROR})

Event = dict[str, Any]


def now() -> str:
    """UTC, ISO-8601, with microseconds."""
    return datetime.now(UTC).isoformat()


def event(event_id: str, event_type: str, data: dict[str, Any], timestamp: str | None = None) -> Event:
    return {"event_id": event_id, "event_type": event_type, "data": data, "timestamp": timestamp or now()}
