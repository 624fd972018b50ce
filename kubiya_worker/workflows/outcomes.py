"""This module has the outcomes of calls that no worker can report: messages and events of them. No I/O."""

from __future__ import annotations

from typing import Any, Final

from temporalio.exceptions import ActivityError, TimeoutError

from kubiya_worker.protocol import calls, events, names
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows import activity_failures

EVENT_OUTPUT: Final = 10_000  # characters of a member's answer in its event; the conversation has all of it


def of_lost_call(request: calls.ToolInput, error: ActivityError) -> tuple[str, str]:
    """Return (status, text) of a call without an outcome: the worker died, or the activity itself broke."""
    if isinstance(error.cause, TimeoutError):
        return m.TOOL_UNKNOWN, (
            f"Outcome unknown: the worker that ran {request.tool_name} was lost while it ran. It may or may not have "
            "taken effect. It was not run again. Check the state before you repeat it."
        )
    cause = activity_failures.cause_of(error)
    if activity_failures.kind_of(error) == names.NOT_STORED:
        return m.TOOL_UNKNOWN, (
            f"Outcome unknown: {request.tool_name} was run, and its result could not be kept: {cause}. It was not run "
            "again. Check the state before you repeat it."
        )
    return m.TOOL_FAILED, f"{request.tool_name} could not be run: {cause}"


def of_absent_host(request: calls.ToolInput, place: calls.CallPlace, wait: calls.CallWait) -> str:
    """Return the text of a call for which no worker of the host that has the thing has answered."""
    early = {
        calls.MESSAGE: " The wait was ended because a person has written.",
        calls.BUDGET: " The wait was ended because the seconds of this execution's budget are used up.",
    }.get(wait.woken, "")
    return (
        f"Outcome unknown: only the host {place.host} knows of {wait.what}, and {request.tool_name} found no worker "
        f"there for {wait.waited:.0f} s.{early} What was started there may still run. Nothing was started again. "
        "Once a worker of that host is back, shell_wait with the id tells. If the host is gone for good, so is the "
        "outcome: check the state before you repeat the command."
    )


def lost_call(
    request: calls.ToolInput, context: calls.Context, activity_id: str, cause: TimeoutError, status: str
) -> calls.LostCall:
    """Return what a trace says of a call whose last worker is gone. The caller fills in the attempt and the times."""
    return calls.LostCall(
        request.tool_name,
        request.tool_execution_id,
        activity_id,
        status,
        agent_id=context.agent_id,
        agent_name=context.agent_name,
        caller=str(context.metadata.get("traceparent") or ""),
        turn=request.turn,
        heartbeat=list(cause.last_heartbeat_details),
    )


def of_member(name: str, result: dict[str, Any]) -> tuple[str, str]:
    """Return (status, text) of a member's run that has ended, for its leader."""
    response = str(result.get("response") or "").strip()
    if result.get("status") == ex.COMPLETED:
        return m.TOOL_SUCCESS, response or f"{name} is done and has said nothing."
    why = str(result.get("error") or result.get("status") or "it gave no reason")
    return m.TOOL_FAILED, f"{name} failed: {why}" + (f"\nThe last that it said: {response}" if response else "")


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
