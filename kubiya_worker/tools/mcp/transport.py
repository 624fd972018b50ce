"""This module connects to an MCP server: to a process over stdio, or over HTTP.

A stdio server is a process with a clean environment (PATH, HOME, LANG, USER, the worker's proxy and CA file, and the
configured variables). The end of its stderr is kept, and `processes.cleanup` ends it when the worker is killed. The
first connection imports the SDK, so that a worker whose agents have no MCP servers does not load it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

from kubiya_worker._supervisor.posix.markers import pids_with
from kubiya_worker.errors import ConfigurationError, Unavailable
from kubiya_worker.tools import network_variables
from kubiya_worker.tools.confinement import spawn, visible
from kubiya_worker.tools.mcp import confinement, stdio
from kubiya_worker.tools.mcp.config import McpServer
from kubiya_worker.tools.mcp.faults import HttpFault
from kubiya_worker.tools.mcp.messages import NO_MESSAGE, Message
from kubiya_worker.tools.mcp.oauth import TokenCache
from kubiya_worker.tools.mcp.variables import INHERITED
from kubiya_worker.tools.processes import programs
from kubiya_worker.tools.processes.cleanup import MARKER

_NOT_STARTED: Final = {  # errno of the start
    errno.ENOENT: "cannot be started: what its first line (`#!`) names is not on this host",  # the program itself is
    **{code: f"cannot be started: {os.strerror(code)}" for code in (errno.EACCES, errno.ENOTDIR, errno.ENOEXEC)},
}
_FOREIGN: Final = {errno.ENOEXEC: "It is made for another kind of machine, or is a script without a `#!` line"}
STDERR_SHOWN: Final = 500  # characters of a server's last words
STDERR_KEPT: Final = 4 * STDERR_SHOWN  # bytes: a character has at most four


class ServerConnection:
    """A connection. `client` is the SDK's session, not yet initialized; `ended` is set when the server is gone."""

    def __init__(self, client: Any, ended: asyncio.Event, marker: str = "") -> None:
        self.client, self.ended, self.marker = client, ended, marker

    async def kill(self) -> None:
        """End the server's process at once, with all that it has started."""
        if self.marker:
            await asyncio.to_thread(kill_marked, self.marker)


def kill_marked(marker: str) -> None:
    """Send SIGKILL to every process that carries the marker. On Linux; elsewhere none can be found so."""
    for pid in pids_with(f"{MARKER}={marker}".encode()):
        with contextlib.suppress(OSError):  # it has ended by itself
            os.kill(pid, signal.SIGKILL)


@contextlib.asynccontextmanager
async def connected(
    server: McpServer,
    workspace: Path,
    tokens: TokenCache | None,
    notified: Callable[[Any], None],
    patience: float | None = None,
) -> AsyncIterator[ServerConnection]:
    """Connect to a server. `notified` is given each of its notifications.

    An SSE server has `patience` seconds to name the address for messages.
    """
    try:
        await asyncio.to_thread(_load_sdk)  # takes a second or more the first time; heartbeats must not wait for it
        from kubiya_worker.tools.mcp.client import McpClient
    except ImportError:
        raise ConfigurationError(
            "this worker has no MCP client", remedy="Install it with: pip install 'kubiya-worker[mcp]'"
        ) from None

    async def handle(message: Any) -> None:
        notified(message)

    ended = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        marker = ""
        puts: list[Callable[[Message], None]] = []  # the HTTP client is made before the `put` that it needs
        if server.transport == "stdio":
            marks = programs.marks(f"mcp-{server.name}")
            marker = marks[MARKER]
            read, write = await stack.enter_async_context(_process(server, workspace, marks))
        else:
            read, write = await stack.enter_async_context(_remote(server, tokens, puts, patience))
        watched, put = await stack.enter_async_context(_watched(read, ended))
        puts.append(put)
        client = await stack.enter_async_context(McpClient(watched, write, message_handler=handle))
        yield ServerConnection(client, ended, marker)


def _load_sdk() -> None:
    import kubiya_worker.tools.mcp.client
    import kubiya_worker.tools.mcp.http_client  # noqa: F401

    # These log addresses, and what a server has sent, with the secrets in it.
    for name in ("mcp", "client", "httpx2"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.asynccontextmanager
async def _watched(read: Any, ended: asyncio.Event) -> AsyncIterator[tuple[Any, Callable[[Message], None]]]:
    """Pass messages on, and set `ended` when no more can come; the caller can insert messages of its own."""
    import anyio
    from mcp.shared.message import SessionMessage
    from mcp.types import jsonrpc_message_adapter
    from pydantic import ValidationError

    from kubiya_worker.tools.mcp.client import mended

    send, receive = anyio.create_memory_object_stream[Any](1000)

    async def pump() -> None:
        try:
            async for item in read:
                await send.send(mended(item))
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            pass  # either side has been closed
        finally:
            ended.set()  # before the session hears of it, and tells its calls
            send.close()

    def put(message: Message) -> None:
        with contextlib.suppress(
            anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError, ValidationError
        ):
            send.send_nowait(SessionMessage(jsonrpc_message_adapter.validate_python(message, by_name=False)))

    async with anyio.create_task_group() as group:
        group.start_soon(pump)
        try:
            yield receive, put
        finally:
            group.cancel_scope.cancel()
            receive.close()


@contextlib.asynccontextmanager
async def _process(server: McpServer, workspace: Path, marks: dict[str, str]) -> AsyncIterator[Any]:
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    folder = await asyncio.to_thread(_folder, server, workspace)
    env = {**inherited, **network_variables.of_worker(os.environ), **server.env, **marks}
    program = confinement.program_of(server, folder, env.get("PATH", os.defpath))
    limits = confinement.profile_of(server, workspace, folder, program)
    if limits is not None:
        env |= await asyncio.to_thread(confinement.own_folders, server, workspace, program)
    remedy = confinement.REMEDY if limits else ""
    with _LastWords() as errors:
        executable, argv = spawn.command(limits, program, (server.command, *server.args))

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                argv,
                executable=executable,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors.file,
                cwd=folder,
                env=env,
                start_new_session=True,
            )

        try:
            begin = start if limits is None else lambda: spawn.confined(limits, start)
            async with stdio.spoken(begin, errors.add) as streams:
                yield streams
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _NOT_STARTED:
                raise ConfigurationError(
                    f"the program {server.command} {_NOT_STARTED[error.errno]}",
                    remedy=_FOREIGN.get(error.errno, remedy),
                ) from None
            said, cause = errors.text(), unwrapped(error, server)
            raise Unavailable(f"{cause}; it said: {said}" if said else str(cause), remedy=remedy) from error


def _folder(server: McpServer, workspace: Path) -> Path:
    """Return the folder that the server starts in, with the workspace there."""
    workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = workspace / Path(server.cwd).expanduser()
    if not visible.is_folder(folder):
        raise ConfigurationError(
            f"its `cwd` {folder} is no folder on this host", remedy="Make it on the worker's host, or correct `cwd`"
        )
    return folder


class _LastWords:
    """Keep the end of a server's stderr, from a pipe that is always read, so that a server never blocks on it.

    Of a server that says nothing there, the end of what it writes to stdout beside its messages is kept.
    """

    def __init__(self) -> None:
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        self.file = os.fdopen(writer, "w", encoding="utf-8")
        self._tail = b""
        self._stdout = b""
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
        words = " ".join((self._tail.strip() or self._stdout).decode("utf-8", "replace").split())
        return words if len(words) <= STDERR_SHOWN else f"… {words[-STDERR_SHOWN:].partition(' ')[2]}"

    def add(self, line: bytes) -> None:
        """Take a line of stdout that is no message."""
        self._stdout = (self._stdout + b"\n" + line)[-STDERR_KEPT:]

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError, InterruptedError):
            data = os.read(self._reader, 1 << 16)
            self._tail = (self._tail + data)[-STDERR_KEPT:]


@contextlib.asynccontextmanager
async def _remote(
    server: McpServer, tokens: TokenCache | None, puts: list[Callable[[Message], None]], patience: float | None
) -> AsyncIterator[Any]:
    from mcp.client.sse import sse_client
    from mcp.client.streamable_http import streamable_http_client

    from kubiya_worker.tools.mcp.http_client import McpHttpClient

    def deliver(message: Message) -> None:
        puts[0](message)

    headers = dict(server.headers)
    if server.transport == "sse":

        def client(headers: dict[str, str] | None = None, timeout: Any = None, auth: Any = None) -> McpHttpClient:
            return McpHttpClient(tokens=tokens, deliver=deliver, apart=True, patience=patience, headers=headers)

        async with sse_client(server.url, headers=headers, httpx_client_factory=client) as streams:
            yield streams
    else:
        async with (
            McpHttpClient(tokens=tokens, deliver=deliver, headers=headers) as http,
            # The client has a limit of its own, which ends only one call.
            streamable_http_client(server.url, http_client=http, max_sse_event_size=None) as streams,
        ):
            yield streams


def unwrapped(error: BaseException, server: McpServer) -> Exception:
    """Return the first cause in a group, without the SDK's wrapping."""
    import pydantic

    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error.__cause__, HttpFault):
        return error.__cause__
    if isinstance(error, asyncio.CancelledError):
        return Unavailable(f"the session with {server.name!r} was ended")
    if isinstance(error, (Unavailable, ConfigurationError)):
        return error
    if isinstance(error, pydantic.ValidationError):
        return Unavailable(NO_MESSAGE)
    return Unavailable(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
