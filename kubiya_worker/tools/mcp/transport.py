"""How an MCP server is reached: as a process over stdio, or over HTTP.

A stdio server is a process with a clean environment (PATH, HOME, LANG, USER and what its configuration says), the end
of its stderr is kept, and `guard` ends it when the worker is killed. The SDK is imported by the first connection: a
worker whose agents have no MCP servers does not pay for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError, Unavailable
from kubiya_worker.tools import programs
from kubiya_worker.tools.mcp.config import Server

STDERR_SHOWN: Final = 500  # characters of a server's last words
INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "TMPDIR")


@contextlib.asynccontextmanager
async def connected(server: Server, workspace: Path) -> AsyncIterator[Any]:
    """An initialized session of the SDK."""
    try:
        from kubiya_worker.tools.mcp.client import Client
    except ImportError:
        raise ConfigurationError(
            "this worker has no MCP client", remedy="Install it with: pip install 'kubiya-worker[mcp]'"
        ) from None
    async with contextlib.AsyncExitStack() as stack:
        if server.transport == "stdio":
            streams = await stack.enter_async_context(_process(server, workspace))
        else:
            streams = await stack.enter_async_context(_remote(server))
        client = await stack.enter_async_context(Client(*streams))
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
            said, cause = errors.text(), plain(error, server)
            raise Unavailable(f"{cause}; it said: {said}" if said else str(cause)) from error


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


def plain(error: BaseException, server: Server) -> Exception:
    """The first cause in a group, without the SDK's wrapping."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, asyncio.CancelledError):
        return Unavailable(f"the session with {server.name!r} was ended")
    if isinstance(error, (Unavailable, ConfigurationError)):
        return error
    return Unavailable(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
