"""Turns, tool calls and tasks, and the judge that a turn wakes (docs/protocol.md#a6)."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from tests.support.published_plane import bodies
from tests.support.published_plane.edge import Call, Entry, Object, as_time, as_uuid, broken, in_range, unknown
from tests.support.published_plane.world import World, now

OUTPUT, PREVIEW = 10_000, 500  # characters that are kept
TIMES = ("started_at", "completed_at")


def _execution(world: World, key: str) -> Object:
    if world.holds("ids.no-uuid"):
        as_uuid(key)
    if key not in world.executions:
        if not world.holds("turns.unknown-execution"):
            return {"id": key, "status": "running", "_interactive": False}
        raise unknown("Execution", key)
    return world.executions[key]


def _row(world: World, item: Any) -> Object:
    """The row of an item, or the error that the database has with it."""
    values: Object = item.model_dump()
    for name in TIMES:
        as_time(world, values.get(name))
    in_range(world, values)
    return {**values, "id": str(uuid.uuid4()), "created_at": now()}


def _turn(world: World, item: Any) -> Object:
    row = _row(world, item)
    row["response_preview"] = (row["response_preview"] or "")[:PREVIEW]
    if not world.holds("turns.row-id") and row["turn_id"]:
        row["id"] = row["turn_id"]
    return row


def _tool_call(world: World, item: Any) -> Object:
    row = _row(world, item)
    turn_id = row["turn_id"]
    if turn_id is not None and world.holds("tool-calls.turn-id") and as_uuid(turn_id) not in world.turns:
        raise broken(f"violates foreign key constraint: turn_id {turn_id}")
    output = row["tool_output"]
    if output is not None:
        row |= {"tool_output_size": len(output), "tool_output": output[:OUTPUT]}
    return row


async def add_turn(call: Call) -> Any:
    world = call.world
    execution = _execution(world, call.given.execution_id)
    row = _turn(world, call.given)
    world.turns[row["id"]] = row
    await asyncio.sleep(world.judge_delay)
    if world.holds("turns.judge") or execution["status"] == "running":
        status = world.judge(execution, row)
        before, execution["status"] = execution["status"], status
        world.transitions.append({"execution_id": execution["id"], "from": before, "to": status})
        if status in ("completed", "failed"):
            execution["completed_at"] = now()
        data = {"status": status, "execution_id": execution["id"], "source": "state_machine"}
        world.publish(execution["id"], "status", data)
    return {"success": True, "turn_id": row["id"]}


async def add_tool_call(call: Call) -> Any:
    _execution(call.world, call.given.execution_id)
    row = _tool_call(call.world, call.given)
    call.world.tool_calls[row["id"]] = row
    return {"success": True, "tool_call_id": row["id"]}


async def add_task(call: Call) -> Any:
    _execution(call.world, call.given.execution_id)
    row = _row(call.world, call.given)
    if not call.world.holds("tasks.server-id") and row["task_id"]:
        row["id"] = row["task_id"]
    call.world.tasks[row["id"]] = row
    return {"success": True, "task_id": row["id"]}


async def patch_task(call: Call) -> Any:
    task = call.found(call.world.tasks, "task", "Task")
    changes = {k: v for k, v in call.set.items() if v is not None}
    as_time(call.world, changes.get("completed_at"))
    task |= changes
    return {"success": True, "task_id": task["id"]}


async def add_batch(call: Call) -> Any:
    """One transaction: everything, or nothing and 500."""
    world, given = call.world, call.given
    _execution(world, given.execution_id)
    made: list[tuple[dict[str, Object], Object]] = []
    groups = ((given.turns, _turn, world.turns), (given.tool_calls, _tool_call, world.tool_calls))
    try:
        for items, make, rows in (*groups, (given.tasks, _row, world.tasks)):
            for item in items:
                _execution(world, item.execution_id)
                made.append((rows, make(world, item)))
    finally:
        if len(made) == len(given.turns) + len(given.tool_calls) + len(given.tasks) or not world.holds(
            "batch.all-or-nothing"
        ):
            for rows, row in made:
                rows[row["id"]] = row
    if given.turns and not world.holds("batch.no-decision"):
        execution = world.executions[given.execution_id]
        execution["status"] = world.judge(execution, given.turns[-1].model_dump())
    return {
        "success": True,
        "execution_id": given.execution_id,
        "turns_created": len(given.turns),
        "tool_calls_created": len(given.tool_calls),
        "tasks_created": len(given.tasks),
        "errors": [],
    }


async def details(call: Call) -> Any:
    execution, world = call.found(call.world.executions, "execution", "Execution"), call.world
    mine = {
        name: [row for row in rows.values() if row["execution_id"] == execution["id"]]
        for name, rows in (("turns", world.turns), ("tool_calls", world.tool_calls), ("tasks", world.tasks))
    }
    return {"execution": {"id": execution["id"]}, **mine}


_A = "/analytics"
ENTRIES = (
    Entry("POST", _A + "/turns", add_turn, 201, bodies.TurnBody, optional=True),
    Entry("POST", _A + "/tool-calls", add_tool_call, 201, bodies.ToolCallBody, optional=True),
    Entry("POST", _A + "/tasks", add_task, 201, bodies.Task, optional=True),
    Entry("PATCH", _A + "/tasks/{task}", patch_task, 200, bodies.TaskPatch, optional=True),
    Entry("POST", _A + "/batch", add_batch, 201, bodies.Batch, optional=True),
    Entry("GET", _A + "/executions/{execution}/details", details, optional=True),
)
