"""This module lets streams begin a few at a time, so that others are served in between.

After a restart of a server, or of the proxy before it, all who follow something come again at once. Each of them takes
about half a millisecond until it has its first page.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

STREAMS: Final = "/stream"  # how the paths of streams end
AT_ONCE: Final = 5  # streams that begin in one turn of the event loop


class StreamTurns:
    """This middleware stands before the routes, and delays nothing but streams."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith(STREAMS):
            await self._turn()
        await self._app(scope, receive, send)

    async def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._begin_some)
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _begin_some(self) -> None:
        for _ in range(min(AT_ONCE, len(self._waiting))):
            turn = self._waiting.popleft()
            if not turn.done():  # its client has gone
                turn.set_result(None)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._begin_some)
