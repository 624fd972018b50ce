"""The ASGI application: routes, the page, background work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from kubiya_worker.server import background
from kubiya_worker.server.api import agents, approvals, executions, general, queues
from kubiya_worker.server.http import reply
from kubiya_worker.server.plane import Plane

PAGES = Path(__file__).with_name("dashboard")
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'"
)
TYPES = {"index.html": "text/html", "page.js": "text/javascript", "page.css": "text/css"}


async def page(request: Request) -> Response:
    name = request.path_params.get("name") or "index.html"
    if name not in TYPES:
        return reply({"detail": "Not Found"}, 404)
    headers = {"Content-Security-Policy": CSP, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
    return FileResponse(PAGES / name, media_type=TYPES[name], headers=headers)


async def missing(request: Request, error: Exception) -> Response:
    return reply({"detail": "Not Found"}, 404)


def create_app(plane: Plane) -> Starlette:
    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(background.dispatch(plane)), asyncio.create_task(background.reconcile(plane))]
        yield
        for task in tasks:
            task.cancel()
        plane.database.close()

    routes = [
        Route("/", page),
        Route("/static/{name}", page),
        *general.ROUTES,
        *queues.ROUTES,
        *agents.ROUTES,
        *executions.ROUTES,
        *approvals.ROUTES,
    ]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: missing})
    app.state.plane = plane
    return app
