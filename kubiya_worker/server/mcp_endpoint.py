"""`/mcp`: agents and teams for MCP clients over streamable HTTP, with the keys and roles of the API.

Each tool call asks this server's own routes with the caller's key, so access, limits and audit are those of the API.
A browser's cookie is no key here. The SDK is loaded by the first client. No session is kept, so each request may go to
another server: mcp_forms.py says how a client's person is asked all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.mcp_server.api import PlaneRefused
from kubiya_worker.server import mcp_forms
from kubiya_worker.server.callers import KEY_HEADERS, address_of, token_of
from kubiya_worker.server.refusals import ApiError
from kubiya_worker.server.request_body import received
from kubiya_worker.server.responses import reply, unauthorized

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from kubiya_worker.server.plane import Plane

PATH: Final = "/mcp"
LARGEST: Final = 4 << 20  # bytes of a request, as the SDK has it
SESSION: Final = "mcp-session-id"
VERSION: Final = "mcp-protocol-version"
STREAM: Final = "kubiya.mcp.stream"  # in the scope of a call: its CallStream, if its client shows forms
GONE: Final = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Session not found"}}
MISSING: Final = "This control plane has no MCP server. Install it with: pip install 'kubiya-worker[mcp]'"


class OwnApi:
    """This control plane's routes, asked within the process with a caller's key."""

    def __init__(self, app: ASGIApp, request: Request) -> None:
        self._app, self._request = app, request

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        import httpx2

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
        caller = plane.stores.keys.caller(key, address_of(request)) if key else None
        if caller is None:
            await unauthorized()(scope, receive, send)
            return
        manager = await self._managed(request.app)
        if manager is None:
            await reply({"detail": MISSING}, 501)(scope, receive, send)
            return
        from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

        if request.headers.get(VERSION, HANDSHAKE_PROTOCOL_VERSIONS[0]) not in HANDSHAKE_PROTOCOL_VERSIONS:
            await manager.handle_request(scope, receive, send)  # of a version that has no sessions
            return
        whose = f"{caller.organization_id} {caller.person.key_id} {caller.person.id}"
        await self._of_session(manager, plane, whose, request, send)

    async def _of_session(
        self, manager: StreamableHTTPSessionManager, plane: Plane, whose: str, request: Request, send: Send
    ) -> None:
        """Serve a client that has, or begins, a session, of which no server keeps anything."""
        scope, receive = request.scope, request.receive
        if request.method != "POST":  # no server has anything to tell beside a call, or a session to end
            await reply({"detail": "Only POST"}, 405, {"Allow": "POST"})(scope, receive, send)
            return
        try:
            body = await received(request, LARGEST)
        except ApiError as error:
            await reply({"detail": error.detail}, error.status)(scope, receive, send)
            return
        message = _message(body)
        session_id, session = request.headers.get(SESSION), None
        if session_id is not None:
            session = await asyncio.to_thread(mcp_forms.opened, plane.seal, session_id, whose)
            if session is None:  # the client begins a new one then
                await reply(GONE, 404)(scope, receive, send)
                return
        if session and mcp_forms.is_answer(message):
            with contextlib.suppress(PlaneRefused):  # it stays in the inbox, as the call says in its end
                await mcp_forms.take_answer(OwnApi(request.app, request), plane.forms, whose, message)
            await Response(status_code=202)(scope, receive, send)
            return
        if message.get("method") == "initialize":
            try:
                new_id = await asyncio.to_thread(mcp_forms.sealed, plane.seal, mcp_forms.session_of(message), whose)
            except ConfigurationError as error:
                await reply({"detail": error.line()}, 503)(scope, receive, send)
                return
            send = _with_header(send, SESSION, new_id)
        elif session and session.get("forms"):
            stream = mcp_forms.CallStream(send, plane.forms, whose)
            scope, send = {**scope, STREAM: stream}, stream.send
        await manager.handle_request(scope, mcp_forms.received_again(body, receive), send)

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

        def show_of(context: server.Context) -> server.Show | None:
            stream = context.request.scope.get(STREAM) if context.request is not None else None
            return None if stream is None else stream.show

        manager = StreamableHTTPSessionManager(server.build(api_of, show_of=show_of), stateless=True)
        try:
            async with manager.run():
                self._manager = manager
                ready.set()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._end.wait()
        finally:
            ready.set()


def _message(body: bytes) -> Mapping[str, Any]:
    """Return the message of a request; empty for what the SDK refuses."""
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, Mapping) else {}


def _with_header(send: Send, name: str, value: str) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (name.encode(), value.encode())]}
        await send(message)

    return sent


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
