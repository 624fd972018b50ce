"""This module keeps the worker's sessions with MCP servers.

Each execution has its own sessions (`owner`), as a server may keep data of one call for the next. They end with the
execution. A server with `shared` has one session for all executions, which ends when it was idle for long. There are at
most `limit` sessions; a new one takes the place of an idle one, or waits for a place.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kubiya_worker.errors import Unavailable
from kubiya_worker.tools.mcp.answers import Listing
from kubiya_worker.tools.mcp.config import McpServer
from kubiya_worker.tools.mcp.faults import HttpFault, SessionLost
from kubiya_worker.tools.mcp.oauth import TokenCache
from kubiya_worker.tools.mcp.session import KILLED, McpSession, Report

IDLE: Final = 300.0  # seconds without a call after which a session is closed
LIMIT: Final = 64  # sessions of a worker
EVICTED_AFTER: Final = 30.0  # seconds without a call after which a session makes place for another one
STOP_TIMEOUT: Final = 2.5  # seconds that all sessions together have when the worker stops
LOOK: Final = 5.0  # seconds between two looks at whose execution is over
PAUSES: Final = (0.3, 0.7, 1.5)  # seconds before a call is tried again that could not be sent


@dataclass
class _PooledSession:
    session: McpSession
    owner: str
    server: str
    used: float = 0.0  # monotonic: when the owner last asked for it


class SessionPool:
    """The sessions; `close` ends all of them.

    `over` returns whether an owner's execution is over, for executions that end elsewhere or without a message; it is
    asked about those that have been quiet for a while.
    """

    def __init__(
        self, idle: float = IDLE, limit: int = LIMIT, over: Callable[[str], Awaitable[bool]] | None = None
    ) -> None:
        self._idle, self._limit, self._is_over = idle, limit, over
        self._pooled: dict[str, _PooledSession] = {}
        self._tokens: dict[str, TokenCache] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def tools(self, server: McpServer, workspace: Path, owner: str = "") -> Listing:
        """Return the server's tools and instructions; raise ConfigurationError or Unavailable."""
        session = await self._open(server, workspace, owner)
        return await session.relist()

    async def call(
        self,
        server: McpServer,
        name: str,
        arguments: dict[str, Any],
        workspace: Path,
        owner: str = "",
        *,
        idempotent: bool = False,
        report: Report | None = None,
    ) -> Any:
        """Return the SDK's `CallToolResult`, with the server's own answer in it (answers.py).

        The call is made once more, where the server certainly has not run it: it does not know the session, or could
        not be reached. After a session that was lost with the call under way, only if the tool is `idempotent`.
        """
        reopened = False
        unsent = 0
        while True:
            session = await self._open(server, workspace, owner)
            try:
                return await session.call(name, arguments, report)
            except HttpFault as fault:
                if not fault.sent and unsent < len(PAUSES):
                    await asyncio.sleep(PAUSES[unsent])
                    unsent += 1
                    continue
                if reopened or not fault.may_have_forgotten or not await session.is_forgotten():
                    raise
            except SessionLost:
                if reopened or not idempotent:
                    raise
            reopened = True
            self._retire(session)

    def changed(self, owner: str) -> list[str]:
        """Return the names of the owner's servers that have said that their list of tools is another one."""
        return [pooled.server for pooled in self._pooled.values() if pooled.owner == owner and pooled.session.changed]

    def starting(self, server: McpServer, workspace: Path, owner: str = "") -> bool:
        """Return whether a session of this server is still starting."""
        pooled = self._pooled.get(self._key(server, workspace, owner))
        return pooled is not None and pooled.session.starting and not pooled.session.is_over

    def token(self, server: McpServer) -> str:
        """Return the bearer token that was fetched for a server; it is a secret like those in its settings."""
        tokens = self._tokens.get(_credentials(server)) if server.oauth else None
        return tokens.current if tokens else ""

    def release(self, owner: str) -> None:
        """End the sessions of an execution that is over. Nobody waits for it."""
        for key in [key for key, pooled in self._pooled.items() if pooled.owner == owner and owner]:
            self._end(self._pooled.pop(key).session)

    async def close(self) -> None:
        """End all sessions; their servers have a moment for it, all at the same time."""
        if self._looking is not None:
            self._looking.cancel()
        sessions = [pooled.session for pooled in self._pooled.values()]
        self._pooled.clear()
        closing = [asyncio.create_task(session.close(STOP_TIMEOUT)) for session in sessions]
        if closing or self._closing:
            await asyncio.wait([*closing, *self._closing], timeout=STOP_TIMEOUT + KILLED)

    @property
    def open_count(self) -> int:
        return sum(not pooled.session.is_over for pooled in self._pooled.values())

    # -- opening and ending

    def _key(self, server: McpServer, workspace: Path, owner: str) -> str:
        own = "" if server.shared else f"{owner}:{server.name}:{workspace}"
        return f"{own}:{server.key}"

    async def _open(self, server: McpServer, workspace: Path, owner: str) -> McpSession:
        key = self._key(server, workspace, owner)
        pooled = self._pooled.get(key)
        if pooled is None or pooled.session.is_over:
            await self._make_place(server, key)
            pooled = self._pooled.get(key)  # another call of the same execution may have been quicker
        if pooled is None or pooled.session.is_over:
            tokens = self._tokens.setdefault(_credentials(server), TokenCache(server.oauth)) if server.oauth else None
            session = McpSession(server, workspace, self._idle, tokens, self._room.set)
            pooled = self._pooled[key] = _PooledSession(session, "" if server.shared else owner, server.name)
            self._start_watching()
        pooled.used = time.monotonic()
        try:
            await pooled.session.ready()
        except Exception:
            if self._pooled.get(key) is pooled and not pooled.session.starting:
                del self._pooled[key]
                self._end(pooled.session)
            raise
        return pooled.session

    async def _make_place(self, server: McpServer, key: str) -> None:
        """Wait until one more session may be opened, within the time that the server has to start."""
        deadline = time.monotonic() + server.timeout
        while self.open_count >= self._limit:
            if (pooled := self._pooled.get(key)) is not None and not pooled.session.is_over:
                return
            idle = max(self._pooled.values(), key=lambda pooled: pooled.session.idle_for)
            if idle.session.idle_for >= EVICTED_AFTER:
                self._retire(idle.session)
                continue
            self._room.clear()
            left = deadline - time.monotonic()
            if left <= 0:
                raise Unavailable(
                    f"this worker has {self._limit} sessions with MCP servers, which is its limit",
                    remedy="Raise KUBIYA_MCP_MAX_SESSIONS on the worker, or let servers that keep nothing be `shared`",
                )
            try:
                await asyncio.wait_for(self._room.wait(), min(left, 1.0))
            except TimeoutError:
                pass  # another one may have become idle long enough
        for gone in [name for name, pooled in self._pooled.items() if pooled.session.is_over]:
            self._end(self._pooled.pop(gone).session)

    def _retire(self, session: McpSession) -> None:
        """Open another one for the next call; calls that are under way in this one go on."""
        for key in [key for key, pooled in self._pooled.items() if pooled.session is session]:
            pooled = self._pooled.pop(key)
            self._pooled[f"{key}:{id(session)}"] = pooled  # still the owner's, so that it ends with the execution
        session.retire()

    def _end(self, session: McpSession) -> None:
        task = asyncio.create_task(session.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _start_watching(self) -> None:
        if self._is_over is not None and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._watch(self._is_over))

    async def _watch(self, over: Callable[[str], Awaitable[bool]]) -> None:
        """End the sessions of executions that are over and were not released here."""
        while self._pooled:
            await asyncio.sleep(LOOK)
            quiet: dict[str, bool] = {}
            for pooled in list(self._pooled.values()):
                fresh = time.monotonic() - pooled.used < LOOK or pooled.session.idle_for < LOOK
                quiet[pooled.owner] = quiet.get(pooled.owner, True) and not fresh
            for owner in (owner for owner, is_quiet in quiet.items() if owner and is_quiet):
                try:
                    if await over(owner):
                        self.release(owner)
                except Exception:  # noqa: S112  (Temporal is away: asked again at the next look)
                    continue


def _credentials(server: McpServer) -> str:
    return "\0".join(f"{key}={value}" for key, value in sorted(server.oauth.items()))
