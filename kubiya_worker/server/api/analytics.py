"""This module stores turns and tool calls, and decides what follows a turn (docs/protocol.md#a6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.routing import Route

from kubiya_worker.protocol import execution as ex
from kubiya_worker.server.api.executions import execution_id_of, execution_of
from kubiya_worker.server.call import Call
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import worker

FAILURES: Final = ("error", "content_filter")


def decide(execution: Mapping[str, Any], turn: Mapping[str, Any]) -> str:
    """Return the next status after a turn, without asking a model. Pure.

    A chat (`execution_metadata.interactive`) waits for the person's next message. Any other execution has nobody who
    would answer, so it ends with its last text.
    """
    if turn.get("error_message") or str(turn.get("finish_reason") or "").lower() in FAILURES:
        return ex.FAILED
    return ex.WAITING if (execution.get("execution_metadata") or {}).get("interactive") else ex.COMPLETED


async def add_turn(call: Call) -> Any:
    """Store a turn; the same turn_id counts once, and a turn never changes a final execution's status."""
    execution = execution_of(call, call.body["execution_id"])
    turn_id = call.plane.stores.results.add_turn(execution["id"], call.body)
    status = execution["status"] if ex.is_final(execution["status"]) else decide(execution, call.body)
    return {"success": True, "turn_id": turn_id, "next_status": status}


async def add_tool_call(call: Call) -> Any:
    call.plane.stores.results.add_tool_calls(execution_id_of(call, call.body["execution_id"]), [call.body])
    return {"success": True}


async def add_batch(call: Call) -> Any:
    """Store all entries, or none when one is invalid."""
    execution_id, batch = execution_id_of(call, call.body["execution_id"]), call.body
    with call.plane.database.transaction():
        for turn in batch.get("turns", ()):
            call.plane.stores.results.add_turn(execution_id, turn)
        call.plane.stores.results.add_tool_calls(execution_id, batch.get("tool_calls", []))
    counts = {name: len(batch.get(name, ())) for name in ("turns", "tool_calls")}
    return {"success": True, "execution_id": execution_id, **counts}


async def details(call: Call) -> Any:
    execution_id = execution_id_of(call)
    results = call.plane.stores.results
    return {
        "execution_id": execution_id,
        "turns": results.turns(execution_id),
        "tool_calls": results.tool_calls(execution_id),
    }


ROUTES: list[Route] = [
    Edge("POST", "/analytics/turns", add_turn, 201, body=worker.TurnBody, batched=True),
    Edge("POST", "/analytics/tool-calls", add_tool_call, 201, body=worker.ToolCallBody),
    Edge("POST", "/analytics/batch", add_batch, 201, body=worker.Batch, batched=True),
    Edge("GET", "/analytics/executions/{execution}/details", details),
]
