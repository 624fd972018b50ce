"""This module reads a stream of events (SSE) as MCP servers really send it, and passes it to the SDK as that reads it.

A byte order mark is removed, several messages in one event become several events, broken characters are replaced, and
what is no message is dropped: the SDK would end a call with it that is still under way. A stream that belongs to a call
and that is cut is asked for again (`Last-Event-ID`), and ends with an answer or with a fault, never with nothing. This
module needs the package `mcp`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol

import httpx2

from kubiya_worker.tools.mcp.faults import BROKEN, TRY_AGAIN, HttpFault, reason_of
from kubiya_worker.tools.mcp.messages import Message, messages_in, normal, numbered, unreadable

LARGEST: Final = 64 * 1024 * 1024  # bytes of one message over HTTP; an image or a file comes in one
LARGEST_OF_SDK: Final = 1_000_000  # bytes of an event of the older transport, by the SDK, which cannot be told another
SHOWN: Final = 200  # characters of what came in place of a message
RESUMES: Final = 3  # tries in a row to get the rest of a stream that fail
PAUSE: Final = 1.0  # seconds before the rest is asked for, where the server names none
SHORTEST_PAUSE: Final = 0.1  # seconds
TOO_LARGE: Final = f"its answer has more than {LARGEST >> 20} MB, which is the limit"
_BOM: Final = b"\xef\xbb\xbf"
_LINE: Final = rb"(?:\r\n|\r|\n)"
_BLANK: Final = re.compile(rb"\r\n" + _LINE + rb"|\n" + _LINE + rb"|\r(?!\n)" + _LINE)  # the end of an event


class Exchange(Protocol):
    """The call whose answer a stream brings, as the stream sees it."""

    def is_other_call(self, number: Any) -> bool:
        """Return whether another call under way has this number."""

    def is_given_up(self) -> bool:
        """Return whether nobody waits for the answer any more."""

    def deliver(self, message: Message) -> None:
        """Take a message for another call."""

    def end(self) -> None:
        """Hear that nobody reads the stream any more."""

    def failed(self, fault: HttpFault) -> Message:
        """Return the answer by which the call hears of a fault."""

    async def resumed(self, last: bytes) -> httpx2.Response:
        """Ask for what follows the event with the id `last`."""

    @property
    def number(self) -> Any:
        """Return the number of the call."""


class MessageStream(httpx2.AsyncByteStream):
    """The events of a response; `exchange` is the call that it answers, None for a stream of its own."""

    def __init__(self, response: httpx2.Response, exchange: Exchange | None = None) -> None:
        self._response = response
        self._exchange = exchange
        self._event = bytearray()  # the bytes since the last blank line
        self._last = b""  # the id of the last event
        self._pause: float | None = None
        self._answered = False
        self._odd = ""  # what came in place of a message
        self._news = False  # whether an event came since the stream was asked for

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._exchange is None:
            async for event in self._events(self._response):
                yield event
            return
        fault: HttpFault | None = None
        while fault is None:
            self._news = False
            try:
                async for event in self._events(self._response):
                    yield event
            except (httpx2.RequestError, httpx2.StreamError):
                pass  # cut: the same as an end without an answer
            except HttpFault as error:
                fault = error
                break
            if self._answered or self._exchange.is_given_up():
                return
            fault = await self._continued(self._exchange)
        yield self._written(self._exchange.failed(fault))

    async def aclose(self) -> None:
        if self._exchange is not None:
            self._exchange.end()
        await self._response.aclose()

    async def _continued(self, exchange: Exchange) -> HttpFault | None:
        """Ask for the rest of a stream that was cut; return why that cannot be had."""
        if not self._last:
            return HttpFault(f"{BROKEN}; it sent {self._odd!r}" if self._odd else BROKEN, cut=not self._odd)
        reason = BROKEN
        for number in range(RESUMES):
            least = SHORTEST_PAUSE if self._news and not number else PAUSE
            await self._response.aclose()
            await asyncio.sleep(max(PAUSE if self._pause is None else self._pause, least))
            try:
                response = await exchange.resumed(self._last)
            except httpx2.TransportError:
                continue
            except HttpFault as fault:
                return HttpFault(f"{BROKEN}; {fault}")
            self._response = response
            if response.status_code == 200 and is_stream(response):
                return None
            reason = f"{BROKEN}; the rest of its answer got the status {response.status_code}"
            if response.status_code not in TRY_AGAIN:
                break
        return HttpFault(reason, cut=True)

    # -- one response

    async def _events(self, response: httpx2.Response) -> AsyncIterator[bytes]:
        self._event.clear()
        first = b""
        pieces = aiter(response.aiter_bytes())
        while len(first.removeprefix(_BOM).strip()) < len(_BOM) and (piece := await anext(pieces, b"")):
            first += piece
        first = first.removeprefix(_BOM)
        beginning = first.lstrip()[:1]
        if beginning in (b"{", b"[") or (beginning == b"<" and self._exchange is not None):
            yield self._whole(await _rest(first, pieces), beginning)
            return
        yield self._ended(first)
        async for piece in pieces:
            yield self._ended(piece)
        rest = bytes(self._event)
        self._event.clear()
        if _is_json(_parts(rest)[1]):  # else it was cut
            yield self._mended(rest)

    def _whole(self, body: bytes, beginning: bytes) -> bytes:
        """Return a body that is no stream as one event, or raise what it is."""
        text = body.decode("utf-8", "replace")
        if beginning != b"<":
            return self._of_messages(messages_in(text) or self._unreadable(text), [])
        raise HttpFault(f"no MCP message but {reason_of(body, 'text/html')!r}", status=200)

    def _ended(self, piece: bytes) -> bytes:
        """Return the events that this piece ends, and keep what follows them."""
        searched = max(0, len(self._event) - 3)
        self._event += piece
        events = bytearray()
        while blank := _BLANK.search(self._event, searched):
            events += self._mended(bytes(self._event[: blank.start()]))
            del self._event[: blank.end()]
            searched = 0
        if len(self._event) > LARGEST:
            if self._exchange is None:
                raise httpx2.SSEError(TOO_LARGE)
            raise HttpFault(TOO_LARGE, status=200)
        return bytes(events)

    def _mended(self, event: bytes) -> bytes:
        """Return an event as the SDK reads it."""
        kind, data, others = _parts(event)
        for line in others:
            name, _, value = line.partition(b":")
            if name == b"id":
                self._news = self._news or value.strip() != self._last
                self._last = value.strip()
            elif name == b"retry" and value.strip().isdigit():
                self._pause = int(value) / 1000
        if data is None:
            return event + b"\n\n"
        text = data.decode("utf-8", "replace")
        messages = messages_in(text)
        if not messages and kind == "error" and self._exchange is not None and (told := _object(text)) is not None:
            messages = [normal({"id": self._exchange.number, "error": told})]
        if not messages and kind == "message" and text.strip():
            messages = self._unreadable(text)
            self._odd = self._odd or " ".join(text.split())[:SHOWN]
            return self._of_messages(messages, others)
        return self._of_messages(messages, others) if messages else self._unknown(kind, text, event)

    def _unknown(self, kind: str, text: str, event: bytes) -> bytes:
        """Return an event that is no message; the SDK knows its kind, or ignores it."""
        return event + b"\n\n"

    def _unreadable(self, text: str) -> list[Message]:
        return unreadable(text) if self._exchange is not None else []

    def _of_messages(self, messages: list[Message], others: list[bytes]) -> bytes:
        kept = [message for message in map(self._own, messages) if message is not None]
        if not kept:
            return b"\n".join(others) + b"\n\n" if others else b""
        return b"".join(self._written(message, others) for message in kept)

    def _own(self, message: Message) -> Message | None:
        """Return a message for the stream; None for the answer to another call, which gets it."""
        exchange = self._exchange
        if exchange is None or "method" in message:
            return message
        if exchange.is_other_call(message.get("id")):
            exchange.deliver(message)
            return None
        self._answered = True
        return numbered(message, exchange.number)

    def _written(self, message: Message, others: list[bytes] | None = None) -> bytes:
        lines = [*(others or []), b"event: message", b"data: " + json.dumps(message).encode()]
        return b"\n".join(lines) + b"\n\n"


class EndpointStream(MessageStream):
    """The stream of the older transport (SSE), whose first event names the address for messages.

    The SDK waits for that event, and for nothing else: what is wrong with it is raised here, through the SDK.
    """

    def __init__(
        self, response: httpx2.Response, deliver: Callable[[Message], None], patience: float | None = None
    ) -> None:
        super().__init__(response)
        self._deliver = deliver
        self._patience = patience  # seconds until the address must be there
        self._is_named = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        events = aiter(self._events(self._response))
        while (event := await self._awaited(events)) is not None:
            yield event
        if not self._is_named:
            raise _stopped(HttpFault("its stream of events ended without the address for messages", status=200))

    async def _awaited(self, events: AsyncIterator[bytes]) -> bytes | None:
        try:
            async with asyncio.timeout(None if self._is_named else self._patience):
                return await anext(events, None)
        except TimeoutError:
            fault = HttpFault("its stream of events does not name the address for messages", status=200)
            raise _stopped(fault) from None

    def _unknown(self, kind: str, text: str, event: bytes) -> bytes:
        if kind != "endpoint":
            return event + b"\n\n"
        if self._is_named:
            return b""  # the SDK takes one only
        base = self._response.request.url
        try:
            address = base.join(text.strip())
        except (httpx2.InvalidURL, ValueError):
            raise _stopped(HttpFault("its address for messages is no URL", status=200)) from None
        if not _is_same_server(base, address):
            reason = f"its address for messages is on another server, {address.copy_with(userinfo=b'', query=None)}"
            raise _stopped(HttpFault(reason, status=200))
        self._is_named = True
        # Without the host: a server behind a proxy often names the scheme and the port that it has there.
        return b"event: endpoint\ndata: " + address.raw_path + b"\n\n"

    def _written(self, message: Message, others: list[bytes] | None = None) -> bytes:
        written = super()._written(message, others)
        if len(written) < LARGEST_OF_SDK:
            return written
        self._deliver(message)
        return b""


def _is_same_server(base: httpx2.URL, address: httpx2.URL) -> bool:
    if base.host != address.host:
        return False
    return base.port == address.port if base.scheme == address.scheme else base.port is None and address.port is None


def _stopped(fault: HttpFault) -> httpx2.SSEError:
    """Return the only error that the SDK lets through from a stream of events, for `unwrapped`."""
    error = httpx2.SSEError(str(fault))
    error.__cause__ = fault
    return error


async def _rest(first: bytes, pieces: AsyncIterator[bytes]) -> bytes:
    body = bytearray(first)
    async for piece in pieces:
        body += piece
        if len(body) > LARGEST:
            raise HttpFault(TOO_LARGE, status=200)
    return bytes(body)


def is_stream(response: httpx2.Response) -> bool:
    """Return whether a response says that it is a stream of events."""
    return "text/event-stream" in response.headers.get("content-type", "").lower()


def _parts(event: bytes) -> tuple[str, bytes | None, list[bytes]]:
    """Return an event's kind, its data (None without any), and its other lines without comments."""
    kind, data, others = "", [], []
    for line in event.splitlines():
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value.decode("utf-8", "replace").strip()
        elif name:
            others.append(line)
    return kind or "message", b"\n".join(data) if data else None, others


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_json(data: bytes | None) -> bool:
    try:
        return isinstance(json.loads(data or b""), (dict, list))
    except (ValueError, RecursionError):
        return False
