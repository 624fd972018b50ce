"""The worker's sessions with MCP servers: opened when first needed, shared, closed when idle, ended with the worker."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from kubiya_worker.tools.mcp.config import Server
from kubiya_worker.tools.mcp.raw import Listing, listing
from kubiya_worker.tools.mcp.session import Session

IDLE: Final = 300.0  # seconds without a call after which a session is closed


class Pool:
    """`async with` is not needed: `close` ends all that is open."""

    def __init__(self, idle: float = IDLE) -> None:
        self._idle = idle
        self._sessions: dict[str, Session] = {}

    async def tools(self, server: Server, workspace: Path) -> Listing:
        """Return what the server offers. Raises ConfigurationError, Unavailable, or what the SDK raises."""
        session = await self._open(server, workspace)
        found: Listing = await session.use(listing)
        return found

    async def call(self, server: Server, name: str, arguments: dict[str, Any], workspace: Path) -> Any:
        """Return the SDK's `CallToolResult`, with the server's own answer in it (raw.py)."""
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
