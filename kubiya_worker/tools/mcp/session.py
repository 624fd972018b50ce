"""This module is one session with an MCP server.

It runs in its own task, since the SDK's contexts must be left by the task that entered them; callers use it from their
tasks. It starts within the server's `timeout`, and goes on starting when its caller goes away. It ends when the server
is gone, when it was idle for long, or when it is closed; never for an error that the server answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from kubiya_worker.errors import Unavailable, WorkerError
from kubiya_worker.tools.mcp.answers import Listing, listing
from kubiya_worker.tools.mcp.config import McpServer
from kubiya_worker.tools.mcp.faults import METHOD_NOT_FOUND, TRY_AGAIN, HttpFault, SessionLost
from kubiya_worker.tools.mcp.oauth import TokenCache
from kubiya_worker.tools.mcp.transport import ServerConnection, connected, kill_marked, unwrapped
from kubiya_worker.tracing import current

CLOSE_TIMEOUT: Final = 6.0  # seconds that a session has to close: the SDK asks, sends SIGTERM, and SIGKILL after 4 s
KILLED: Final = 3.0  # seconds until the SDK has noticed that its process is gone; a cancellation would leak its pipes
PING_TIMEOUT: Final = 5.0
RELIST_TIMEOUT: Final = 10.0  # seconds to read a list of tools that has changed
REACH: Final = 3.0  # seconds for which a server that cannot be reached, or breaks off, is tried again
OLDER: Final = frozenset({400, 404, 405})  # by the specification: a server may speak the older transport (SSE)
ENDPOINT: Final = 5.0  # seconds for which it is tried
PAUSES: Final = (0.3, 0.7, 1.5, 3.0)  # seconds between tries to start; the last one over and over

Report = Callable[[float, float | None, str | None], Any]  # progress, total, message


class McpSession:
    """A session; `is_over` says that it takes no more calls, `listing` is the server's offer once it is ready."""

    def __init__(
        self,
        server: McpServer,
        workspace: Path,
        idle: float,
        tokens: TokenCache | None = None,
        ended: Callable[[], None] | None = None,
    ) -> None:
        self._server, self._workspace, self._idle, self._tokens = server, workspace, idle, tokens
        self._link: ServerConnection | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closing = asyncio.Event()
        self._last = time.monotonic()
        self._under_way = 0
        self._changed = False
        self.listing = Listing()
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(lambda _: ended and ended())
        self._until = time.monotonic() + server.timeout
        self._alarm = asyncio.get_running_loop().call_later(server.timeout, self._too_late)

    @property
    def is_over(self) -> bool:
        return self._task.done() or self._closing.is_set() or (self._link is not None and self._link.ended.is_set())

    @property
    def starting(self) -> bool:
        return not self._ready.done()

    @property
    def idle_for(self) -> float:
        """Return the seconds since the last call; 0 while it starts or a call runs."""
        return 0.0 if self._under_way or self.starting else time.monotonic() - self._last

    @property
    def changed(self) -> bool:
        """Return whether the server has said that its list of tools changed."""
        return self._changed and not self.is_over

    async def ready(self) -> None:
        """Wait until the session can be used; raise the error that kept it from starting."""
        await asyncio.shield(self._ready)

    async def call(self, name: str, arguments: dict[str, Any], report: Report | None = None) -> Any:
        """Return the SDK's result. Raises SessionLost, HttpFault, or the SDK's MCPError with the server's own words."""

        async def progress(done: float, total: float | None, message: str | None) -> None:
            if report is not None:
                report(done, total, message)

        about = {"meta": current.carrier() or None}
        return await self._use(lambda client: client.call_tool(name, arguments, progress_callback=progress, **about))

    async def relist(self) -> Listing:
        """Return the list of tools, read again if the server has said that it changed."""
        if self.changed:
            self._changed = False
            try:
                async with asyncio.timeout(RELIST_TIMEOUT):
                    self.listing = await self._use(listing)
            except SessionLost:
                raise
            except Exception as error:  # the tools that are known can still be called
                reason = "it was not answered in time" if isinstance(error, TimeoutError) else str(error)
                fault = f"its list of tools has changed, but cannot be read: {' '.join(reason.split())[:200]}"
                self.listing = replace(self.listing, faults=[fault])
        return self.listing

    async def is_forgotten(self) -> bool:
        """Return whether the server has lost this session, which the status of its answer to a ping shows."""
        try:
            async with asyncio.timeout(PING_TIMEOUT):
                await self._use(lambda client: client.send_ping())
        except HttpFault as fault:
            # A server that says that it has no `ping` has read the message, and so knows the session.
            return fault.may_have_forgotten and fault.code != METHOD_NOT_FOUND
        except Exception:  # it answers, although not to a ping
            return False
        return False

    async def _use(self, call: Callable[[Any], Any]) -> Any:
        if self._link is None:
            raise SessionLost(self._server.name)
        self._under_way += 1
        self._last = time.monotonic()
        work = asyncio.ensure_future(call(self._link.client))
        try:
            await asyncio.wait({work, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise SessionLost(self._server.name)
            try:
                return work.result()
            except Exception as error:
                fault = self._our_error(error)
                if fault is error:
                    raise
                raise fault from error
        finally:
            if not work.done():
                work.cancel()
            self._under_way -= 1
            self._last = time.monotonic()

    def _our_error(self, error: Exception) -> Exception:
        """Return our own error for an error of the SDK."""
        from kubiya_worker.tools.mcp.http_client import fault_in

        fault = fault_in(getattr(error, "data", None))
        if fault is not None:
            return fault
        return SessionLost(self._server.name) if self._link is not None and self._link.ended.is_set() else error

    def retire(self) -> None:
        """Take no more calls; those that are under way go on to their end."""
        if self._under_way:
            self._idle = 0.0
        else:
            self._closing.set()

    async def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """End it within `timeout`, and then at once."""
        self._closing.set()
        if self._link is None and self._server.url:
            self._task.cancel()  # it is still connecting, and has nothing to end at the server
        done, _ = await asyncio.wait({self._task}, timeout=timeout)
        if not done and self._link is not None:
            await self._link.kill()
            done, _ = await asyncio.wait({self._task}, timeout=KILLED)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=1.0)

    # -- its life

    def _too_late(self) -> None:
        if self.starting:
            self._fail(Unavailable(f"it did not start within {self._server.timeout:g} seconds"))
            self._closing.set()

    def _fail(self, error: Exception) -> None:
        if self.starting:
            self._ready.set_exception(error)
            self._ready.exception()  # somebody may have stopped waiting for it

    async def _run(self) -> None:
        tries = 0
        began = time.monotonic()
        while True:
            fault = await self._tried(self._server)
            if self._may_be_older(fault):
                await self._tried(replace(self._server, transport="sse"), ENDPOINT)
            if not self.starting or fault is None:
                break
            pause = self._pause(fault, tries, time.monotonic() - began)
            if pause is None:
                self._fail(fault)
                break
            tries += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), pause)
                break
        self._alarm.cancel()
        self._fail(Unavailable(f"the session with {self._server.name!r} was ended"))

    def _pause(self, fault: Exception, tries: int, spent: float) -> float | None:
        """Return the seconds to wait before the next try to start; None where there is none."""
        if not isinstance(fault, HttpFault):
            return None
        if fault.status not in TRY_AGAIN and (spent > REACH or (fault.sent and not fault.cut)):
            return None
        pause = max(PAUSES[min(tries, len(PAUSES) - 1)], fault.retry_after or 0.0)
        return pause if time.monotonic() + pause < self._until else None

    async def _tried(self, server: McpServer, patience: float | None = None) -> Exception | None:
        """Have a session until its end; return why it could not be had."""
        try:
            return await self._connect(server, patience)
        except BaseException as error:
            fault = unwrapped(error, server)
            if isinstance(error, Exception):
                return fault
            self._fail(fault)
            raise

    def _may_be_older(self, fault: Exception | None) -> bool:
        """Return whether the server may speak the older transport, by how it has refused the newer one."""
        refused = isinstance(fault, HttpFault) and fault.status in OLDER and not fault.in_session
        return refused and self.starting and self._server.transport == "http" and not self._closing.is_set()

    async def _connect(self, server: McpServer, patience: float | None = None) -> Exception | None:
        """Open it, and stay until its end. Returns why it could not be initialized."""
        marker = ""
        try:
            async with connected(server, self._workspace, self._tokens, self._notified, patience) as link:
                marker = link.marker
                fault = await self._open(link)
                if fault is None:
                    await self._until_over(link)
                else:
                    self._link = None
        finally:
            if marker:  # what the server has started and left behind
                await asyncio.to_thread(kill_marked, marker)
        return fault

    async def _open(self, link: ServerConnection) -> Exception | None:
        self._link = link
        opening = asyncio.ensure_future(_opened(link.client))
        waits = [asyncio.ensure_future(event.wait()) for event in (self._closing, link.ended)]
        try:
            await asyncio.wait({opening, *waits}, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done() and link.ended.is_set():
                await asyncio.wait({opening}, timeout=1.0)  # the SDK is about to say so
            if not opening.done():
                return Unavailable(f"the session with {self._server.name!r} was ended")
            error = opening.exception()
            if error is None:
                self.listing = opening.result()
                self._last = time.monotonic()
                self._changed = False
                if self.starting:
                    self._ready.set_result(None)
                return None
            if link.ended.is_set():
                raise Unavailable("it ended before it answered")
            fault = self._our_error(error) if isinstance(error, Exception) else Unavailable(str(error))
            return fault if isinstance(fault, WorkerError) else Unavailable(" ".join(str(fault).split())[:300])
        finally:
            for task in (opening, *waits):
                task.cancel()

    async def _until_over(self, link: ServerConnection) -> None:
        ended = asyncio.ensure_future(link.ended.wait())
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            while not self._closing.is_set() and not link.ended.is_set():
                left = self._last + self._idle - time.monotonic()
                if left <= 0 and not self._under_way:
                    self._closing.set()  # from here on a call opens a session of its own
                    return
                waits = min(max(left, 0.05), 5.0)  # one that is retired has no idle time left
                await asyncio.wait({ended, closing}, timeout=waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            closing.cancel()

    def _notified(self, message: Any) -> None:
        from mcp.types import ToolListChangedNotification

        self._changed = self._changed or isinstance(message, ToolListChangedNotification)


async def _opened(client: Any) -> Listing:
    await client.initialize()
    return await listing(client)
