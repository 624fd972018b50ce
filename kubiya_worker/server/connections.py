"""This module ends connections whose request stops coming, so that a client that sends half of one holds nothing.

Uvicorn has a limit for the time between two requests (`timeout_keep_alive`) and none for the time within one. A
connection counts here from its first moment, or from the first byte of its next request, until the request is
complete. How long an answer takes, and how slowly it is read, has no limit: an event stream may stay open for days.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kubiya_worker.event_log import EventLogger

log = EventLogger(__name__)

REQUEST_SECONDS: Final = 15.0  # for the head, and between two pieces of the body
BYTES_A_SECOND: Final = 1000  # a body that comes more slowly than this on average is ended, too
MAX_HEAD: Final = 64 * 1024  # bytes of request line and headers
# Bytes of a refused body that are read and thrown away: a client that does not listen while it sends would get a reset
# connection in place of the reply.
MAX_DRAIN: Final = 256 * 1024 * 1024
MAX_INCOMPLETE: Final = 1000  # connections with an incomplete request; more of them end the oldest
SETTLED: Final = 1.0  # seconds: a younger connection is not ended for another, as its bytes may be here unread
# Seconds in which what a refused client still sends is read and thrown away. Without them its next bytes would meet a
# closed socket, whose reset takes the reply from a client that has not read it yet.
LINGER: Final = 2.0
TLS: Final = b"\x16"  # the first byte of a client that speaks TLS
MAX_LINGER: Final = 1024 * 1024  # bytes that are thrown away in that time
REFUSAL: Final = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"


def deadline(began: float, latest: float, size: int, *, body: bool, seconds: float) -> float:
    """Return when an incomplete request is ended. Pure.

    The head has a fixed time. A body may take longer while it comes: `latest` is the time of its last piece.
    """
    return min(latest + seconds, began + seconds + size / BYTES_A_SECOND) if body else began + seconds


class LimitedProtocol(HttpToolsProtocol):
    """HTTP/1.1 over one connection, with limits for the time and size of requests."""

    seconds = REQUEST_SECONDS
    incomplete: dict[LimitedProtocol, None] = {}  # noqa: RUF012 - of all connections, oldest first

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Without uvicorn's warnings, which name neither client nor remedy: `send_400_response` tells of such requests.
        self.logger = logging.getLogger("uvicorn.error.connections")
        self.logger.setLevel(logging.ERROR)
        self._first = b""  # byte of what is received now
        self._timer: asyncio.TimerHandle | None = None
        self._in_body = self._receiving = False
        self._refused = False  # the reply is sent, and nothing more is taken
        self._began = self._latest = 0.0
        self._size = 0  # bytes of the request that is being received

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_request()
        if len(self.incomplete) > MAX_INCOMPLETE:
            oldest = next(iter(self.incomplete))
            if self.loop.time() - oldest._began > SETTLED:
                oldest._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._size += len(data)
        if self._refused:
            if self._size > MAX_LINGER:
                self.transport.abort()
            return
        self._first = data[:1]
        super().data_received(data)
        if self.transport.is_closing() or self._refused:
            return
        answered = self.cycle is None or self.cycle.response_complete
        if not self._receiving and not (answered and self.timeout_keep_alive_task is None):
            self._rest()
            return
        self._latest = self.loop.time()
        self._await_request()
        if self._size > MAX_HEAD and not self._in_body:
            self.send_400_response(f"The head of the request has more than {MAX_HEAD:,} bytes")
        elif self._size > MAX_DRAIN and answered:
            self.transport.abort()

    # -- what the parser finds

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._rest()
        self._receiving, self._in_body, self._size = True, False, 0

    def on_headers_complete(self) -> None:
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._rest()
        self._receiving, self._in_body, self._size = False, False, 0
        super().on_message_complete()

    # -- the time that is left

    def _await_request(self) -> None:
        """Give the request that is not complete its time, unless it has that already."""
        if self._timer is None:
            self._began = self._latest = self.loop.time()
            self._timer = self.loop.call_at(self._began + self.seconds, self._look)
            self.incomplete[self] = None

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.incomplete.pop(self, None)

    def _look(self) -> None:
        now = self.loop.time()
        at = deadline(self._began, self._latest, self._size, body=self._in_body, seconds=self.seconds)
        if self.flow.read_paused:
            at = now + self.seconds  # we ourselves do not read now
        if at <= now:
            self._end()
        else:
            self._timer = self.loop.call_at(at, self._look)

    def _end(self) -> None:
        """End the connection. Say why to a client that has sent a part of a request and got no answer to it."""
        self._rest()
        if self.transport.is_closing():
            return
        cycle = self.cycle
        unanswered = not cycle.response_started if self._in_body else cycle is None or cycle.response_complete
        if self._receiving and unanswered:
            self._refuse(b"408 Request Timeout", "The request was not complete in time")
        elif self.transport.get_write_buffer_size():
            self.transport.abort()  # the client does not read, either
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        no_tls, peer = self._first == TLS, self.client[0] if self.client else None
        log.recurring(
            "request.unreadable",
            peer=peer,
            error="TLS was sent to a port that has none" if no_tls else msg,
            remedy="use http:// in the client's address, or a proxy with TLS before this port" if no_tls else None,
        )
        self._refuse(b"400 Bad Request", msg)

    def _refuse(self, status: bytes, detail: str) -> None:
        """Answer an unusable request, and close the connection when the client has, or after `LINGER`."""
        self._rest()
        self._refused, self._size = True, 0
        if self.cycle is not None:  # what waits for the rest of the body is told that it does not come
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        content = json.dumps({"detail": detail}).encode()
        self.transport.write(REFUSAL % (status, len(content), content))
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self._timer = self.loop.call_later(LINGER, self.transport.abort)
