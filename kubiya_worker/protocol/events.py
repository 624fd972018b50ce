"""This module builds events (docs/protocol.md#c2) as {event_id, event_type, data, timestamp}.

`event_id` is our own field: it is deterministic, so that an event that is sent again (a retry, another worker) is
stored once. `after`, in few events, is ours too: ids of the same stream that must be stored before it.
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

MEMBER_MESSAGE_CHUNK: Final = "member_message_chunk"
MEMBER_MESSAGE_COMPLETE: Final = "member_message_complete"
MEMBER_TOOL_STARTED: Final = "member_tool_started"
MEMBER_TOOL_COMPLETED: Final = "member_tool_completed"

MEMBER_TYPES: Final = {
    MESSAGE_CHUNK: MEMBER_MESSAGE_CHUNK,
    MESSAGE: MEMBER_MESSAGE_COMPLETE,
    TOOL_STARTED: MEMBER_TOOL_STARTED,
    TOOL_COMPLETED: MEMBER_TOOL_COMPLETED,
}

PIECES: Final = frozenset({MESSAGE_CHUNK, RESET_CHUNKS, THINKING_START, THINKING_DELTA, THINKING_COMPLETE})

Event = dict[str, Any]


def now() -> str:
    """Return the current time in UTC, ISO-8601, with microseconds."""
    return datetime.now(UTC).isoformat()


def age(event: Event) -> float:
    """Return the event's age in seconds; 0 if its time is invalid, or ahead of this host's clock."""
    try:
        return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(str(event.get("timestamp")))).total_seconds())
    except (TypeError, ValueError):
        return 0.0


def event(event_id: str, event_type: str, data: dict[str, Any], timestamp: str | None = None) -> Event:
    return {"event_id": event_id, "event_type": event_type, "data": data, "timestamp": timestamp or now()}


def failed(execution_id: str, text: str, kind: str | None, at: str) -> Event:
    """Return the event that tells an execution's failure, in the published shape (docs/protocol.md#c2)."""
    data = {
        "severity": "error",
        "category": "execution",
        "error": text,
        "execution_id": execution_id,
        "status": "failed",
        "context": {"execution_id": execution_id, "timestamp": at, "stage": "execution", "component": "worker"},
        "details": {"error_type": kind or "ExecutionFailed", "error_message": text, "technical_message": text},
        "recovery": {"is_retryable": False, "retry_suggested": False, "recovery_actions": []},
        "metadata": {},
    }
    return event(f"error:{execution_id}", ERROR, data, at)


def of_member(event: Event, run: str, about: dict[str, Any]) -> Event:
    """Return an event of a team member's run in the form for the team's stream.

    `run` is the id of the member's run. It is put in front of ids of events and tool calls, which are unique only
    within a run. `about` says whose event it is (member_name, member_path, parent_message_id …).
    """
    data = {**event["data"], **about, "source": "team_member", "member_execution_id": run}
    if data.get("tool_execution_id"):
        data["tool_execution_id"] = f"{run}:{data['tool_execution_id']}"
    kind = event["event_type"]
    return {
        **event,
        "event_id": f"{run}:{event['event_id']}",
        "event_type": MEMBER_TYPES.get(kind, kind),
        "data": data,
    }
