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
from kubiya_worker.tools.mcp.config import Server
from kubiya_worker.tools.mcp.faults import HttpFault, Lost
from kubiya_worker.tools.mcp.oauth import Tokens
from kubiya_worker.tools.mcp.raw import Listing
from kubiya_worker.tools.mcp.session import KILLED, Report, Session

IDLE: Final = 300.0  # seconds without a call after which a session is closed
LIMIT: Final = 64  # sessions of a worker
EVICTED_AFTER: Final = 30.0  # seconds without a call after which a session makes place for another one
STOP_TIMEOUT: Final = 2.5  # seconds that all sessions together have when the worker stops
LOOK: Final = 5.0  # seconds between two looks at whose execution is over
PAUSES: Final = (0.3, 0.7, 1.5)  # seconds before a call is tried again that could not be sent


@dataclass
class _Held:
    session: Session
    owner: str
    server: str
    used: float = 0.0  # monotonic: when the owner last asked for it


class Pool:
    """The sessions; `close` ends all of them.

    `over` returns whether an owner's execution is over, for executions that end elsewhere or without a message; it is
    asked
    about those that have been quiet for a while.
    """

    def __init__(
        self, idle: float = IDLE, limit: int = LIMIT, over: Callable[[str], Awaitable[bool]] | None = None
    ) -> None:
        self._idle, self._limit, self._over = idle, limit, over
        self._held: dict[str, _Held] = {}
        self._tokens: dict[str, Tokens] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def tools(self, server: Server, workspace: Path, owner: str = "") -> Listing:
        """Return the server's tools and instructions; raise ConfigurationError or Unavailable."""
        session = await self._open(server, workspace, owner)
        return await session.relist()

    async def call(
        self,
        server: Server,
        name: str,
        arguments: dict[str, Any],
        workspace: Path,
        owner: str = "",
        *,
        idempotent: bool = False,
        report: Report | None = None,
    ) -> Any:
        """Return the SDK's `CallToolResult`, with the server's own answer in it (raw.py).

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
            except Lost:
                if reopened or not idempotent:
                    raise
            reopened = True
            self._retire(session)

    def changed(self, owner: str) -> list[str]:
        """Return the names of the owner's servers that have said that their list of tools is another one."""
        return [held.server for held in self._held.values() if held.owner == owner and held.session.changed]

    def starting(self, server: Server, workspace: Path, owner: str = "") -> bool:
        """Return whether a session of this server is still starting."""
        held = self._held.get(self._key(server, workspace, owner))
        return held is not None and held.session.starting and not held.session.over

    def token(self, server: Server) -> str:
        """Return the bearer token that was fetched for a server; it is a secret like those in its settings."""
        tokens = self._tokens.get(_credentials(server)) if server.oauth else None
        return tokens.current if tokens else ""

    def release(self, owner: str) -> None:
        """End the sessions of an execution that is over. Nobody waits for it."""
        for key in [key for key, held in self._held.items() if held.owner == owner and owner]:
            self._end(self._held.pop(key).session)

    async def close(self) -> None:
        """End all sessions; their servers have a moment for it, all at the same time."""
        if self._looking is not None:
            self._looking.cancel()
        sessions = [held.session for held in self._held.values()]
        self._held.clear()
        closing = [asyncio.create_task(session.close(STOP_TIMEOUT)) for session in sessions]
        await asyncio.wait(
            [*closing, *self._closing], timeout=STOP_TIMEOUT + KILLED
        ) if closing or self._closing else None

    @property
    def open_count(self) -> int:
        return sum(not held.session.over for held in self._held.values())

    # -- opening and ending

    def _key(self, server: Server, workspace: Path, owner: str) -> str:
        own = "" if server.shared else f"{owner}:{server.name}:{workspace}"
        return f"{own}:{server.key}"

    async def _open(self, server: Server, workspace: Path, owner: str) -> Session:
        key = self._key(server, workspace, owner)
        held = self._held.get(key)
        if held is None or held.session.over:
            await self._place(server, key)
            held = self._held.get(key)  # another call of the same execution may have been quicker
        if held is None or held.session.over:
            tokens = self._tokens.setdefault(_credentials(server), Tokens(server.oauth)) if server.oauth else None
            session = Session(server, workspace, self._idle, tokens, self._room.set)
            held = self._held[key] = _Held(session, "" if server.shared else owner, server.name)
            self._look()
        held.used = time.monotonic()
        try:
            await held.session.ready()
        except Exception:
            if self._held.get(key) is held and not held.session.starting:
                del self._held[key]
                self._end(held.session)
            raise
        return held.session

    async def _place(self, server: Server, key: str) -> None:
        """Wait until one more session may be opened, within the time that the server has to start."""
        deadline = time.monotonic() + server.timeout
        while self.open_count >= self._limit:
            if (held := self._held.get(key)) is not None and not held.session.over:
                return
            idle = max(self._held.values(), key=lambda held: held.session.idle_for)
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
        for gone in [name for name, held in self._held.items() if held.session.over]:
            self._end(self._held.pop(gone).session)

    def _retire(self, session: Session) -> None:
        """Open another one for the next call; calls that are under way in this one go on."""
        for key in [key for key, held in self._held.items() if held.session is session]:
            held = self._held.pop(key)
            self._held[f"{key}:{id(session)}"] = held  # still the owner's, so that it ends with the execution
        session.retire()

    def _end(self, session: Session) -> None:
        task = asyncio.create_task(session.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _look(self) -> None:
        if self._over is not None and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._watch(self._over))

    async def _watch(self, over: Callable[[str], Awaitable[bool]]) -> None:
        """End the sessions of executions that are over and were not released here."""
        while self._held:
            await asyncio.sleep(LOOK)
            quiet: dict[str, bool] = {}
            for held in list(self._held.values()):
                fresh = time.monotonic() - held.used < LOOK or held.session.idle_for < LOOK
                quiet[held.owner] = quiet.get(held.owner, True) and not fresh
            for owner in (owner for owner, is_quiet in quiet.items() if owner and is_quiet):
                try:
                    if await over(owner):
                        self.release(owner)
                except Exception:  # noqa: S112  (Temporal is away: asked again at the next look)
                    continue


def _credentials(server: Server) -> str:
    return "\0".join(f"{key}={value}" for key, value in sorted(server.oauth.items()))
