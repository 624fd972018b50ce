"""Storage of a conversation in the control plane's session: whole or from a position on, in requests that it takes."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any, Final

from kubiya_worker.control_plane import writes
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.errors import ControlPlaneError, Unauthorized
from kubiya_worker.control_plane.writes import Write
from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol import names

log = logging.getLogger(__name__)

CONTENT: Final = "content_parts"  # ours: content that is no text, as it was
PART_BYTES: Final = 1_000_000  # of messages in a request, with each tool's output twice (docs/protocol.md#a5)


async def session_writes(
    control_plane: ControlPlane, execution_id: str, messages: list[m.Message], *, first: int, **about: Any
) -> list[Write]:
    """Return the writes, to be made in order, that replace the session from message number `first` on.

    A control plane without the feature takes only whole sessions, so the earlier messages are read from it first. If
    they cannot be read, there are no writes: a session without its beginning would replace the whole one.
    """
    stored = [to_session(message) for message in messages]
    if names.FEATURE_SESSION_PARTS not in control_plane.features:
        if first:
            again = {str(message["message_id"]) for message in messages}
            try:
                earlier = await asyncio.to_thread(control_plane.session_messages, execution_id)
            except ControlPlaneError as error:
                if error.outage or isinstance(error, Unauthorized):
                    raise
                log.error("session.unreadable %s remedy=What was stored last stays", error)
                return []
            stored = [x for x in earlier if str(x.get("message_id")) not in again] + stored
        return [writes.session(execution_id, stored, **about)]
    group: list[Write] = []
    at = 0
    while at < len(stored) or not group:
        part = m.page(stored, at, PART_BYTES)
        group.append(writes.session(execution_id, part, first=first + at, **about))
        at += max(1, len(part))
    return group


def to_session(message: m.Message) -> dict[str, Any]:
    """Return the message as protocol.md#a5 has it. Our own keys stay in it, so that loading loses nothing.

    Content is text: the published server stores nothing of a session that has anything else there.
    """
    content = message.get("content")
    stored = message if isinstance(content, str) else {**message, "content": text_of(content), CONTENT: content}
    if message["role"] != "tool":
        return stored
    failed = message["status"] != m.TOOL_SUCCESS
    return {
        **stored,
        "tool_execution_id": message["tool_call_id"],
        "tool_output": stored["content"],
        "tool_error": message.get("tool_error") or (stored["content"] if failed else None),
    }


def text_of(content: Any) -> str:
    """Return content of any shape as text: one line for each part, empty for no content."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(filter(None, map(_part, content)))
    return json.dumps(content, ensure_ascii=False, default=str)


def _part(part: Any) -> str:
    if isinstance(part, dict):
        text = part.get("text")
        return text if isinstance(text, str) else f"[{part.get('type') or 'content'}]"
    return text_of(part)


def from_session(stored: dict[str, Any]) -> m.Message:
    drop = {"tool_output", "tool_execution_id"} if stored.get("role") == "tool" else set()
    message = {k: v for k, v in stored.items() if k not in drop and k != CONTENT and v is not None}
    if stored.get(CONTENT) is not None:
        message["content"] = stored[CONTENT]
    return message | {"message_id": str(stored.get("message_id"))}
