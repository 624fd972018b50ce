"""This module lets a conversation go on after its end: the same execution, the same history, a new workflow run.

The message, the row and the start are one transaction, so what was answered with success takes place. Temporal is told
when the run before has closed (`server/outbox.py`), and the session is made whole then.
"""

from __future__ import annotations

from typing import Any, Final

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol.servers import DEGRADED
from kubiya_worker.server.api import stop
from kubiya_worker.server.api.agents import AGENT, TEAM, store_of
from kubiya_worker.server.api.queues import queue_of
from kubiya_worker.server.api.run_starts import asked_again, workflow_input
from kubiya_worker.server.call import Call
from kubiya_worker.server.conversations import number_of
from kubiya_worker.server.refusals import ApiError
from kubiya_worker.server.store import outbox
from kubiya_worker.server.store.executions import Execution
from kubiya_worker.server.store.records import Object

OF_THE_END: Final = (DEGRADED, "workflow_completed")  # metadata that says how the run before ended


def entity_again(call: Call, execution: Execution, deed: str) -> Object:
    """Return the agent or team of an execution that is to run on; answer 409 with the reason when it cannot."""
    kind = execution["execution_type"]
    if kind not in (AGENT, TEAM):
        raise ApiError(409, f"An execution of the kind {kind} cannot {deed}: its agent is stored nowhere")
    if execution.get("request") is None:
        raise ApiError(409, f"This execution cannot {deed}: it was not started with all of its settings here")
    entity = store_of(call, kind).find(call.organization_id, execution["entity_id"])
    if entity is None:
        raise ApiError(409, f"The execution cannot {deed}: its {kind} {execution['entity_name']!r} was deleted")
    return entity


def go_on(call: Call, execution: Execution, spoken: dict[str, Any]) -> None:
    """Start an execution that is over again with a message; answer 409 or 423 with the reason when it cannot."""
    plane, kind = call.plane, execution["execution_type"]
    entity = entity_again(call, execution, "go on")
    if spoken.get("member"):
        raise ApiError(
            409, f"The member {spoken['member']!r} does not work now. Leave `member` out: the leader is told"
        )
    if plane.stores.queues.find(call.organization_id, execution["queue_id"]) is None:
        raise ApiError(409, f"The execution cannot go on: its queue {execution['runner_name']!r} was deleted")
    queue = queue_of(call, execution["queue_id"])
    if queue["status"] != "active":
        raise ApiError(409, f"The execution cannot go on: its queue {queue['name']!r} is {queue['status']}")
    stop.check(call)
    request = asked_again(plane, execution)
    metadata = execution.get("execution_metadata") or {}
    before = {name: execution.get(name) for name in ("status", "error_message")}
    with plane.database.transaction():
        number = number_of(execution) + 1
        sequel = {"number": number, "ended": execution["status"], "turns": plane.conversations.next_turns(execution)}
        sequel |= {"at": spoken["timestamp"], "after": plane.stores.events.last(execution["id"])}
        execution |= {
            **{"status": ex.PENDING, "completed_at": None, "error_message": None, "sequel": sequel},
            "execution_metadata": {name: value for name, value in metadata.items() if name not in OF_THE_END},
        }
        argument = workflow_input(call, {**execution, "prompt": spoken["content"]}, kind, entity, request)
        first = {name: value for name, value in spoken.items() if name not in ("role", "content")}
        plane.runs.tell(execution, outbox.START, {**argument, "sequel": {"number": number, "message": first}})
        about = {"status": ex.PENDING, "execution_id": execution["id"]}
        plane.runs.publish(execution["id"], [{"event_type": ev.STATUS, "data": about}])
        plane.stores.executions.record_decision(
            execution, "go_on", before, {"status": ex.PENDING, "error_message": None}
        )
