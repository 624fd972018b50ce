"""This module holds the connections of Slack's Socket Mode, by which pressed buttons come back without a public URL.

One connection for each app: definitions with the same app token share it. Slack wants an envelope acknowledged within
3 s. So the press counts first, which takes milliseconds, and what people see in Slack changes after it is acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final
from urllib.parse import urlsplit

from kubiya_worker.errors import WorkerError
from kubiya_worker.event_log import EventLogger
from kubiya_worker.server.notify import slack
from kubiya_worker.server.notify.letter import Object
from kubiya_worker.server.notify.outgoing import Outgoing, Undelivered

log = EventLogger(__name__)

EVERY: Final = 5.0  # seconds between two looks at the definitions
REMEMBERED: Final = 1_000  # envelopes
OPENING: Final = 20.0  # seconds for a connection to open

COUNTED: Final = 2.0  # seconds for a press to count before its envelope is acknowledged

# (a channel with its secrets, the payload of the press) -> what is left to do in Slack
Pressed = Callable[[Object, Object], Coroutine[Any, Any, None] | None]


class SlackSockets:
    def __init__(
        self,
        channels: Callable[[], Awaitable[list[Object]]],
        pressed: Pressed,
        out: Callable[[], Outgoing],
    ) -> None:
        """Take `channels`, which returns those that want buttons, with their secrets, and what to do with a press."""
        self._channels, self._pressed, self._out = channels, pressed, out
        self._open: dict[str, Any] = {}
        self._work: set[asyncio.Task[None]] = set()
        self._seen: dict[str, None] = {}  # envelopes, the oldest first

    async def run(self) -> None:
        """Keep the connections as the definitions say, until cancelled."""
        try:
            while True:
                try:
                    await self.look()
                except Exception as error:  # a bug, or a full disk: the next look may succeed
                    log.fault("slack.failed", error)
                await asyncio.sleep(EVERY)
        finally:
            for client in self._open.values():
                await asyncio.to_thread(client.close)
            self._open.clear()

    async def look(self) -> None:
        """Open what is missing and close what nobody wants any more."""
        wanted = {_key(channel): channel for channel in await self._channels()}
        for key in set(self._open) - set(wanted):
            await asyncio.to_thread(self._open.pop(key).close)
        for key in set(wanted) - set(self._open):
            try:
                async with asyncio.timeout(OPENING):
                    self._open[key] = await self._connect(wanted[key])
                log.info("slack.connected")
            except (Undelivered, WorkerError, OSError, TimeoutError) as error:
                log.warning("slack.not_connected", error=str(error) or type(error).__name__)

    async def _connect(self, channel: Object) -> Any:
        """Return a client that is connected. The SDK is imported here, as it is an extra."""
        await asyncio.to_thread(importlib.import_module, "slack_sdk.socket_mode")  # half a second of the loop
        from slack_sdk.socket_mode import SocketModeClient
        from slack_sdk.socket_mode.response import SocketModeResponse

        loop, sockets = asyncio.get_running_loop(), self

        class SocketClient(SocketModeClient):
            def issue_new_wss_url(self) -> str:
                """Ask for an address by our own way out, which checks where it leads."""
                return asyncio.run_coroutine_threadsafe(sockets.address(channel), loop).result(OPENING)

        def got(client: Any, request: Any) -> None:
            if request.type == "interactive" and isinstance(request.payload, dict):
                counted = asyncio.run_coroutine_threadsafe(
                    sockets.work_on(channel, request.envelope_id, request.payload), loop
                )
                with contextlib.suppress(TimeoutError):  # it goes on, and Slack shows no error for it
                    counted.result(COUNTED)
            client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))

        quiet = logging.getLogger("slack_sdk")  # its lines name addresses that hold tickets
        quiet.setLevel(logging.CRITICAL)
        client = SocketClient(app_token="", logger=quiet, proxy="", concurrency=2)
        client.proxy = None  # no proxy of the environment, as with every channel
        client.socket_mode_request_listeners.append(got)
        try:
            await asyncio.to_thread(client.connect)
        except BaseException:
            await asyncio.to_thread(client.close)
            raise
        return client

    async def address(self, channel: Object) -> str:
        """Return the address of a new connection, checked. Raises Undelivered."""
        opened = await slack.call(channel, "apps.connections.open", {}, self._out(), by="app_token")
        url = str(opened.get("url") or "")
        parts = urlsplit(url)
        plain = parts.scheme == "ws" and str(channel.get("api_url") or "").startswith("http://")
        if not parts.hostname or not (parts.scheme == "wss" or plain):
            raise Undelivered("Slack gives no address of a connection")
        await self._out().addresses_of(parts.hostname, parts.port or 443)
        return url

    async def work_on(self, channel: Object, envelope_id: str, payload: Object) -> None:
        """Let the press of an envelope count, once: Slack sends it again when an acknowledgement comes late."""
        if envelope_id in self._seen:
            return
        self._seen[envelope_id] = None
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        try:
            rest = self._pressed(channel, payload)
        except Exception as error:  # a bug, or a full disk: the person can press again
            log.fault("slack.answer_failed", error)
            return
        if rest is not None:
            task = asyncio.get_running_loop().create_task(_finish(rest))
            self._work.add(task)
            task.add_done_callback(self._work.discard)


async def _finish(rest: Coroutine[Any, Any, None]) -> None:
    try:
        await rest
    except Exception as error:  # a bug: the press counts, and only its message was not changed
        log.fault("slack.answer_failed", error)


def _key(channel: Object) -> str:
    """Return what makes a connection one: the app, by a hash of its token, and where it is."""
    digest = hashlib.sha256(str(channel["app_token"]).encode()).hexdigest()
    return f"{channel.get('api_url') or slack.API} {digest}"
