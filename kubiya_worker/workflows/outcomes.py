"""Outcomes of calls that no worker can report: the texts for the conversation and the stream. No I/O here."""

from __future__ import annotations

from typing import Any, Final

from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError, FailureError, TimeoutError

from kubiya_worker.protocol import calls, events, names
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import messages as m

EVENT_OUTPUT: Final = 10_000  # characters of a member's answer in its event; the conversation has all of it
# How the failure of a local activity arrives: bare, where that of any other one is the cause of an ActivityError.
LOCAL_FAILURE: Final = (ActivityError, ApplicationError, TimeoutError)


def cause_of(error: FailureError) -> str:
    """Return why an activity or a member's run failed, in words for a person."""
    cause = _cause(error)
    if unread(error) and isinstance(cause, ApplicationError):
        cause = cause.cause
    if isinstance(cause, TimeoutError):
        return "its worker was lost, or it took longer than it may"
    return str(getattr(cause, "message", None) or cause or error)


def kind_of(error: FailureError) -> str | None:
    """Return the type of an activity's failure, as the code that raised it named it."""
    cause = _cause(error)
    return cause.type if isinstance(cause, ApplicationError) else None


def spent(error: FailureError) -> ex.Usage:
    """Return the usage of a model call that failed."""
    details = getattr(_cause(error), "details", ())
    return ex.Usage.parse(details[0]) if details and isinstance(details[0], dict) else ex.Usage()


def told(error: FailureError) -> dict[str, Any]:
    """Return what the workflow can do about a model call that failed: {window?: tokens, shorten?: true}."""
    details: Any = getattr(_cause(error), "details", ())
    return details[1] if len(details) > 1 and isinstance(details[1], dict) else {}


def refused(error: FailureError) -> bool:
    """Return True when a retry is useless because the other side said no. Silence and time limits do not count."""
    cause = _cause(error)
    return isinstance(cause, ApplicationError) and cause.non_retryable


def unread(error: FailureError) -> bool:
    """Return True when the worker could not decrypt the input for lack of the key. The tool never ran."""
    inner = getattr(_cause(error), "cause", None)
    return isinstance(inner, ApplicationError) and inner.type in names.UNREADABLE


def _cause(error: FailureError) -> BaseException | None:
    return error.cause if isinstance(error, ActivityError | ChildWorkflowError) else error


def lost(request: calls.ToolInput, error: ActivityError) -> tuple[str, str]:
    """Return (status, text) of a call without an outcome: the worker died, or the activity itself broke."""
    if isinstance(error.cause, TimeoutError):
        return m.TOOL_UNKNOWN, (
            f"Outcome unknown: the worker that ran {request.tool_name} was lost while it ran. It may or may not have "
            "taken effect. It was not run again. Check the state before you repeat it."
        )
    if kind_of(error) == names.NOT_STORED:
        return m.TOOL_UNKNOWN, (
            f"Outcome unknown: {request.tool_name} was run, and its result could not be kept: {cause_of(error)}. It "
            "was not run again. Check the state before you repeat it."
        )
    return m.TOOL_FAILED, f"{request.tool_name} could not be run: {cause_of(error)}"


def of_member(name: str, result: dict[str, Any]) -> tuple[str, str]:
    """Return (status, text) of a member's run that has ended, for its leader."""
    said = str(result.get("response") or "").strip()
    if result.get("status") == ex.COMPLETED:
        return m.TOOL_SUCCESS, said or f"{name} is done and has said nothing."
    why = str(result.get("error") or result.get("status") or "it gave no reason")
    return m.TOOL_FAILED, f"{name} failed: {why}" + (f"\nThe last that it said: {said}" if said else "")


def member_completed(
    request: calls.ToolInput,
    text: str,
    status: str,
    now: str,
    member_name: str,
    seconds: float,
    source: str = "team_leader",
) -> events.Event:
    """Return the event for the end of a leader's call of a member, or of an agent's call of another agent."""
    good = status == m.TOOL_SUCCESS
    data = {
        "tool_name": request.tool_name,
        "tool_execution_id": request.tool_execution_id,
        "status": "success" if good else "failed",
        "outcome": status,
        "tool_output": text[:EVENT_OUTPUT] if good else "",
        "tool_error": None if good else text[:EVENT_OUTPUT],
        "message": f"{member_name} {'has answered' if good else 'failed'}",
        "message_id": request.message_id,
        "duration_seconds": round(seconds, 3),
        "source": source,
        "delegate": member_name,
    }
    return events.event(f"tool_completed:{request.tool_execution_id}", events.TOOL_COMPLETED, data, now)


def tool_message(request: calls.ToolInput, text: str, status: str, now: str) -> m.Message:
    return {
        "role": "tool",
        "content": text,
        "message_id": names.tool_message_id(request.execution_id, request.tool_execution_id),
        "timestamp": now,
        "tool_call_id": request.tool_execution_id,
        "tool_name": request.tool_name,
        "status": status,
    }


def tool_completed(request: calls.ToolInput, text: str, status: str, now: str) -> events.Event:
    data = {
        "tool_name": request.tool_name,
        "tool_execution_id": request.tool_execution_id,
        "status": "failed",
        "outcome": status,
        "tool_error": text,
        "message": text,
        "message_id": request.message_id,
        "source": "agent",
    }
    return events.event(f"tool_completed:{request.tool_execution_id}", events.TOOL_COMPLETED, data, now)
