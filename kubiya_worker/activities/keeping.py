"""Keeping a conversation in the control plane's session: as a whole, or from a place on, in requests that it takes."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from kubiya_worker.control_plane import writes
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.writes import Write
from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol import names

PART_BYTES: Final = 1_000_000  # of messages in one request; each tool's output is in it twice (PROTOCOL A.5)


async def session_writes(
    control_plane: ControlPlane, execution_id: str, messages: list[m.Message], *, first: int, **about: Any
) -> list[Write]:
    """Writes, to be made in this order, that replace the session from the message with the number `first` on.

    A control plane without the feature knows only whole sessions: what comes before is read from it.
    """
    stored = [to_session(message) for message in messages]
    if names.FEATURE_SESSION_PARTS not in control_plane.features:
        if first:
            again = {str(message["message_id"]) for message in messages}
            earlier = await asyncio.to_thread(control_plane.session_messages, execution_id)
            stored = [x for x in earlier if str(x.get("message_id")) not in again] + stored
        return [writes.session(execution_id, stored, **about)]
    made: list[Write] = []
    at = 0
    while at < len(stored) or not made:
        part = m.page(stored, at, PART_BYTES)
        made.append(writes.session(execution_id, part, first=first + at, **about))
        at += max(1, len(part))
    return made


def to_session(message: m.Message) -> dict[str, Any]:
    """As PROTOCOL A.5 has it; our own keys ride along so that nothing is lost on the way back."""
    if message["role"] != "tool":
        return message
    failed = message["status"] != m.TOOL_SUCCESS
    return {
        **message,
        "tool_execution_id": message["tool_call_id"],
        "tool_output": message["content"],
        "tool_error": message.get("tool_error") or (message["content"] if failed else None),
    }


def from_session(stored: dict[str, Any]) -> m.Message:
    drop = ("tool_output", "tool_execution_id") if stored.get("role") == "tool" else ()
    return {k: v for k, v in stored.items() if k not in drop and v is not None} | {
        "message_id": str(stored.get("message_id"))
    }
