"""An MCP server over HTTP that answers byte for byte as a test says; without a word of it, it is a good server.

`hooks` maps what was asked (`initialize`, the name of a tool that is called, `GET`, `reply` for the answer to a request
of the server, `any`) to the bytes of a response, to a JSON-RPC message, or to a function of (request, server, writer)
that returns either. After each response the connection is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

TOOLS = [{"name": name, "inputSchema": {"type": "object", "properties": {}}} for name in ("odd", "echo")]
EVENTS = "text/event-stream"
FIRST = "event: endpoint\ndata: /messages?s=1\n\n"  # of the older transport


def http(status: int, body: Any = b"", kind: str = "application/json", **headers: str) -> bytes:
    """Return a response; `length="no"` leaves the length out, other words are headers."""
    text = json.dumps(body) if isinstance(body, (dict, list)) else body
    data: bytes = text.encode() if isinstance(text, str) else text
    fields = {"Content-Type": kind, "Content-Length": str(len(data)), "Connection": "close"}
    if headers.pop("length", ""):
        del fields["Content-Length"]
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in fields.items() if value)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def events(*written: Any, kind: str = EVENTS, **headers: str) -> bytes:
    """Return a stream of events: texts as they are, and messages."""
    body = b"".join(
        one.encode() if isinstance(one, str) else one if isinstance(one, bytes) else event(one) for one in written
    )
    return http(200, body, kind, length="no", **headers)


def event(message: Any) -> bytes:
    return f"data: {json.dumps(message)}\n\n".encode()


def ok(number: Any, result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": result}


def error(number: Any, code: int, message: str, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message, **more}}


def text(words: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}]}


class Asked:
    """One request."""

    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.method, self.path, self.headers = method, path, headers
        message = json.loads(body) if body else {}
        self.message: dict[str, Any] = message if isinstance(message, dict) else {}
        self.id, self.params = self.message.get("id"), self.message.get("params") or {}
        called = self.message.get("method", "reply")
        self.key = method if method != "POST" else self.params["name"] if called == "tools/call" else called
        self.done = ok(self.id, text("done"))  # the good answer to a call


class OddServer:
    """The server, as an asynchronous context; `asked` has all requests."""

    def __init__(self, hooks: Mapping[str, Any]) -> None:
        self.hooks, self.asked = hooks, list[Asked]()
        self.kept: dict[str, Any] = {}  # what a test keeps between its functions
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> OddServer:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.origin = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *about: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def count(self, key: str) -> int:
        return sum(asked.key == key for asked in self.asked)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            begin = await reader.readexactly(1)
            if begin == b"\x16":  # TLS
                writer.write(http(400, "this is plain HTTP"))
                return
            head = begin + await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            method, path, _ = first.split(" ")
            asked = Asked(method, path, headers, body)
            self.asked.append(asked)
            answer = self.hooks.get(asked.key, self.hooks.get("any", good))
            answer = answer(asked, self, writer) if callable(answer) else answer
            answer = await answer if inspect.isawaitable(answer) else answer
            writer.write(http(200, answer) if isinstance(answer, (dict, list)) else answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def good(asked: Asked, *rest: Any) -> Any:
    """Answer as a good server does."""
    if asked.key == "initialize":
        about = {"protocolVersion": asked.params["protocolVersion"], "capabilities": {"tools": {"listChanged": True}}}
        return http(200, ok(asked.id, {**about, "serverInfo": {"name": "odd", "version": "1"}}), Mcp_Session_Id="s1")
    if asked.key == "tools/list":
        return ok(asked.id, {"tools": TOOLS})
    if asked.method != "POST":
        return http(405 if asked.method == "GET" else 200)
    return ok(asked.id, {} if asked.key == "ping" else text(asked.key)) if asked.id is not None else http(202)


async def silent(*about: Any) -> bytes:
    """Never answer."""
    await asyncio.get_running_loop().create_future()
    return b""


class Older:
    """Hooks of a server of the older transport (SSE), whose answers go where `answer` sends them."""

    def __init__(self, first: str = FIRST, *, odd: Any = None, hooks: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.first, self.hooks = first, {**hooks, **({"odd": odd} if odd is not None else {})}

    async def any(self, asked: Asked, server: OddServer, writer: asyncio.StreamWriter) -> Any:
        if asked.method == "GET":
            server.kept["stream"] = writer
            writer.write(events(self.first.replace("{origin}", server.origin)))
            await writer.drain()
            server.kept["cut"] = asyncio.get_running_loop().create_future()
            await server.kept["cut"]
            return b""
        if not asked.path.startswith("/messages"):
            return http(405)
        if asked.key in self.hooks:
            answer = self.hooks[asked.key](asked, server, writer)
            return await answer if inspect.isawaitable(answer) else answer
        body = good(asked)
        message = body if isinstance(body, dict) else json.loads(body.partition(b"\r\n\r\n")[2] or b"null")
        if message is not None:
            server.kept["stream"].write(event(message))
        return http(202, "Accepted", "text/plain")
