"""One session with an MCP server.

It lives in a task of its own, since the SDK's contexts have to be left by the task that entered them; callers talk to
it from theirs. A call that is under way when the session dies is told so and not repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from kubiya_worker.errors import Unavailable
from kubiya_worker.tools.mcp.config import Server
from kubiya_worker.tools.mcp.transport import connected, plain

CLOSE_TIMEOUT: Final = 10.0  # seconds that a session has to close


class Session:
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
            async with connected(self._server, self._workspace) as client:
                self._client = client
                self._last = time.monotonic()
                self._ready.set_result(None)
                await self._until_idle()
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(plain(error, self._server))
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


def _is_closed(error: Exception) -> bool:
    text = f"{type(error).__name__} {error}".lower()
    return "closed" in text or "broken" in text
