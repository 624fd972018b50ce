"""Turns, tool calls, tasks (docs/protocol.md#a6)."""

from __future__ import annotations

import uuid
from typing import Any

from tests.contract.checks.registry import checks
from tests.contract.control_planes import START, PlaneUnderTest


def _is_uuid(text: Any) -> bool:
    try:
        return bool(uuid.UUID(str(text)))
    except ValueError:
        return False


@checks("turns.row-id")
def id_of_a_turn(plane: PlaneUnderTest) -> None:
    execution_id = plane.row("running")
    told = plane.call("POST", "/analytics/turns", plane.turn(execution_id, turn_id=f"{execution_id}_turn_1"), 201)
    assert told["success"] is True
    call = plane.tool_call(execution_id, turn_id=told["turn_id"])
    plane.call("POST", "/analytics/tool-calls", call, 201)  # what the reply gave is taken
    if plane.published:
        assert _is_uuid(told["turn_id"]), told


@checks("turns.judge")
def a_turn_is_judged(plane: PlaneUnderTest) -> None:
    execution_id = plane.row("running")
    plane.call("PATCH", f"/executions/{execution_id}", {"status": "failed", "error_message": "broke"})
    plane.call("POST", "/analytics/turns", plane.turn(execution_id), 201)
    status = plane.get(execution_id)["status"]
    # What is final stays so on ours. On the published one the last word needs another PATCH, which is taken.
    assert status == ("completed" if plane.published else "failed"), status
    plane.call("PATCH", f"/executions/{execution_id}", {"status": "failed"})
    assert plane.get(execution_id)["status"] == "failed"


@checks("turns.unknown-execution")
def turn_of_nobody(plane: PlaneUnderTest) -> None:
    nobody = str(uuid.uuid4())
    assert plane.status("POST", "/analytics/turns", plane.turn(nobody)) == 404
    assert plane.status("POST", "/analytics/tool-calls", plane.tool_call(nobody)) == 404
    assert plane.status("POST", "/analytics/batch", {"execution_id": nobody}) == 404


@checks("tool-calls.turn-id")
def turn_of_a_tool_call(plane: PlaneUnderTest) -> None:
    execution_id = plane.row("running")
    turn_id = plane.call("POST", "/analytics/turns", plane.turn(execution_id), 201)["turn_id"]
    for known in (turn_id, None):
        told = plane.call("POST", "/analytics/tool-calls", plane.tool_call(execution_id, turn_id=known), 201)
        assert told["success"] is True
    if plane.published:  # ours keeps the text that it is given
        for unknown in ("", f"{execution_id}_turn_1", str(uuid.uuid4())):
            body = plane.tool_call(execution_id, turn_id=unknown)
            assert plane.status("POST", "/analytics/tool-calls", body) == 500, unknown
    assert len(plane.details(execution_id)["tool_calls"]) == 2


@checks("tool-calls.input-object")
def input_and_output(plane: PlaneUnderTest) -> None:
    execution_id = plane.row()
    for wrong in ({"tool_input": [1]}, {"tool_input": "ls"}, {"tool_output": {"text": "x"}}, {"tool_output": 5}):
        plane.refused("POST", "/analytics/tool-calls", plane.tool_call(execution_id, **wrong))
    right = plane.tool_call(execution_id, tool_input={"command": "ls"}, tool_output="a.txt", success=True)
    plane.call("POST", "/analytics/tool-calls", right, 201)
    (found,) = plane.details(execution_id)["tool_calls"]
    assert (found["tool_input"], found["tool_output"]) == ({"command": "ls"}, "a.txt")


@checks("batch.all-or-nothing")
def one_bad_item(plane: PlaneUnderTest) -> None:
    execution_id = plane.row()
    good = plane.tool_call(execution_id)
    for bad in ({**good, "started_at": "yesterday"},):
        body = {"execution_id": execution_id, "tool_calls": [good, bad]}
        status = plane.status("POST", "/analytics/batch", body)
        assert status == (500 if plane.published else 422), status
        assert plane.details(execution_id)["tool_calls"] == []
    plane.call("POST", "/analytics/batch", {"execution_id": execution_id, "tool_calls": [good, good]}, 201)
    assert len(plane.details(execution_id)["tool_calls"]) == 2


@checks("batch.execution-id")
def each_item_names_its_execution(plane: PlaneUnderTest) -> None:
    execution_id = plane.row()
    bare = {"tool_name": "shell", "started_at": START}
    turn = {k: v for k, v in plane.turn(execution_id).items() if k != "execution_id"}
    for items in ({"tool_calls": [bare]}, {"turns": [turn]}):
        plane.refused("POST", "/analytics/batch", {"execution_id": execution_id, **items})
    assert plane.details(execution_id)["tool_calls"] == []


@checks("batch.no-decision")
def turns_of_a_batch(plane: PlaneUnderTest) -> None:
    execution_id = plane.row("running")
    body = {"execution_id": execution_id, "turns": [plane.turn(execution_id)]}
    plane.call("POST", "/analytics/batch", body, 201)
    assert plane.get(execution_id)["status"] == "running"
    assert len(plane.details(execution_id)["turns"]) == 1


@checks("tasks.server-id")
def tasks(plane: PlaneUnderTest) -> None:
    execution_id, own = plane.row(), str(uuid.uuid4())
    body = {"execution_id": execution_id, "task_description": "look", "task_id": own}
    told = plane.ask("POST", "/analytics/tasks", body)
    if not plane.published and told.status_code == 404:
        return  # an optional route, which ours has not: nobody may depend on it
    assert told.status_code == 201, told.text
    task_id = told.json()["task_id"]
    assert plane.status("PATCH", f"/analytics/tasks/{task_id}", {"status": "done"}) == 200
    assert plane.status("PATCH", f"/analytics/tasks/{own}", {"status": "done"}) == 404
