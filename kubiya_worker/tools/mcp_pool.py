"""The worker's sessions with MCP servers: opened when first needed, shared, closed when idle, ended with the worker.

Each session lives in a task of its own, since the SDK's contexts have to be left by the task that entered them; callers
talk to it from theirs. A session that died is opened again by the next call; a call that was under way is told so and
not repeated. A stdio server is a process with a clean environment (PATH, HOME, LANG, USER and what its configuration
says), the end of its stderr is kept, and `guard` ends it when the worker is killed.

The SDK is imported by the first session: a worker whose agents have no MCP servers does not pay for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kubiya_worker.errors import ConfigurationError, Unavailable
from kubiya_worker.tools import programs

if TYPE_CHECKING:
    from kubiya_worker.tools.mcp import Server

IDLE: Final = 300.0  # seconds without a call after which a session is closed
CLOSE_TIMEOUT: Final = 10.0  # seconds that a session has to close
STDERR_SHOWN: Final = 500  # characters of a server's last words
INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "TMPDIR")
PAGES: Final = 20  # of a server's list of tools


class Pool:
    """`async with` is not needed: `close` ends all that is open."""

    def __init__(self, idle: float = IDLE) -> None:
        self._idle = idle
        self._sessions: dict[str, _Session] = {}

    async def tools(self, server: Server, workspace: Path) -> list[Any]:
        """The SDK's `Tool`s. Raises ConfigurationError, Unavailable, or what the SDK raises."""
        session = await self._open(server, workspace)
        tools: list[Any] = await session.use(_list_tools)
        return tools

    async def call(self, server: Server, name: str, arguments: dict[str, Any], workspace: Path) -> Any:
        """The SDK's `CallToolResult`."""
        session = await self._open(server, workspace)
        return await session.use(lambda client: client.call_tool(name, arguments))

    async def close(self) -> None:
        sessions, self._sessions = list(self._sessions.values()), {}
        await asyncio.gather(*(session.close() for session in sessions), return_exceptions=True)

    @property
    def open_count(self) -> int:
        return sum(not session.over for session in self._sessions.values())

    async def _open(self, server: Server, workspace: Path) -> _Session:
        key = f"{server.key}:{workspace}" if server.transport == "stdio" else server.key
        session = self._sessions.get(key)
        if session is None or session.over:
            session = self._sessions[key] = _Session(server, workspace, self._idle)
        try:
            await session.ready()
        except BaseException:
            if self._sessions.get(key) is session and not session.used:
                del self._sessions[key]
                await session.close()
            raise
        return session


class _Session:
    def __init__(self, server: Server, workspace: Path, idle: float) -> None:
        self._server, self._workspace, self._idle = server, workspace, idle
        self._client: Any = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closing = asyncio.Event()
        self._last = time.monotonic()
        self._under_way = 0
        self.used = False
        self._task = asyncio.create_task(self._run())

    @property
    def over(self) -> bool:
        return self._task.done() or self._closing.is_set()

    async def ready(self) -> None:
        await asyncio.shield(self._ready)

    async def use(self, call: Callable[[Any], Any]) -> Any:
        """Awaits `call(client)`, or raises Unavailable as soon as the session is over."""
        self.used = True
        self._under_way += 1
        self._last = time.monotonic()
        work = asyncio.ensure_future(call(self._client))
        try:
            await asyncio.wait({work, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise Unavailable(f"The MCP server {self._server.name!r} ended while it worked; the outcome is unknown")
            try:
                return work.result()
            except Exception as error:
                if _is_closed(error):
                    self._closing.set()
                    raise Unavailable(
                        f"The MCP server {self._server.name!r} ended while it worked; the outcome is unknown"
                    ) from error
                raise
        finally:
            if not work.done():
                work.cancel()
            self._under_way -= 1
            self._last = time.monotonic()

    async def close(self) -> None:
        self._closing.set()
        done, _ = await asyncio.wait({self._task}, timeout=CLOSE_TIMEOUT)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CLOSE_TIMEOUT)

    async def _run(self) -> None:
        try:
            async with _connected(self._server, self._workspace) as client:
                self._client = client
                self._last = time.monotonic()
                self._ready.set_result(None)
                await self._until_idle()
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(_plain(error, self._server))
                self._ready.exception()  # somebody may have stopped waiting for it
            if not isinstance(error, Exception):
                raise

    async def _until_idle(self) -> None:
        while not self._closing.is_set():
            left = self._last + self._idle - time.monotonic()
            if left <= 0 and not self._under_way:
                self._closing.set()  # from here on a call opens a session of its own
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), max(left, 0.05))


async def _list_tools(client: Any) -> list[Any]:
    from mcp.types import PaginatedRequestParams

    tools: list[Any] = []
    cursor = None
    for _ in range(PAGES):
        page = await client.list_tools(params=PaginatedRequestParams(cursor=cursor) if cursor else None)
        tools += page.tools
        cursor = page.next_cursor
        if not cursor:
            break
    return tools


@contextlib.asynccontextmanager
async def _connected(server: Server, workspace: Path) -> AsyncIterator[Any]:
    """An initialized session of the SDK."""
    try:
        from mcp.client.session import ClientSession
    except ImportError:
        raise ConfigurationError(
            "this worker has no MCP client", remedy="Install it with: pip install 'kubiya-worker[mcp]'"
        ) from None
    async with contextlib.AsyncExitStack() as stack:
        if server.transport == "stdio":
            streams = await stack.enter_async_context(_process(server, workspace))
        else:
            streams = await stack.enter_async_context(_remote(server))
        client = await stack.enter_async_context(ClientSession(*streams))
        await client.initialize()
        yield client


@contextlib.asynccontextmanager
async def _process(server: Server, workspace: Path) -> AsyncIterator[Any]:
    from mcp.client.stdio import StdioServerParameters, stdio_client

    await asyncio.to_thread(workspace.mkdir, mode=0o700, parents=True, exist_ok=True)
    env = {name: os.environ.get(name, "") for name in INHERITED if name in os.environ}
    parameters = StdioServerParameters(
        command=server.command,
        args=list(server.args),
        env={**env, **server.env, **programs.marks(f"mcp-{server.name}")},
        cwd=workspace,
    )
    with _LastWords() as errors:
        try:
            async with stdio_client(parameters, errlog=errors.file) as streams:
                yield streams
        except FileNotFoundError:
            raise ConfigurationError(f"the program {server.command} is not on this host") from None
        except Exception as error:
            said, plain = errors.text(), _plain(error, server)
            raise Unavailable(f"{plain}; it said: {said}" if said else str(plain)) from error


class _LastWords:
    """The end of what a server writes to stderr, from a pipe that is always read: a server that talks never blocks."""

    def __init__(self) -> None:
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        self.file = os.fdopen(writer, "w", encoding="utf-8")
        self._kept = b""
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> _LastWords:
        self._loop.add_reader(self._reader, self._read)
        return self

    def __exit__(self, *ignored: object) -> None:
        self._loop.remove_reader(self._reader)
        os.close(self._reader)
        self.file.close()

    def text(self) -> str:
        self._read()
        return " ".join(self._kept.decode("utf-8", "replace").split())

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError, InterruptedError):
            data = os.read(self._reader, 1 << 16)
            self._kept = (self._kept + data)[-STDERR_SHOWN:]


@contextlib.asynccontextmanager
async def _remote(server: Server) -> AsyncIterator[Any]:
    from mcp.client.sse import sse_client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    if server.transport == "sse":
        async with sse_client(server.url, headers=dict(server.headers), timeout=server.timeout) as streams:
            yield streams
    else:
        async with (
            create_mcp_http_client(headers=dict(server.headers)) as http,
            streamable_http_client(server.url, http_client=http) as streams,
        ):
            yield streams


def _plain(error: BaseException, server: Server) -> Exception:
    """The first cause in a group, without the SDK's wrapping."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, asyncio.CancelledError):
        return Unavailable(f"the session with {server.name!r} was ended")
    if isinstance(error, (Unavailable, ConfigurationError)):
        return error
    return Unavailable(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _is_closed(error: Exception) -> bool:
    text = f"{type(error).__name__} {error}".lower()
    return "closed" in text or "broken" in text
