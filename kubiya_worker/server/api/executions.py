"""Executions: rows, sessions, events, and what people do to them while they run (PROTOCOL A.5, A.6)."""

from __future__ import annotations

import time
from typing import Any

from starlette.routing import Route

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import names
from kubiya_worker.server.api.agents import resolved_environment, resolved_skills, start_execution
from kubiya_worker.server.http import ApiError, Call, not_found, route
from kubiya_worker.server.store.executions import Execution
from kubiya_worker.server.stream import stream
from kubiya_worker.server.temporal import TemporalDown


def execution_of(call: Call, key: str | None = None) -> Execution:
    key = key if key is not None else call.path("execution")
    found = call.plane.executions.get(call.organization_id, key)
    if found is None:
        raise not_found("Execution", key)
    return found


async def list_executions(call: Call) -> Any:
    return call.plane.executions.page(
        call.organization_id,
        status=call.query("status_filter") or call.query("status"),
        kind=call.query("execution_type"),
        skip=call.number("skip", 0, 0, 10**9),
        limit=call.number("limit", 50, 1, 500),
    )


async def get_execution(call: Call) -> Any:
    return execution_of(call)


async def delete_execution(call: Call) -> Any:
    execution = execution_of(call)
    if not ex.is_final(execution["status"]):
        raise ApiError(409, f"The execution is {execution['status']}; cancel it first")
    call.plane.executions.delete(execution["id"])


async def patch_execution(call: Call) -> Any:
    allowed = ("started_at", "completed_at", "response", "error_message", "usage", "execution_metadata", "status")
    changes = {k: v for k, v in call.body.items() if k in allowed and v is not None}
    status = str(changes.get("status") or "running").lower()
    if status not in ex.STATUSES | {ex.TERMINATED}:
        raise ApiError(422, [{"loc": ["body", "status"], "msg": f"unknown status {status!r}", "type": "enum"}])
    return call.plane.change(execution_of(call), changes)


async def create_execution(call: Call) -> Any:
    """For a scheduled job: the worker has the workflow already, only the row is missing."""
    kind = call.text("entity_type").lower()
    entity = (call.plane.agents if kind == "agent" else call.plane.teams).find(
        call.organization_id, call.text("entity_id")
    )
    if entity is None:
        raise not_found(kind.capitalize(), call.text("entity_id"))
    made = start_execution(call, kind, entity, execution_metadata=call.body.get("trigger_metadata") or {})
    return {**made, "status": "created"}


async def context(call: Call) -> Any:
    """What a worker needs to begin, at once."""
    execution = execution_of(call)
    kind = "team" if execution["execution_type"] == "team" else "agent"
    entity = (call.plane.teams if kind == "team" else call.plane.agents).find(
        call.organization_id, execution["entity_id"]
    )
    if entity is None:
        raise not_found(kind.capitalize(), execution["entity_id"])
    return {
        "execution": execution,
        kind: entity,
        "skills": resolved_skills(entity, kind),
        "environment": resolved_environment(call, entity, kind),
        "approval_rules": [r for r in call.plane.rules.list(call.organization_id) if r.get("enabled", True)],
        "session": call.plane.results.session(execution["id"]),
    }


async def details(call: Call) -> Any:
    execution = execution_of(call)
    try:
        state = await call.plane.temporal.query(execution, names.GET_STATE)
    except (LookupError, TemporalDown) as error:
        return {"execution": execution, "state": None, "error": str(error)}
    return {"execution": execution, "state": state}


# -- sessions and events


async def get_session(call: Call) -> Any:
    execution = execution_of(call)
    session = call.plane.results.session(execution["id"])
    if session is None:
        raise ApiError(404, "No session yet")
    return {**session, "message_count": len(session["messages"])}


async def save_session(call: Call) -> Any:
    execution = execution_of(call)
    messages = call.body.get("messages")
    if not isinstance(messages, list):
        raise ApiError(422, [{"loc": ["body", "messages"], "msg": "a list", "type": "list_type"}])
    session_id = str(call.body.get("session_id") or execution["id"])
    session = {
        "session_id": session_id,
        "execution_id": execution["id"],
        "user_id": call.body.get("user_id"),
        "messages": messages,
        "metadata": call.body.get("metadata") or {},
    }
    call.plane.results.save_session(execution["id"], session)
    return {
        "success": True,
        "execution_id": execution["id"],
        "session_id": session_id,
        "persisted_messages": len(messages),
    }


def _event(raw: Any) -> ev.Event:
    if not isinstance(raw, dict) or not isinstance(raw.get("event_type"), str):
        raise ApiError(422, [{"loc": ["body", "event_type"], "msg": "Field required", "type": "missing"}])
    return raw


async def add_event(call: Call) -> Any:
    execution, event = execution_of(call), _event(call.body)
    call.plane.publish(execution["id"], [event])
    return {"success": True, "execution_id": execution["id"], "event_type": event["event_type"]}


async def add_events(call: Call) -> Any:
    execution, events = execution_of(call), call.body.get("events")
    if not isinstance(events, list):
        raise ApiError(422, [{"loc": ["body", "events"], "msg": "a list", "type": "list_type"}])
    new = call.plane.publish(execution["id"], [_event(e) for e in events])
    last = call.plane.events.last(execution["id"])
    return {"success": True, "accepted": new, "duplicates": len(events) - new, "last_sequence": last}


async def get_stream(call: Call) -> Any:
    execution = execution_of(call)
    given = call.request.headers.get("last-event-id") or call.query("last_event_id") or None
    return stream(call.plane, call.organization_id, execution, given)


# -- what people do


async def message(call: Call) -> Any:
    execution, text = execution_of(call), call.prompt("message")
    if ex.is_final(execution["status"]):
        raise ApiError(409, f"The execution is {execution['status']}; start a new one")
    said = {
        "role": call.body.get("role") or "user",
        "content": text,
        "message_id": call.body.get("message_id") or f"{execution['id']}_{time.time_ns() // 1000}",
        "timestamp": ev.now(),
        **{k: v for k, v in call.body.items() if k.startswith("user_") and v},
    }
    await _signal(call, execution, names.ADD_MESSAGE, said)
    event = ev.event(f"message:{said['message_id']}", ev.MESSAGE, said)
    call.plane.publish(execution["id"], [event])
    return {"success": True, "execution_id": execution["id"], "message": "The message was given to the execution"}


async def _signal(call: Call, execution: Execution, name: str, *args: Any) -> None:
    try:
        await call.plane.temporal.signal(execution, name, *args)
    except LookupError as error:
        raise ApiError(409, "The execution does not run (yet, or any more); try again") from error
    except TemporalDown as error:
        raise ApiError(503, f"Temporal does not answer: {error}. Try again") from error


def _changed(execution: Execution, text: str) -> dict[str, Any]:
    workflow_id = names.workflow_id(execution["execution_type"], execution["id"])
    return {"success": True, "execution_id": execution["id"], "workflow_id": workflow_id, "message": text}


def _refused(execution: Execution, text: str) -> dict[str, Any]:
    return {"success": False, "execution_id": execution["id"], "status": execution["status"], "error": text}


async def pause(call: Call) -> Any:
    execution = execution_of(call)
    if execution["status"] not in (ex.RUNNING, ex.WAITING):
        return _refused(execution, f"An execution that is {execution['status']} cannot be paused")
    await _signal(call, execution, names.PAUSE)
    call.plane.change(execution, {"status": ex.PAUSED, "status_before_pause": execution["status"]})
    return _changed(execution, "Paused")


async def resume(call: Call) -> Any:
    execution = execution_of(call)
    if execution["status"] != ex.PAUSED:
        return _refused(execution, f"An execution that is {execution['status']} cannot be resumed")
    await _signal(call, execution, names.RESUME)
    call.plane.change(execution, {"status": execution.get("status_before_pause") or ex.RUNNING})
    return _changed(execution, "Resumed")


async def cancel(call: Call) -> Any:
    execution = execution_of(call)
    if execution["status"] == ex.CANCELLED:
        return _changed(execution, "Cancelled already")
    if ex.is_final(execution["status"]):
        return _refused(execution, f"The execution is {execution['status']} already")
    try:
        await call.plane.temporal.cancel(execution)
    except LookupError:
        pass  # not started yet, or over: the row says cancelled, and the outbox does not start it any more
    except TemporalDown as error:
        raise ApiError(503, f"Temporal does not answer: {error}. Try again") from error
    call.plane.change(execution, {"status": ex.CANCELLED, "error_message": "Cancelled by user"})
    return _changed(execution, "Cancelled")


async def mark_done(call: Call) -> Any:
    execution = execution_of(call)
    await _signal(call, execution, names.MARK_AS_DONE)
    return _changed(execution, "Marked as done")


async def terminate(call: Call) -> Any:
    execution, reason = execution_of(call), call.text("reason")
    try:
        await call.plane.temporal.terminate(execution, reason[:500])
    except LookupError:
        pass  # nothing runs
    except TemporalDown as error:
        raise ApiError(503, f"Temporal does not answer: {error}. Try again") from error
    call.plane.change(execution, {"status": ex.CANCELLED, "error_message": f"Terminated: {reason}"})
    return _changed(execution, "Terminated")


# -- analytics


def decide(execution: Execution, turn: dict[str, Any]) -> str:
    """The next status after a turn: deterministic, no model is asked."""
    if turn.get("error_message"):
        return ex.FAILED
    if (execution.get("execution_metadata") or {}).get("interactive"):
        return ex.WAITING
    return ex.COMPLETED


async def add_turn(call: Call) -> Any:
    execution = execution_of(call, call.text("execution_id"))
    turn_id = call.plane.results.add_turn(call.body)
    return {"success": True, "turn_id": turn_id, "next_status": decide(execution, call.body)}


async def add_tool_call(call: Call) -> Any:
    execution_of(call, call.text("execution_id"))
    call.plane.results.add_tool_calls([call.body])
    return {"success": True}


async def add_batch(call: Call) -> Any:
    execution = execution_of(call, call.text("execution_id"))
    for turn in call.body.get("turns") or []:
        call.plane.results.add_turn({**turn, "execution_id": execution["id"]})
    calls = [{**c, "execution_id": execution["id"]} for c in call.body.get("tool_calls") or []]
    call.plane.results.add_tool_calls(calls)
    return {"success": True}


async def analytics(call: Call) -> Any:
    execution = execution_of(call)
    results = call.plane.results
    return {"turns": results.turns(execution["id"]), "tool_calls": results.tool_calls(execution["id"])}


ROUTES: list[Route] = [
    route("GET", "/executions", list_executions),
    route("POST", "/executions/create", create_execution, 201),
    route("POST", "/executions/job-executions", create_execution, 201),
    route("GET", "/executions/{execution}", get_execution),
    route("DELETE", "/executions/{execution}", delete_execution),
    route("PATCH", "/executions/{execution}", patch_execution),
    route("GET", "/executions/{execution}/context", context),
    route("GET", "/executions/{execution}/details", details),
    route("GET", "/executions/{execution}/session", get_session),
    route("POST", "/executions/{execution}/session", save_session, 201),
    route("POST", "/executions/{execution}/events", add_event, 202),
    route("POST", "/executions/{execution}/events/batch", add_events, 202),
    route("GET", "/executions/{execution}/stream", get_stream),
    route("POST", "/executions/{execution}/message", message, 202),
    route("POST", "/executions/{execution}/pause", pause),
    route("POST", "/executions/{execution}/resume", resume),
    route("POST", "/executions/{execution}/cancel", cancel),
    route("POST", "/executions/{execution}/mark-done", mark_done, 202),
    route("POST", "/executions/{execution}/terminate", terminate),
    route("POST", "/analytics/turns", add_turn, 201),
    route("POST", "/analytics/tool-calls", add_tool_call, 201),
    route("POST", "/analytics/batch", add_batch, 201),
    route("GET", "/analytics/executions/{execution}/details", analytics),
]
