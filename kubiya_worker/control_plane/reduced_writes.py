"""Reduced forms of a required write that the control plane refuses, so that the essential part arrives. No I/O here."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

from kubiya_worker.control_plane.writes import Write

# Of a PATCH of an execution, from all to the least.
STATUS_FIELDS: Final[tuple[tuple[str, ...], ...]] = (
    ("status", "started_at", "completed_at", "response", "error_message"),
    ("status", "started_at", "completed_at", "error_message"),
    ("status",),
)
# Of a message in a session (docs/protocol.md#a5): all of them text.
MESSAGE_FIELDS: Final = (
    *("role", "content", "timestamp", "message_id", "user_id", "user_name", "user_email"),
    *("tool_name", "tool_execution_id", "tool_output", "tool_error"),
)
_EXECUTION: Final = re.compile(r"/executions/([^/?]+)(/.*)?")


def reduced(write: Write) -> list[Write]:
    """Return ever more reduced forms of a write; none where nothing can be left out."""
    kind = write.kind.name if write.kind else ""
    if kind == "status":
        return _reduced_patches(write)
    if kind == "session":
        return [replace(write, body={**write.body, "messages": [_plain_message(x) for x in write.body["messages"]]})]
    if kind == "job_status" and len(write.body) > 1:
        return [replace(write, body={"status": write.body["status"]})]
    return []


def execution_of(write: Write) -> str | None:
    """Return the id of the execution that a write is about, where its path or its body names one."""
    match = _EXECUTION.fullmatch(write.path)
    if match and match[1] != "job-executions":
        return match[1]
    execution_id = write.body.get("execution_id")
    return str(execution_id) if execution_id else None


def _reduced_patches(write: Write) -> list[Write]:
    reduced_patches: list[Write] = []
    size = len(write.body)
    for names in STATUS_FIELDS:
        body: dict[str, Any] = {name: write.body[name] for name in names if name in write.body}
        if body and len(body) < size:
            reduced_patches.append(replace(write, body=body))
            size = len(body)
    return reduced_patches


def _plain_message(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message as plain text, without our own keys, as any of them may be the cause of the refusal."""
    return {
        name: value if isinstance(value, str) else str(value)
        for name, value in message.items()
        if name in MESSAGE_FIELDS and value is not None
    }
