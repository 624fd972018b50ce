"""This module builds the ASGI application: routes, the web page, background work."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from kubiya_worker.event_log import EventLogger
from kubiya_worker.server import a2a_endpoint, background, hook_background, retention
from kubiya_worker.server.api import (
    agents,
    analytics,
    answers,
    approvals,
    audit,
    batch,
    control,
    environments,
    execute,
    executions,
    forks,
    general,
    hook_deliveries,
    hooks,
    install,
    jobs,
    keys,
    locks,
    manifests,
    notifications,
    oidc,
    queues,
    reference,
    rules,
    run_files,
    secrets,
    session,
    shared_parts,
    slack_answers,
    stop,
    stored_models,
    trials,
    webhooks,
    wishes,
    workers,
)
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.lag import LagRecorder
from kubiya_worker.server.mcp_endpoint import PATH as MCP_PATH
from kubiya_worker.server.mcp_endpoint import McpEndpoint
from kubiya_worker.server.notify import watch
from kubiya_worker.server.notify.slack_sockets import SlackSockets
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.responses import reply
from kubiya_worker.server.store.address import PostgresAddress
from kubiya_worker.server.stream_turns import StreamTurns
from kubiya_worker.server.temporal import TemporalDown

log = EventLogger(__name__)

TRUE: Final = ("1", "true", "yes", "on")
PAGES: Final = Path(__file__).with_name("dashboard")
TYPES: Final = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
FILES: Final = {path.name: path for path in PAGES.iterdir() if path.suffix in TYPES}
PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
# Routes are tried in this order, so the ones that workers call most come first.
RESOURCES: Final = (
    *(executions, run_files, analytics, workers, wishes, control, execute, forks, approvals, agents),
    *(
        queues,
        locks,
        install,
        environments,
        rules,
        secrets,
        shared_parts,
        stored_models,
        stop,
        webhooks,
        hook_deliveries,
        hooks,
        jobs,
    ),
    *(notifications, slack_answers, answers, manifests, trials),
    *(keys, session, oidc, audit, general),
)


async def page(request: Request) -> Response:
    """Return the web page without a key, as it holds no data and asks for the key itself."""
    name = request.path_params.get("name") or "index.html"
    path = FILES.get(name)
    if path is None:
        return reply({"detail": "Not Found"}, 404)
    return FileResponse(path, media_type=TYPES[path.suffix], headers=PAGE_HEADERS)


async def missing(request: Request, error: Exception) -> Response:
    return reply({"detail": "Not Found"}, 404)


async def wrong_method(request: Request, error: Exception) -> Response:
    return reply({"detail": "Method Not Allowed"}, 405)


async def broken(request: Request, error: Exception) -> Response:
    return reply({"detail": "Internal error; the log of the control plane says more"}, 500)


async def _connect(plane: Plane) -> None:
    """Connect to Temporal before the first execution needs it, as importing and connecting take half a second."""
    try:
        await plane.temporal.client()
    except TemporalDown as error:
        plane.temporal.outage.began(str(error))


async def _lead(plane: Plane, sockets: SlackSockets) -> None:
    """Do the work that only one of the servers of a database does, until cancelled."""
    work = (
        functools.partial(background.reconcile, plane),
        functools.partial(background.tidy, plane),
        functools.partial(background.index_texts, plane),
        functools.partial(retention.keep_limits, plane),
        functools.partial(hook_background.release, plane),
        functools.partial(hook_background.send_replies, plane),
        plane.scheduler.run,
        plane.notifier.run,
        sockets.run,
        functools.partial(watch.watch, plane),
    )
    try:
        plane.sender.resume()
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(background.lasting(each))
    finally:
        plane.sender.stop()


async def _share(plane: Plane, lead: Callable[[], Awaitable[None]]) -> None:
    """Work for all while this server is the one that does; without others it always is."""
    place = plane.place
    if not isinstance(place, PostgresAddress):
        await lead()
        return
    replicas = importlib.import_module("kubiya_worker.server.replicas")
    await replicas.Replicas(plane, place).run(lead)


def create_app(plane: Plane) -> Starlette:
    for_mcp = McpEndpoint()
    sockets = SlackSockets(
        functools.partial(slack_answers.slack_channels, plane),
        functools.partial(slack_answers.pressed_in_slack, plane),
        lambda: plane.notifier.out,
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        work = (_connect(plane), background.checkpoint(plane), background.store_uses(plane))
        tasks = [asyncio.create_task(each) for each in (*work, _share(plane, functools.partial(_lead, plane, sockets)))]
        if os.environ.get("KUBIYA_DEBUG", "").lower() in TRUE:
            tasks.append(asyncio.create_task(LagRecorder().run()))
        yield
        await for_mcp.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        plane.stores.keys.store_uses()
        plane.run_files.close()
        plane.database.close()

    routes = [route for resource in RESOURCES for route in resource.ROUTES]
    routes = [*batch.routes(routes), *routes]
    described = reference.routes([route for route in routes if isinstance(route, Edge)], PAGE_HEADERS)
    for_a2a = [
        Route(a2a_endpoint.CARD_PATH, a2a_endpoint.show_card, methods=["GET"]),
        Route(a2a_endpoint.PATH, a2a_endpoint.take_call, methods=["POST"]),
    ]
    pages = [Route("/", page), Route("/static/{name}", page)]
    app = Starlette(
        routes=[*routes, *described, Route(MCP_PATH, for_mcp), *for_a2a, *pages],
        lifespan=lifespan,
        middleware=[Middleware(StreamTurns)],
        exception_handlers={404: missing, 405: wrong_method, 500: broken},
    )
    app.state.plane = plane
    return app
