"""This module tests an agent's model or one of its MCP servers on a worker, where its executions would run.

Nothing of an agent runs in the control plane: it starts a short workflow on a queue, and waits for its answer.
"""

from __future__ import annotations

import uuid
from typing import Any

from starlette.routing import Route

from kubiya_worker.server import trial_tokens
from kubiya_worker.server.api import stop
from kubiya_worker.server.api.agents import AGENT, entity_of
from kubiya_worker.server.api.queues import hidden, queue_of, queues_of
from kubiya_worker.server.edges import trials as edges
from kubiya_worker.server.http import ApiError, Call, route
from kubiya_worker.server.store.journal import Change
from kubiya_worker.server.store.records import Object
from kubiya_worker.server.temporal import NotDone, TemporalDown


def _queue_for(call: Call) -> Object:
    """Return the queue that is asked for, or one with a worker that can test; answer 409 when there is none."""
    asked = call.given.get("queue")
    queues = [queue_of(call, asked)] if asked else [q for q in queues_of(call) if not hidden(q)]
    for queue in queues:
        workers = call.plane.workers.live(call.organization_id, queue["id"])
        if queue["status"] == "active" and any(
            one["worker_metadata"].get("trials") and one["worker_metadata"].get("polling") for one in workers
        ):
            return queue
    where = f"the queue {queues[0]['name']!r}" if asked else "any queue"
    start = f"kubiya worker start --queue-id {queues[0]['name'] if queues else 'default'}"
    raise ApiError(
        409, f"A worker makes the test, and none of {where} polls that can. Start one ({start}), or upgrade it"
    )


async def test(call: Call) -> Any:
    """Test an agent's model, or one of its MCP servers, on a worker; answer when that is done, within two minutes."""
    agent = entity_of(call, AGENT, call.path("entity"))
    stop.check(call)
    queue, plane = _queue_for(call), call.plane
    server = call.given.get("mcp_server") or ""
    argument = {
        "trial_id": trial_tokens.make(plane.seal, call.organization_id, agent["id"]),
        "agent_id": agent["id"],
        "server": server,
    }
    with plane.database.transaction():
        what = f"MCP server {server}" if server else "model"
        about = {"detail": what}
        plane.database.changed(
            Change(call.organization_id, "agent", agent["id"], agent["name"], verb="test", about=about)
        )
    try:
        outcome = await plane.temporal.trial(f"trial-{uuid.uuid4()}", queue["id"], argument)
    except (TemporalDown, NotDone) as error:
        raise ApiError(503, f"The test was not made: {error}") from error
    return {"queue": queue["name"], **outcome}


ROUTES: list[Route] = [route("POST", "/agents/{entity}/test", test, body=edges.NewTrial, audit="agent.test")]
