"""This module controls a running execution (docs/protocol.md#a5): send a message, pause, resume, cancel, end it.

Each request is one transaction: the row, its events, and the action that Temporal is then told. So the reply does not
wait for Temporal, and an action that was answered with success takes place.
"""

from __future__ import annotations

import time
from typing import Any, Final

from starlette.routing import Route

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import names
from kubiya_worker.server.api import sequels, stop
from kubiya_worker.server.api.executions import execution_of
from kubiya_worker.server.api.run_starts import USER, author_of
from kubiya_worker.server.call import Call
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import executions as edges
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.refusals import ApiError
from kubiya_worker.server.store import outbox
from kubiya_worker.server.store.executions import Execution

PREVIEW: Final = 200  # characters
PAUSABLE: Final = (ex.RUNNING, ex.WAITING)


def _accepted(execution: Execution, text: str) -> dict[str, Any]:
    workflow_id = names.workflow_id(execution["execution_type"], execution["id"])
    return {"success": True, "execution_id": execution["id"], "workflow_id": workflow_id, "message": text}


def _refused(execution: Execution, text: str) -> dict[str, Any]:
    return {"success": False, "execution_id": execution["id"], "status": execution["status"], "error": text}


def _not_final(execution: Execution) -> None:
    if ex.is_final(execution["status"]):
        raise ApiError(409, f"The execution is {execution['status']}; start a new one")


async def message(call: Call) -> Any:
    """Send a message; one whose `message_id` was sent before is taken once. An execution that is over goes on with it.

    `last_sequence` in the reply is the number of the last event before it.

    `member` (our own field), or `@name` at the beginning of the text, sends it to one member of a team.
    """
    execution, text, plane = execution_of(call), call.prompt("message"), call.plane
    fields = call.fields
    spoken = {
        "role": "user",
        "content": text,
        "message_id": fields.get("message_id") or f"{execution['id']}_{time.time_ns() // 1000}",
        "timestamp": ev.now(),
        **({"member": fields["member"]} if fields.get("member") else {}),
        **author_of(call),
    }
    with plane.database.transaction():
        over, last = ex.is_final(execution["status"]), plane.stores.events.last(execution["id"])
        known = plane.stores.events.known(execution["id"], [_event_id(spoken)])
        if over and not known:
            sequels.go_on(call, execution, spoken)
        say(plane, execution, spoken, call.person.id, signal=not over)
    text = "The execution goes on with the message" if over and not known else "The message was given to the execution"
    return {**_accepted(execution, text), "message_id": spoken["message_id"], "last_sequence": last}


def _event_id(spoken: dict[str, Any]) -> str:
    return f"message:{spoken['message_id']}"


def say(plane: Plane, execution: Execution, spoken: dict[str, Any], by: str, *, signal: bool = True) -> bool:
    """Give a message to an execution; one whose `message_id` was said before changes nothing. Return whether it is new.

    `by` is the id of the person whom the execution's later requests are then of, too. Without `signal` its workflow
    begins with the message.
    """
    with plane.database.transaction():
        event = ev.event(_event_id(spoken), ev.MESSAGE, spoken, spoken["timestamp"])
        if not plane.runs.publish(execution["id"], [event]):
            return False
        execution |= {"last_message_at": spoken["timestamp"], "last_message_preview": spoken["content"][:PREVIEW]}
        execution["asked_by"] = sorted({*(execution.get("asked_by") or ()), by})
        plane.stores.executions.save(_with_participant(execution, spoken))
        if signal:
            plane.runs.signal(execution, names.ADD_MESSAGE, spoken)
        plane.stores.executions.record_decision(execution, "message", None, {"prompt": spoken["content"]})
    return True


def _with_participant(execution: Execution, spoken: dict[str, Any]) -> Execution:
    user = {key: spoken[key] for key in USER if spoken.get(key)}
    known = execution.get("participants") or []
    if user and not any(p.get("user_id") == user.get("user_id") for p in known):
        execution["participants"] = [*known, user]
    return execution


async def pause(call: Call) -> Any:
    execution, plane = execution_of(call), call.plane
    if execution["status"] not in PAUSABLE:
        return _refused(execution, f"An execution that is {execution['status']} cannot be paused")
    with plane.database.transaction():
        plane.runs.signal(execution, names.PAUSE)
        plane.runs.change(execution, {"status": ex.PAUSED, "status_before_pause": execution["status"]})
    return _accepted(execution, "The execution pauses before its next step")


async def resume(call: Call) -> Any:
    execution, plane = execution_of(call), call.plane
    if execution["status"] != ex.PAUSED:
        return _refused(execution, f"An execution that is {execution['status']} cannot be resumed")
    stop.check(call)
    with plane.database.transaction():
        plane.runs.signal(execution, names.RESUME)
        plane.runs.change(execution, {"status": execution.get("status_before_pause") or ex.RUNNING})
    return _accepted(execution, "The execution goes on")


async def cancel(call: Call) -> Any:
    execution, plane = execution_of(call), call.plane
    if execution["status"] == ex.CANCELLED:
        return _accepted(execution, "The execution is cancelled already")
    if ex.is_final(execution["status"]):
        return _refused(execution, f"The execution is {execution['status']} already")
    reason = call.fields.get("reason")
    plane.runs.cancel(execution, f"Cancelled by user: {reason}" if reason else "Cancelled by user")
    return _accepted(execution, "The execution is cancelled")


async def mark_done(call: Call) -> Any:
    execution = execution_of(call)
    if execution["status"] == ex.COMPLETED:
        return _accepted(execution, "The execution is completed already")
    _not_final(execution)
    with call.plane.database.transaction():
        call.plane.runs.signal(execution, names.MARK_AS_DONE)
        call.plane.stores.executions.record_decision(execution, "mark_done")
    return _accepted(execution, "The execution ends after its current step")


async def terminate(call: Call) -> Any:
    """Terminate the workflow: the worker runs no more code for it, but a running tool is not stopped."""
    return _terminate(call, execution_of(call), call.fields["reason"])


async def terminate_all(call: Call) -> Any:
    """Terminate up to 100 executions one by one; one that is unknown or over does not stop the others."""
    reason, results = call.fields["reason"], []
    for key in call.fields["execution_ids"]:
        execution = call.plane.stores.executions.get(call.organization_id, key)
        if execution is None or not call.reaches(key):
            results.append({"success": False, "execution_id": key, "error": f"Execution {key!r} not found"})
        else:
            results.append(_terminate(call, execution, reason))
    return {"results": results, "terminated": sum(result["success"] for result in results)}


def _terminate(call: Call, execution: Execution, reason: str) -> dict[str, Any]:
    plane = call.plane
    if ex.is_final(execution["status"]):
        return _refused(execution, f"The execution is {execution['status']} already")
    with plane.database.transaction():
        plane.stores.outbox.withdraw_start(execution["id"])
        plane.runs.tell(execution, outbox.TERMINATE, {"reason": reason})
        plane.runs.change(execution, {"status": ex.CANCELLED, "error_message": f"Terminated: {reason}"})
    return _accepted(execution, "The execution is terminated")


ROUTES: list[Route] = [
    Edge("POST", "/executions/batch/terminate", terminate_all, body=edges.TerminateAll, audit="execution.cancel"),
    Edge("POST", "/executions/{execution}/message", message, 202, body=edges.Message, audit="execution.message"),
    Edge("POST", "/executions/{execution}/pause", pause, audit="execution.pause"),
    Edge("POST", "/executions/{execution}/resume", resume, audit="execution.resume"),
    Edge("POST", "/executions/{execution}/cancel", cancel, body=edges.Cancel, audit="execution.cancel"),
    Edge("POST", "/executions/{execution}/mark-done", mark_done, 202, audit="execution.mark_done"),
    Edge("POST", "/executions/{execution}/terminate", terminate, body=edges.Terminate, audit="execution.cancel"),
]
