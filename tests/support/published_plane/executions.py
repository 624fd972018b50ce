"""Executions: rows, sessions, events (docs/protocol.md#a5), and what people do to a run."""

from __future__ import annotations

from typing import Any

from temporalio.service import RPCError

from tests.support.published_plane import bodies
from tests.support.published_plane.edge import (
    Call,
    Entry,
    Object,
    Refusal,
    as_time,
    as_uuid,
    broken,
    unknown,
    unstorable,
    validated,
)
from tests.support.published_plane.stream import stream
from tests.support.published_plane.world import micros, now, shown, workflow_id

PAUSABLE = ("running", "waiting_for_input")


def _execution(call: Call) -> Object:
    return call.found(call.world.executions, "execution", "Execution")


async def list_all(call: Call) -> Any:
    skip, limit = int(call.query("skip", "0")), int(call.query("limit", "50"))
    status, kind = call.query("status_filter"), call.query("execution_type").upper()
    found = [
        shown(e)
        for e in call.world.executions.values()
        if (not status or e["status"] == status) and (not kind or e["execution_type"].upper() == kind)
    ]
    return sorted(found, key=lambda e: str(e["created_at"]), reverse=True)[skip : skip + limit]


async def get(call: Call) -> Any:
    return shown(_execution(call))


async def delete(call: Call) -> Any:
    del call.world.executions[_execution(call)["id"]]


async def patch(call: Call) -> Any:
    execution, world = _execution(call), call.world
    changes = {k: v for k, v in call.set.items() if v is not None or not world.holds("patch.null-leaves")}
    for name in ("started_at", "completed_at"):
        as_time(world, changes.get(name))
    if len(changes.get("status", "")) > 50:
        raise broken("value too long for type character varying(50)")
    if "status" in changes and world.holds("patch.lower-case"):
        changes["status"] = changes["status"].lower()
    if not world.holds("patch.replaces-maps"):
        maps = ("usage", "execution_metadata")
        changes |= {k: {**(execution.get(k) or {}), **changes[k]} for k in maps if k in changes}
    world.change(execution, **changes)
    return shown(execution)


async def add_event(call: Call) -> Any:
    execution_id, given = call.text("execution"), call.given
    if execution_id not in call.world.executions and not call.world.holds("events.any-type"):
        raise unknown("Execution", execution_id)
    call.world.publish(execution_id, given.event_type, given.data, given.timestamp)
    return {"success": True, "execution_id": execution_id, "event_type": given.event_type}


async def get_session(call: Call) -> Any:
    execution_id = call.text("execution")
    session = call.world.sessions.get(execution_id)
    if session is None:
        if call.world.holds("session.404-first"):
            raise Refusal(404, f"Session not found for execution {execution_id}")
        session = {"session_id": execution_id, "execution_id": execution_id, "messages": [], "metadata": {}}
    return {**session, "message_count": len(session["messages"])}


async def save_session(call: Call) -> Any:
    execution_id, world, body = call.text("execution"), call.world, call.body
    problem = _refused(body)
    if problem and world.holds("session.success-false"):
        return {"success": False, "error": problem, "execution_id": execution_id}
    old = world.sessions.get(execution_id, {}).get("messages", [])
    messages = body.get("messages", [])
    messages = messages if world.holds("session.replaced") else [*old, *messages]
    world.sessions[execution_id] = {
        "session_id": execution_id,
        "execution_id": execution_id,
        "user_id": body.get("user_id"),
        "messages": messages,
        "metadata": body.get("metadata") or {},
    }
    told = {"success": True, "execution_id": execution_id, "session_id": execution_id}
    return {**told, "persisted_messages": len(messages)}


def _refused(body: Object) -> str:
    """Return why nothing of a session can be stored; empty when all can."""
    messages = body.get("messages", [])
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        return "'str' object has no attribute 'get'"
    if unstorable(body):
        return "unsupported Unicode escape sequence"
    if any(m.get("role") == "assistant" and not isinstance(m.get("content"), str) for m in messages):
        return "object of type 'NoneType' has no len()"
    return ""


async def message(call: Call) -> Any:
    execution, world = _execution(call), call.world
    form = "micros" if world.holds("message.id") else "fixed"
    said = {
        "role": call.given.role,
        "content": call.given.message,
        "message_id": f"{execution['id']}_{micros() if form == 'micros' else 'message'}",
        "timestamp": now(),
        **world.user,
    }
    world.publish(execution["id"], "message", said)
    world.change(execution, last_message_at=said["timestamp"], last_message_preview=said["content"][:200])
    await _signal(call, execution, "add_message", said)
    return {"success": True, "execution_id": execution["id"], "message": "Message sent"}


async def _signal(call: Call, execution: Object, name: str, *arguments: Any) -> None:
    try:
        await (await call.world.handle(workflow_id(execution))).signal(name, args=list(arguments))
    except (RPCError, RuntimeError) as error:
        raise broken(f"Failed to signal the workflow: {error}") from error


def _no(execution: Object, word: str) -> Object:
    error = f"Execution cannot be {word}: its status is {execution['status']}"
    return {"success": False, "error": error, "execution_id": execution["id"], "status": execution["status"]}


def _yes(execution: Object, text: str) -> Object:
    told = {"execution_id": execution["id"], "workflow_id": workflow_id(execution)}
    return {"success": True, **told, "message": text}


def _told(call: Call, execution: Object, status: str) -> None:
    call.world.change(execution, status=status)
    data = {"status": status, "execution_id": execution["id"], "source": "user"}
    call.world.publish(execution["id"], "status", data)


async def pause(call: Call) -> Any:
    execution = _execution(call)
    if execution["status"] not in PAUSABLE and call.world.holds("pause.only-running"):
        return _no(execution, "paused")
    await _signal(call, execution, "pause_execution")
    _told(call, execution, "paused")
    return _yes(execution, "Execution paused")


async def resume(call: Call) -> Any:
    execution = _execution(call)
    if execution["status"] != "paused":
        return _no(execution, "resumed")
    await _signal(call, execution, "resume_execution")
    _told(call, execution, "running")
    return _yes(execution, "Execution resumed")


async def cancel(call: Call) -> Any:
    execution, world = _execution(call), call.world
    if execution["status"] not in PAUSABLE:
        return _no(execution, "cancelled")
    try:
        await (await world.handle(workflow_id(execution))).cancel()
    except (RPCError, RuntimeError) as error:
        raise broken(f"Failed to cancel the workflow: {error}") from error
    said = {"role": "system", "content": "Execution was cancelled by user", "timestamp": now()}
    world.publish(execution["id"], "message", {**said, "message_id": f"{execution['id']}_cancel_{micros()}"})
    world.change(execution, error_message="Cancelled by user", completed_at=now())
    _told(call, execution, "cancelled")
    return _yes(execution, "Execution cancelled")


async def mark_done(call: Call) -> Any:
    execution = _execution(call)
    await _signal(call, execution, "mark_as_done")
    return {"success": True, "execution_id": execution["id"], "message": "Execution marked as done"}


async def terminate(call: Call) -> Any:
    return await _terminate(call, _execution(call), call.given.reason)


async def _terminate(call: Call, execution: Object, reason: str) -> Object:
    try:
        await (await call.world.handle(workflow_id(execution))).terminate(reason=reason)
    except (RPCError, RuntimeError) as error:
        return {**_no(execution, "terminated"), "error": str(error)}
    call.world.change(execution, status="cancelled", error_message=reason, completed_at=now())
    return _yes(execution, "Execution terminated")


async def terminate_all(call: Call) -> Any:
    results = []
    for key in call.given.execution_ids:
        execution = call.world.executions.get(key)
        missing = {"success": False, "execution_id": key, "error": "not found"}
        results.append(await _terminate(call, execution, call.given.reason) if execution else missing)
    return {"results": results}


async def details(call: Call) -> Any:
    execution = _execution(call)
    try:
        found = await (await call.world.handle(workflow_id(execution))).describe()
    except (RPCError, RuntimeError) as error:
        raise unknown("Workflow", workflow_id(execution)) from error
    status = found.status.name if found.status else "RUNNING"
    return {"execution_id": execution["id"], "workflow_id": found.id, "run_id": found.run_id, "status": status}


async def transitions(call: Call) -> Any:
    execution_id = _execution(call)["id"]
    return [t for t in call.world.transitions if t["execution_id"] == execution_id]


async def get_stream(call: Call) -> Any:
    return stream(call.world, _execution(call))


async def job_execution(call: Call) -> Any:
    """The row of a cron run. The body is read after the job was looked for."""
    world, body = call.world, call.body
    job_id = body.get("job_id")
    if job_id is not None and job_id not in world.jobs and world.holds("job.unknown"):
        raise unknown("Job", str(job_id))
    given = validated(world, bodies.JobExecution, body)
    execution_id = as_uuid(given.execution_id) if world.holds("ids.no-uuid") else given.execution_id
    if execution_id in world.executions:
        if not world.holds("job.create-twice"):
            raise Refusal(409, "Execution exists already")
        return {"execution_id": execution_id, "status": "created", "message": "exists"}
    rows = world.teams if given.entity_type == "team" else world.agents
    entity = rows.get(given.entity_id or "", {"id": given.entity_id, "name": given.entity_type})
    kind = "TEAM" if given.entity_type == "team" else "AGENT"
    metadata = {"job_id": job_id, "trigger_type": given.trigger_type, **given.trigger_metadata}
    world.execution(kind, entity, given.prompt, {"execution_metadata": metadata}, id=execution_id)
    if job_id is not None:
        world.job_runs.append({"job_id": job_id, "execution_id": execution_id, "status": "pending"})
    data = {"job_id": job_id, "status": "pending", "trigger_type": given.trigger_type}
    world.publish(execution_id, "run_started", data)
    return {"execution_id": execution_id, "status": "created"}


async def job_status(call: Call) -> Any:
    execution_id, job_id = call.text("execution"), call.text("job")
    pair = {"job_id": job_id, "execution_id": execution_id}
    run = next((r for r in call.world.job_runs if pair.items() <= r.items()), None)
    if run is None and call.world.holds("job.status"):
        return {**pair, "status": "not_found"}
    if run is not None:
        run |= call.given.model_dump()
    return {**pair, "status": "updated"}


_E = "/executions/{execution}"
ENTRIES = (
    Entry("POST", "/executions/job-executions", job_execution, 201),
    Entry("POST", "/executions/create", job_execution, 201),
    Entry("POST", "/executions/batch/terminate", terminate_all, 200, bodies.TerminateAll),
    Entry("POST", _E + "/job/{job}/status", job_status, 202, bodies.JobStatus),
    Entry("GET", "/executions", list_all),
    Entry("GET", _E, get),
    Entry("DELETE", _E, delete, 204),
    Entry("PATCH", _E, patch, 200, bodies.ExecutionPatch),
    Entry("POST", _E + "/events", add_event, 202, bodies.Event),
    Entry("GET", _E + "/session", get_session),
    Entry("POST", _E + "/session", save_session, 201, bodies.Session, stored=False),
    Entry("POST", _E + "/message", message, 202, bodies.Message),
    Entry("POST", _E + "/pause", pause),
    Entry("POST", _E + "/resume", resume),
    Entry("POST", _E + "/cancel", cancel),
    Entry("POST", _E + "/mark-done", mark_done, 202),
    Entry("POST", _E + "/terminate", terminate, 200, bodies.Terminate),
    Entry("GET", _E + "/details", details),
    Entry("GET", _E + "/transitions", transitions),
    Entry("GET", _E + "/stream", get_stream),
)
