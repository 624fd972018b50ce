"""`/mcp`: agents and teams for MCP clients over streamable HTTP, with the keys and roles of the API.

Each tool call asks this server's own routes with the caller's key, so access, limits and audit are those of the API.
A browser's cookie is no key here. The SDK is loaded by the first client.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from kubiya_worker.server.http import KEY_HEADERS, address_of, reply, token_of, unauthorized

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from kubiya_worker.server.plane import Plane

PATH: Final = "/mcp"
MOST_SESSIONS: Final = 1_000
IDLE: Final = 1_800.0  # seconds until a session without a request ends
MISSING: Final = "This control plane has no MCP server. Install it with: pip install 'kubiya-worker[mcp]'"


class OwnApi:
    """This control plane's routes, asked within the process with a caller's key."""

    def __init__(self, app: ASGIApp, request: Request) -> None:
        self._app, self._request = app, request

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        import httpx2

        from kubiya_worker.mcp_server.api import PlaneRefused

        transport = httpx2.ASGITransport(app=self._app, client=(address_of(self._request), 0))
        headers = {"Authorization": f"Bearer {token_of(self._request)}", "User-Agent": "kubiya-mcp"}
        async with httpx2.AsyncClient(transport=transport, base_url="http://control-plane", headers=headers) as client:
            answer = await client.request(method, f"/api/v1{path}", json=None if body is None else dict(body))
        if answer.status_code >= 400:
            raise PlaneRefused(_detail(answer))
        return answer.json() if answer.content else None

    def link(self, execution_id: str) -> str:
        return f"{str(self._request.base_url).rstrip('/')}/#/executions/{quote(execution_id, safe='')}"


class McpEndpoint:
    """The ASGI application behind `/mcp`."""

    def __init__(self) -> None:
        self._manager: StreamableHTTPSessionManager | None = None
        self._starting = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None
        self._end = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        plane: Plane = request.app.state.plane
        key = token_of(request) if any(name in request.headers for name in KEY_HEADERS) else ""
        caller = plane.keys.caller(key, address_of(request)) if key else None
        if caller is None:
            await unauthorized()(scope, receive, send)
            return
        manager = await self._managed(request.app)
        if manager is None:
            await reply({"detail": MISSING}, 501)(scope, receive, send)
            return
        from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
        from mcp.server.auth.provider import AccessToken

        # The SDK lets nobody else use a session: an answer to a question has to come from whoever was asked.
        whose = f"{caller.organization_id} {caller.person.key_id}"
        token = AccessToken(token="", client_id=whose, scopes=[], subject=caller.person.id)
        await manager.handle_request({**scope, "user": AuthenticatedUser(token)}, receive, send)

    async def close(self) -> None:
        """End all sessions."""
        self._end.set()
        if self._running is not None:
            await self._running

    async def _managed(self, app: ASGIApp) -> StreamableHTTPSessionManager | None:
        async with self._starting:
            if self._manager is None:
                try:
                    await asyncio.to_thread(importlib.import_module, "mcp.server.lowlevel")
                except ImportError:
                    return None
                ready = asyncio.Event()
                self._running = asyncio.create_task(self._run(app, ready))
                await ready.wait()
            return self._manager

    async def _run(self, app: ASGIApp, ready: asyncio.Event) -> None:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        from kubiya_worker.mcp_server import server

        def api_of(context: server.Context) -> OwnApi:
            assert context.request is not None  # each message came in a request of its own
            return OwnApi(app, context.request)

        made = server.build(api_of)
        manager = StreamableHTTPSessionManager(made, session_idle_timeout=IDLE, max_sessions=MOST_SESSIONS)
        try:
            async with manager.run():
                self._manager = manager
                ready.set()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._end.wait()
        finally:
            ready.set()


def _detail(answer: Any) -> str:
    """Return the reason of a refused request as a sentence."""
    try:
        detail = answer.json().get("detail")
    except (ValueError, AttributeError):
        detail = None
    if isinstance(detail, list) and detail and isinstance(detail[0], Mapping):
        return str(detail[0].get("msg") or detail[0])
    if isinstance(detail, Mapping):
        return str(detail.get("message") or detail)
    return str(detail or f"The control plane answered {answer.status_code}")
