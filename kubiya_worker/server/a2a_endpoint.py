"""`/a2a/agents/NAME` and `/a2a/teams/NAME`: agents and teams for programs that speak A2A (Agent2Agent).

Each has its card at `…/.well-known/agent-card.json` and takes JSON-RPC. The SDK is loaded by the first request; without
the extra `a2a` the answer says how to install it.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kubiya_worker.mcp_server.api import PlaneRefused
from kubiya_worker.server.callers import KEY_HEADERS, address_of, token_of
from kubiya_worker.server.mcp_endpoint import OwnApi
from kubiya_worker.server.responses import reply, unauthorized

PATH: Final = "/a2a/{kind}/{name}"
CARD_PATH: Final = f"{PATH}/.well-known/agent-card.json"
KINDS: Final[Mapping[str, str]] = {"agents": "agent", "teams": "team"}
MISSING: Final = "This control plane has no A2A server. Install it with: pip install 'kubiya-worker[a2a]'"


async def show_card(request: Request) -> Response:
    """Return the card of an agent or a team."""
    published = await _published(request)
    if isinstance(published, Response):
        return published
    tasks, kind, entity = published
    helpers = importlib.import_module("a2a.server.request_handlers.response_helpers")
    url = f"{str(request.base_url).rstrip('/')}/a2a/{request.path_params['kind']}/{quote(str(entity['name']), safe='')}"
    return JSONResponse(helpers.agent_card_to_dict(tasks.card(kind, entity, url)))


async def take_call(request: Request) -> Response:
    """Answer a call of JSON-RPC, with one answer or a stream."""
    published = await _published(request)
    if isinstance(published, Response):
        return published
    tasks, kind, entity = published
    routes = importlib.import_module("a2a.server.routes")
    dispatching = importlib.import_module("a2a.server.routes.jsonrpc_dispatcher")

    class WithApi:
        """Gives each method the API with the caller's key."""

        def build(self, request: Request) -> Any:
            context = routes.DefaultServerCallContextBuilder().build(request)
            context.state["api"] = OwnApi(request.app, request)
            return context

    dispatcher = dispatching.JsonRpcDispatcher(
        tasks.ExecutionTasks(kind, str(entity["id"])), context_builder=WithApi(), enable_v0_3_compat=True
    )
    answer: Response = await dispatcher.handle_requests(request)
    return answer


async def _published(request: Request) -> Response | tuple[ModuleType, str, Mapping[str, Any]]:
    """Return the module of tasks with the agent or team of the path; or the refusal."""
    key = token_of(request) if any(name in request.headers for name in KEY_HEADERS) else ""
    if not key or request.app.state.plane.stores.keys.caller(key, address_of(request)) is None:
        return unauthorized()
    kind = KINDS.get(request.path_params["kind"])
    if kind is None:
        return reply({"detail": "There are /a2a/agents/NAME and /a2a/teams/NAME"}, 404)
    try:
        tasks = await asyncio.to_thread(importlib.import_module, "kubiya_worker.server.a2a_tasks")
    except ImportError:
        return reply({"detail": MISSING}, 501)
    try:
        path = f"/{kind}s/{quote(request.path_params['name'], safe='')}"
        entity: Mapping[str, Any] = await OwnApi(request.app, request).ask("GET", path)
    except PlaneRefused as error:
        return reply({"detail": str(error)}, 404)
    return tasks, kind, entity
