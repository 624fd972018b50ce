"""Events as NDJSON for machines: {type, timestamp, execution_id, tool?, message?, status?, error?}.

The shape is that of docs/protocol.md#f11.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from kubiya_worker.cli.progress import error_text
from kubiya_worker.cli.stream import BACK, LOST, Frame
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol.servers import DEGRADED

PLAIN: Final = {member: plain for plain, member in ev.MEMBER_TYPES.items()}  # the same lines, with the member's name


def line_of(frame: Frame, execution_id: str, *, verbose: bool = False) -> dict[str, Any] | None:
    """Return the line for one event; None for an event that has no line in the contract.

    Inputs and outputs of tools are included only with `verbose`.
    """
    data = frame.data
    base = {"timestamp": frame.timestamp or ev.now(), "execution_id": execution_id}
    plain = PLAIN.get(frame.event_type)
    if plain:
        line = line_of(replace(frame, event_type=plain), execution_id, verbose=verbose)
        metadata = {name: data.get(name) for name in ("member_name", "member_path")}
        return {**line, "metadata": {**line.get("metadata", {}), **metadata}} if line else None
    match frame.event_type:
        case ev.RUN_STARTED | ev.METADATA:
            kind = "connected" if frame.event_type == ev.RUN_STARTED else "progress"
            metadata = {k: v for k, v in data.items() if k in ("agent_name", "model", "model_label", "run_id") and v}
            return {"type": kind, **base, "metadata": metadata}
        case ev.MESSAGE | ev.MESSAGE_CHUNK:
            chunk = {"chunk": True} if frame.event_type == ev.MESSAGE_CHUNK else {}
            text = {"role": data.get("role"), "content": data.get("content"), **chunk}
            return {
                "type": frame.event_type,
                **base,
                "message": text,
                "metadata": {"message_id": data.get("message_id")},
            }
        case ev.RESET_CHUNKS:
            return {"type": "progress", **base, "progress": {"stage": "reset", "message": str(data.get("message_id"))}}
        case ev.TOOL_STARTED:
            tool = {"name": data.get("tool_name")}
            tool |= {"inputs": data.get("tool_arguments") or {}} if verbose else {}
            return {"type": "tool_started", **base, "tool": tool, "metadata": _call(data)}
        case ev.TOOL_COMPLETED:
            tool = {
                "name": data.get("tool_name"),
                "duration_seconds": data.get("duration_seconds"),
                "success": str(data.get("status")).lower() in ("success", "completed"),
            }
            tool |= {"error": data["tool_error"]} if data.get("tool_error") else {}
            tool |= {"outputs": data.get("tool_output")} if verbose else {}
            return {"type": "tool_completed", **base, "tool": tool, "metadata": _call(data)}
        case ev.STATUS:
            return {"type": "status", **base, "status": {"state": data.get("status")}}
        case ev.APPROVAL_REQUESTED | ev.APPROVAL_RESOLVED:
            metadata = {k: v for k, v in data.items() if k != "execution_id" and v is not None}
            return {"type": "progress", **base, "progress": {"stage": frame.event_type}, "metadata": metadata}
        case ev.NOTICE if data.get("kind") == DEGRADED:
            progress = {"stage": DEGRADED, "message": data.get("message")}
            return {"type": "progress", **base, "progress": progress, "metadata": {DEGRADED: data.get(DEGRADED)}}
        case ev.NOTICE:
            return {"type": "progress", **base, "progress": {"stage": "notice", "message": data.get("message")}}
        case ev.ERROR:
            return {"type": "error", **base, "error": {"message": error_text(data)}}
        case ev.DONE:
            missing = (data.get("metadata") or {}).get(DEGRADED)
            extra = {"metadata": {DEGRADED: missing}} if missing else {}
            return {"type": "done", **base, "status": {"state": data.get("status")}, **extra}
        case _ if frame.event_type in (LOST, BACK):
            stage = "reconnecting" if frame.event_type == LOST else "reconnected"
            return {"type": "progress", **base, "progress": {"stage": stage}}
    return None


def _call(data: dict[str, Any]) -> dict[str, Any]:
    return {"tool_execution_id": data.get("tool_execution_id")}
