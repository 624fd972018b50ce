"""This module tests an agent's model, an MCP server or a stored model on a worker, where executions would run.

Nothing of an agent runs in the control plane: it starts a short workflow on a queue, and waits for its answer. The
settings of the server are in no history: the worker asks for them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, Final

from starlette.routing import Route

from kubiya_worker.protocol import names
from kubiya_worker.server import shared_parts, trial_tokens
from kubiya_worker.server.api import shared_parts as parts
from kubiya_worker.server.api import stop
from kubiya_worker.server.api.agents import AGENT, TEAM, entity_of, variables_of
from kubiya_worker.server.api.environments import environment_of
from kubiya_worker.server.api.queues import hidden, queue_of, queues_of
from kubiya_worker.server.api.stored_models import model_of
from kubiya_worker.server.call import Call
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import filters
from kubiya_worker.server.edges import trials as edges
from kubiya_worker.server.refusals import ApiError, invalid, not_found
from kubiya_worker.server.store.journal import Change
from kubiya_worker.server.store.records import Object
from kubiya_worker.server.stored_models import reaches
from kubiya_worker.server.temporal import NotDone, TemporalDown

ENVIRONMENT: Final = "environment"
SERVER: Final = "mcp-server"


def _can(worker: Object, kind: str) -> bool:
    """Return whether a worker can make such a test: one of an earlier version says `True`, and knows agents. Pure."""
    trials = worker["worker_metadata"].get("trials")
    return bool(worker["worker_metadata"].get("polling")) and (
        kind in trials if isinstance(trials, list) else bool(trials) and kind == AGENT
    )


def _queue_for(call: Call, kind: str, fits: Callable[[Object], bool] = lambda queue: True) -> Object:
    """Return the queue that is asked for, or one with a worker that can test; answer 409 when there is none."""
    asked = call.fields.get("queue")
    queues = [queue_of(call, asked)] if asked else [q for q in queues_of(call) if not hidden(q)]
    queues = [queue for queue in queues if fits(queue)]
    if asked and not queues:
        raise invalid("queue", f"The workers of the queue {asked!r} do not get the model")
    for queue in queues:
        workers = call.plane.stores.workers.live(call.organization_id, queue["id"])
        if queue["status"] == "active" and any(_can(one, kind) for one in workers):
            return queue
    where = f"the queue {queues[0]['name']!r}" if asked else "any queue"
    start = f"kubiya worker start --queue-id {queues[0]['name'] if queues else 'default'}"
    raise ApiError(
        409, f"A worker makes the test, and none of {where} polls that can. Start one ({start}), or upgrade it"
    )


async def _test(call: Call, kind: str, subject: Object, server: str) -> Any:
    """Let a worker test, and return its outcome with the queue and the worker that made it."""
    stop.check(call)
    queue, plane = _queue_for(call, kind), call.plane
    argument = {
        "trial_id": trial_tokens.make(plane.seal, call.organization_id, kind, subject["id"]),
        "agent_id": subject["id"],
        "server": server,
        "kind": kind,
    }
    journaled = shared_parts.SERVER if kind == SERVER else kind
    return await _outcome_of(call, queue, argument, journaled, subject, f"MCP server {server}" if server else "model")


async def test_model(call: Call) -> Any:
    """Test a stored model on a worker of a queue that has it, with the key that the worker has."""
    model = model_of(call)
    stop.check(call)
    queue = _queue_for(call, names.TRIAL_MODEL, lambda queue: reaches(model, queue["id"]))
    argument = {"trial_id": "", "agent_id": "", "kind": names.TRIAL_MODEL, "model": model["name"]}
    return await _outcome_of(call, queue, argument, names.TRIAL_MODEL, model, "model")


async def _outcome_of(call: Call, queue: Object, argument: Object, kind: str, of: Object, what: str) -> Object:
    """Record the test, let a worker make it, and return its outcome with the queue and the worker's host."""
    plane = call.plane
    with plane.database.transaction():
        change = Change(call.organization_id, kind, of["id"], of["name"], verb="test", about={"detail": what})
        plane.database.changed(change)
    try:
        outcome = await plane.temporal.trial(f"trial-{uuid.uuid4()}", queue["id"], argument)
    except (TemporalDown, NotDone) as error:
        raise ApiError(503, f"The test was not made: {error}") from error
    by = plane.stores.workers.find(call.organization_id, str(outcome.get("worker_id") or "")) or {}
    hosts = [by[part].get("hostname") for part in ("worker_metadata", "system_info") if by]
    return {"queue": queue["name"], "host": next(filter(None, hosts), None), **outcome}


async def test_agent(call: Call) -> Any:
    """Test an agent's model, or one of its MCP servers, on a worker; answer when that is done, within two minutes."""
    agent = entity_of(call, AGENT, call.path("entity"))
    return await _test(call, AGENT, agent, call.fields.get("mcp_server") or "")


async def test_team(call: Call) -> Any:
    """Test one of a team's MCP servers on a worker; its model is its leader's."""
    return await _test(call, TEAM, entity_of(call, TEAM, call.path("entity")), call.fields["mcp_server"])


async def test_environment(call: Call) -> Any:
    """Test one of an environment's MCP servers on a worker, with the environment's variables."""
    return await _test(call, ENVIRONMENT, environment_of(call), call.fields["mcp_server"])


def _stored_server(call: Call) -> Object:
    server = call.plane.stores.mcp_servers.find(call.organization_id, call.path("server"))
    if server is None:
        raise not_found(shared_parts.WORDS[shared_parts.SERVER], call.path("server"))
    return server


async def test_server(call: Call) -> Any:
    """Test a stored MCP server on a worker; variables of agents and environments are not known to it."""
    server = _stored_server(call)
    return await _test(call, SERVER, server, server["name"])


def _only_for_test(call: Call, kind: str, subject: Object) -> None:
    """Answer 404 without the token of a test: a worker's key reads no settings that its executions do not have."""
    token = call.filters(filters.EnvironmentFilters).execution_id or ""
    if trial_tokens.subject_of(call.plane.seal, call.organization_id, token) != (kind, subject["id"]):
        raise not_found("Test", "of this token")


async def settings_of_environment(call: Call) -> Any:
    """Return the variables and MCP servers of an environment to the worker that tests one of them."""
    environment = environment_of(call)
    _only_for_test(call, ENVIRONMENT, environment)
    source = parts.whole(call, environment)["execution_environment"]
    return {"env_vars": variables_of(source), "mcp_servers": source.get("mcp_servers") or {}}


async def settings_of_server(call: Call) -> Any:
    """Return the settings of a stored MCP server to the worker that tests it."""
    server = _stored_server(call)
    _only_for_test(call, SERVER, server)
    return {"env_vars": {}, "mcp_servers": {server["name"]: shared_parts.settings_of(server)}}


RESOLVED: Final = "/execution-environment/{}/resolved/full"
ROUTES: list[Route] = [
    Edge("POST", "/agents/{entity}/test", test_agent, body=edges.NewTrial, audit="agent.test"),
    Edge("POST", "/teams/{entity}/test", test_team, body=edges.NewServerTrial, audit="team.test"),
    Edge(
        "POST",
        "/environments/{environment}/test",
        test_environment,
        body=edges.NewServerTrial,
        audit="environment.test",
    ),
    Edge("POST", "/mcp-servers/{server}/test", test_server, body=edges.NewStoredTrial, audit="mcp_server.test"),
    Edge("POST", "/stored-models/{model}/test", test_model, body=edges.NewStoredTrial, audit="model.test"),
    Edge(
        "GET",
        RESOLVED.format("environments/{environment}"),
        settings_of_environment,
        query=filters.EnvironmentFilters,
    ),
    Edge("GET", RESOLVED.format("mcp-servers/{server}"), settings_of_server, query=filters.EnvironmentFilters),
]
