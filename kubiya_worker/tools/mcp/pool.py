"""The worker's sessions with MCP servers: opened when first needed, shared, closed when idle, ended with the worker."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from kubiya_worker.tools.mcp.config import Server
from kubiya_worker.tools.mcp.session import Session

IDLE: Final = 300.0  # seconds without a call after which a session is closed
PAGES: Final = 20  # of a server's list of tools


class Pool:
    """`async with` is not needed: `close` ends all that is open."""

    def __init__(self, idle: float = IDLE) -> None:
        self._idle = idle
        self._sessions: dict[str, Session] = {}

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

    async def _open(self, server: Server, workspace: Path) -> Session:
        key = f"{server.key}:{workspace}" if server.transport == "stdio" else server.key
        session = self._sessions.get(key)
        if session is None or session.over:
            session = self._sessions[key] = Session(server, workspace, self._idle)
        try:
            await session.ready()
        except BaseException:
            if self._sessions.get(key) is session and not session.used:
                del self._sessions[key]
                await session.close()
            raise
        return session


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
