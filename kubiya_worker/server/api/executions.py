"""This module serves executions: rows, sessions, events, and their stream (docs/protocol.md#a5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from starlette.routing import Route

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import names
from kubiya_worker.server.api import execution_lists, shared_parts
from kubiya_worker.server.api.agents import AGENT, TEAM, resolved_environment, resolved_skills, store_of
from kubiya_worker.server.call import Call
from kubiya_worker.server.callers import caller_of
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import filters, worker
from kubiya_worker.server.refusals import ApiError, invalid, not_found
from kubiya_worker.server.run_workflows import workflow_of
from kubiya_worker.server.store.database import Reader
from kubiya_worker.server.store.executions import Execution, within_reach
from kubiya_worker.server.store.results import session_of
from kubiya_worker.server.store.stored_events import Stored, StoredEvents, data_of
from kubiya_worker.server.stream import stream
from kubiya_worker.server.temporal import Temporal, TemporalDown

T = TypeVar("T")


def missing(call: Call, key: str) -> ApiError:
    """Return the 404 for an execution, or the 410 for one that a limit of the server removed."""
    left = call.plane.stores.removals.find(call.organization_id, key)
    if left is None or not call.person.scope.covers(left["queue_id"], left["entity_id"]):
        return not_found("Execution", key)
    ended = f" at {left['ended_at']}" if left["ended_at"] else ""
    whose = f"the {left['execution_type']} {left['entity_name']!r}"
    text = f"Execution {key!r} of {whose} ended{ended} ({left['status']}). It was removed at {left['removed_at']}"
    return ApiError(410, f"{text} because of {left['rule']}")


def execution_of(call: Call, key: str | None = None) -> Execution:
    key = key if key is not None else call.path("execution")
    execution = call.plane.stores.executions.get(call.organization_id, key)
    if execution is None or not call.person.scope.covers(execution["queue_id"], execution["entity_id"]):
        raise missing(call, key)
    return execution


def execution_id_of(call: Call, key: str | None = None) -> str:
    """Return the id if this organization has such an execution, without reading the row; else answer 404 or 410."""
    key = key if key is not None else call.path("execution")
    if call.plane.stores.executions.owner(key) != call.organization_id or not call.reaches(key):
        raise missing(call, key)
    return key


async def read_of(call: Call, work: Callable[[Reader, str], T]) -> T:
    """Return what `work` reads of the request's execution, if this organization has it; else answer 404 or 410."""
    key = call.path("execution")

    def read(reader: Reader) -> tuple[T] | None:
        row = within_reach(reader, call.organization_id, call.person.scope, key)
        return (work(reader, key),) if row else None

    answer = await call.plane.database.reading(read)
    if answer is None:
        raise missing(call, key)
    return answer[0]


def requesters(call: Call, execution: Execution) -> list[str]:
    """Return the ids of the persons who asked for an execution.

    They are those who started it or wrote to it, or started or wrote to an execution that led to it.
    """
    persons: list[str] = []
    seen: set[str] = set()
    row: Execution | None = execution
    while row is not None and row["id"] not in seen:
        seen.add(row["id"])
        by = row.get("requested_by") or {}
        persons += [str(by.get("id") or row.get("user_email") or "").lower(), *map(str, row.get("asked_by") or ())]
        parent = row.get("parent_execution_id") or (row.get("execution_metadata") or {}).get("parent_execution_id")
        row = call.plane.stores.executions.get(call.organization_id, str(parent)) if parent else None
    return [each for each in dict.fromkeys(persons) if each]


async def get(call: Call) -> Any:
    return execution_of(call)


async def delete(call: Call) -> Any:
    execution = execution_of(call)
    if not ex.is_final(execution["status"]):
        raise ApiError(409, f"The execution is {execution['status']}; cancel it first")
    call.plane.stores.executions.delete(execution)
    call.plane.stores.events.forget(execution["id"])
    call.plane.run_files.forget(execution["id"])
    call.plane.watchers.grew(execution["id"])


async def patch(call: Call) -> Any:
    changes = call.fields
    status = str(changes.get("status") or ex.RUNNING).lower()
    if status not in ex.STATUSES | {ex.TERMINATED}:
        raise invalid("status", f"unknown status {status!r}", "enum")
    return call.plane.runs.change(execution_of(call), changes, by_worker=True)


async def context(call: Call) -> Any:
    """Return all that a worker needs to begin, in one answer."""
    execution = execution_of(call)
    kind = TEAM if execution["execution_type"] == TEAM else AGENT
    entity = store_of(call, kind).find(call.organization_id, execution["entity_id"])
    if entity is None:
        raise not_found(kind.capitalize(), execution["entity_id"])
    return {
        "execution": execution,
        kind: shared_parts.whole(call, entity),
        "skills": resolved_skills(call, entity, kind),
        "environment": resolved_environment(call, entity, kind, execution["id"], execution),
        "approval_rules": [r for r in call.plane.stores.rules.list(call.organization_id) if r.get("enabled", True)],
        "session": call.plane.stores.results.session(execution["id"]),
    }


async def details(call: Call) -> Any:
    """Return what there is of: the row, Temporal's description of the workflow, and the workflow's own state."""
    execution, temporal = execution_of(call), call.plane.temporal
    workflow = workflow_of(execution)
    shown: dict[str, Any] = {"execution": execution, "workflow_id": workflow.id, "workflow": None, "state": None}
    try:
        shown["workflow"] = await temporal.describe(workflow)
        shown["state"] = await temporal.query(workflow, names.GET_STATE)
    except LookupError:
        shown["error"] = await _gone(temporal, over=ex.is_final(execution["status"]))
    except TemporalDown as error:
        shown["error"] = str(error)
    return shown


async def _gone(temporal: Temporal, *, over: bool) -> str:
    """Say why Temporal does not know a workflow, and where its story is."""
    if not over:
        return "Temporal does not know the workflow: it was not started yet, or Temporal's data was lost"
    days = await temporal.retention_days()
    kept = f"for {days:g} days after their end" if days else "for some days after their end (its retention)"
    return f"Temporal keeps workflows {kept}, and not this one any more. Events, session and result are kept here"


async def get_session(call: Call) -> Any:
    execution_id, session = await read_of(call, lambda reader, key: (key, session_of(reader, key)))
    wanted = call.filters(filters.SessionFilters).session_id
    if session is None or wanted not in ("", execution_id, session["session_id"]):
        raise ApiError(404, "No session yet")
    return {**session, "message_count": len(session["messages"])}


async def save_session(call: Call) -> Any:
    execution_id, fields = execution_id_of(call), call.body
    session = {
        "session_id": fields.get("session_id") or execution_id,
        "execution_id": execution_id,
        "user_id": fields.get("user_id"),
        "messages": fields["messages"],
        "metadata": fields.get("metadata") or {},
    }
    call.plane.stores.results.save_session(execution_id, session, fields.get("first") or 0)
    return {
        "success": True,
        "execution_id": execution_id,
        "session_id": session["session_id"],
        "persisted_messages": len(fields["messages"]),
    }


async def add_event(call: Call) -> Any:
    execution_id, event = execution_id_of(call), call.fields
    call.plane.runs.publish(execution_id, [event])
    return {"success": True, "execution_id": execution_id, "event_type": event["event_type"]}


async def add_events(call: Call) -> Any:
    """Store events in order, up to the first whose `after` names an event that is not stored yet: then answer 425.

    The events before that one are stored, and sending them again does no harm.
    """
    execution_id, fields = execution_id_of(call), call.fields
    events: list[ev.Event] = fields["events"]
    ready = call.plane.turns.ready(execution_id, [*events, {"after": fields.get("after") or []}])
    with call.plane.database.transaction():  # in which the log's last number is known
        new = call.plane.runs.publish(execution_id, events[:ready]) if ready else 0
        last = call.plane.stores.events.last(execution_id)
    if ready <= len(events):
        raise ApiError(425, "What comes before these events is not here yet")
    return {"success": True, "accepted": new, "duplicates": len(events) - new, "last_sequence": last}


async def list_events(call: Call) -> Any:
    """Return stored events without streaming: those after the number `after`, at most `limit`."""
    wanted = call.filters(filters.EventFilters)

    def after(reader: Reader, key: str) -> list[Stored]:
        return StoredEvents(reader).after(key, wanted.after, wanted.limit)

    events = await read_of(call, after)
    keys = ("sequence", "event_type", "timestamp")
    return [{**{key: getattr(e, key) for key in keys}, "data": data_of(e)} for e in events]


async def get_stream(call: Call) -> Any:
    last = call.request.headers.get("last-event-id") or call.filters(filters.Stream).last_event_id or None
    execution_id = await read_of(call, lambda reader, key: key)

    def allowed() -> bool:
        now = caller_of(call.request)
        return now is not None and now.person.role == call.person.role and now.person.scope == call.person.scope

    return stream(call.plane, execution_id, last, allowed)


ROUTES: list[Route] = [
    Edge("POST", "/executions/{execution}/events/batch", add_events, 202, body=worker.EventsBody, batched=True),
    Edge("POST", "/executions/{execution}/events", add_event, 202, body=worker.OneEvent),
    Edge(
        *("GET", "/executions/{execution}/events", list_events),
        query=filters.EventFilters,
        patient=True,
    ),
    Edge("GET", "/executions/{execution}", get),
    Edge("PATCH", "/executions/{execution}", patch, body=worker.ExecutionPatch, batched=True),
    Edge("GET", "/executions/{execution}/context", context),
    Edge(
        *("GET", "/executions/{execution}/session", get_session),
        query=filters.SessionFilters,
        patient=True,
    ),
    Edge("POST", "/executions/{execution}/session", save_session, 201, body=worker.SessionBody, batched=True),
    Edge("GET", "/executions/{execution}/stream", get_stream, query=filters.Stream),
    Edge("GET", "/executions/{execution}/details", details),
    Edge("DELETE", "/executions/{execution}", delete, audit="execution.delete"),
    Edge("GET", "/executions", execution_lists.list_all, query=filters.ExecutionFilters, patient=True),
]
