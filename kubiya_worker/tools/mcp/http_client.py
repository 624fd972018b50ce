"""This module is an HTTP client for MCP's transports that turns each failure into the answer of one message only.

The SDK says "Server returned an error response" for every status, and a connection that breaks ends the session with
all calls in it. Here a status of 400 and more, and a connection that fails, come back as a JSON-RPC error with an
`HttpFault` in its `data`: only this call hears of it, and by type. This module needs the package `mcp`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import ssl
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import httpx2
from mcp.shared._httpx_utils import next_request_within_origin, redirect_location

from kubiya_worker.tools.mcp import faults
from kubiya_worker.tools.mcp.event_stream import LARGEST, TOO_LARGE, EndpointStream, MessageStream, is_stream
from kubiya_worker.tools.mcp.faults import BROKEN, HttpFault, reason_of, seconds_of
from kubiya_worker.tools.mcp.messages import Message, messages_in, numbered, unreadable
from kubiya_worker.tools.mcp.oauth import TokenCache

# Random, so that no server can say that a call has not reached it and have it made again.
FAULT: Final = f"fault-{secrets.token_hex(8)}"
CLOSE_TIMEOUT: Final = 2.0  # seconds that a server has to answer the end of its session; nobody waits longer
CONNECT_TIMEOUT: Final = 15.0  # seconds
PATIENCE: Final = 3.0  # seconds that other messages wait for the answer to one that needs none
REASON_READ: Final = 65_536  # bytes that are read of the body of an error
SHORT_STREAM: Final = 5.0  # seconds; a server that ends its streams sooner is asked ever more rarely
GET_PAUSES: Final = (1.0, 30.0)  # seconds between two such streams: at first, at most
SESSION: Final = "mcp-session-id"
_CODE: Final = -32000
_CHARSET: Final = re.compile(r'charset="?([\w.:-]+)', re.IGNORECASE)
Deliver = Callable[[Message], None]


def fault_in(data: Any) -> HttpFault | None:
    """Return the fault in the `data` of a JSON-RPC error, if this client has put one there."""
    fields = data.get(FAULT) if isinstance(data, Mapping) else None
    return HttpFault(**fields) if isinstance(fields, Mapping) else None


class McpHttpClient(httpx2.AsyncClient):
    """The client of one session.

    `deliver` takes a message for the session that is not the answer to the request. With `apart` all answers come in a
    stream of their own (SSE), which has to name the address for messages within `patience` seconds.
    """

    def __init__(
        self,
        *,
        tokens: TokenCache | None = None,
        deliver: Deliver = lambda message: None,
        apart: bool = False,
        patience: float | None = None,
        **more: Any,
    ) -> None:
        more["timeout"] = httpx2.Timeout(CONNECT_TIMEOUT, read=None)  # each call has a limit of its own
        super().__init__(**more)
        self._tokens, self.deliver, self._apart, self._patience = tokens, deliver, apart, patience
        # The client that asks for tokens: it has none of the server's own headers, which are not for others.
        self._token_client: httpx2.AsyncClient | None = None
        self.exchanges: dict[Any, _Exchange] = {}  # the calls under way, by their numbers
        self._tasks: set[asyncio.Task[httpx2.Response]] = set()  # messages whose answer nobody waits for any more
        self._opened_at = 0.0  # monotonic: when the last stream was asked for
        self._get_pause = 0.0  # seconds before the next one

    async def aclose(self) -> None:
        await self._end()
        await super().aclose()

    async def __aexit__(self, *about: Any) -> None:
        await self._end()
        await super().__aexit__(*about)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._token_client is not None:
            await self._token_client.aclose()

    async def send(self, request: httpx2.Request, **more: Any) -> httpx2.Response:
        if request.method == "DELETE":
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    return await self._authorized(request, **more)
            except TimeoutError:
                raise httpx2.ReadTimeout("the session's end was not answered", request=request) from None
        if request.method != "POST":
            return await self._opened(request, **more)
        message = dict(_message_of(await request.aread()))
        if "method" not in message or message.get("id") is None:
            self._note_given_up(message)
            return await self._soon(request, self._told(request, **more))
        if self._apart:
            return await self._soon(request, self._sent_apart(request, message, **more))
        exchange = _Exchange(self, request, message["id"])
        self.exchanges[exchange.number] = exchange
        streams = False
        try:
            response = await self._called(exchange, message, **more)
            streams = isinstance(response.stream, MessageStream)
            return response
        except HttpFault as fault:
            return exchange.answer(exchange.failed(fault))
        finally:
            if not streams:
                exchange.end()

    # -- a call

    async def _called(self, exchange: _Exchange, message: Message, **more: Any) -> httpx2.Response:
        request = exchange.request
        in_session = SESSION in request.headers
        response = await self._answered(request, in_session, **more)
        if response.has_redirect_location:
            return response
        headers = {SESSION: response.headers[SESSION]} if SESSION in response.headers else {}
        if is_stream(response):
            # Without a charset: such a stream is always UTF-8, and some servers write another one.
            headers["content-type"] = "text/event-stream"
            return httpx2.Response(200, stream=MessageStream(response, exchange), headers=headers, request=request)
        body = await _whole(response)
        text = _text_of(body, response.headers.get("content-type", ""))
        if text.startswith(("data:", "event:", "id:", ":")):
            headers["content-type"] = "text/event-stream"
            events = MessageStream(httpx2.Response(200, text=f"{text}\n\n", request=request), exchange)
            return httpx2.Response(200, stream=events, headers=headers, request=request)
        answer = self._own_answer(exchange, messages_in(text) or unreadable(text))
        if answer is None:
            reason_given = reason_of(body, response.headers.get("content-type", ""))
            reason = f"no MCP message but {reason_given!r}" if reason_given else "without the answer that is due"
            reason += "; the outcome is unknown" if message["method"] == "tools/call" else ""
            raise HttpFault(reason, status=response.status_code, in_session=in_session)
        return exchange.answer(numbered(answer, exchange.number), headers)

    def _own_answer(self, exchange: _Exchange, messages: list[Message]) -> Message | None:
        """Return the answer to a call out of the messages that came; each other one goes to where it belongs."""
        own: Message | None = None
        for message in messages:
            if "method" in message or exchange.is_other_call(message.get("id")):
                self.deliver(message)
            elif own is None or message.get("id") == exchange.number:
                own = message
        return own

    async def _answered(self, request: httpx2.Request, in_session: bool, **more: Any) -> httpx2.Response:
        """Send a call and return its response, whose body is not read yet. Raises HttpFault."""
        try:
            response = await self._authorized(request, **more)
        except httpx2.TransportError as error:
            raise _broken(error) from error
        if not response.headers.get(SESSION, "").isascii():
            await response.aclose()
            reason = "its Mcp-Session-Id holds characters that no header takes"
            raise HttpFault(reason, status=response.status_code)
        if response.status_code < 400:
            return response
        body = await _beginning(response)
        reason = reason_of(body, response.headers.get("content-type", ""))
        raise HttpFault(
            reason or faults.challenge_of(response.headers.get("www-authenticate")),
            status=response.status_code,
            retry_after=seconds_of(response.headers.get("retry-after")),
            in_session=in_session,
            code=faults.code_of(body),
            data=faults.data_of(body),
        )

    async def resumed(self, request: httpx2.Request, last: bytes) -> httpx2.Response:
        """Ask for what follows the event `last` of the stream that answered `request`."""
        kept = [(name.encode(), request.headers[name].encode()) for name in _OF_SESSION if name in request.headers]
        headers = [*kept, (b"accept", b"text/event-stream"), (b"last-event-id", last)]
        again = self.build_request("GET", request.url, headers=headers)
        return await self._authorized(again, stream=True, follow_redirects=False)

    # -- what needs no answer

    async def _soon(self, request: httpx2.Request, work: Coroutine[Any, Any, httpx2.Response]) -> httpx2.Response:
        """Return the response to a message, or go on without it: the SDK sends no other message until then."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            done, _ = await asyncio.wait({task}, timeout=PATIENCE)
        except asyncio.CancelledError:
            task.cancel()
            raise
        return task.result() if done else httpx2.Response(202, request=request)

    async def _told(self, request: httpx2.Request, **more: Any) -> httpx2.Response:
        """Send a notification, or the answer to a server's request. Nobody hears of its failure."""
        try:
            response = await self._authorized(request, **more)
            if is_stream(response):
                await response.aclose()
            elif not response.has_redirect_location:
                await _beginning(response)
        except (httpx2.RequestError, HttpFault):
            return httpx2.Response(202, request=request)
        return response if response.has_redirect_location else httpx2.Response(202, request=request)

    async def _sent_apart(self, request: httpx2.Request, message: Message, **more: Any) -> httpx2.Response:
        """Send a call whose answer comes in another stream; a failure is delivered as the answer."""
        in_session = message["method"] != "initialize"
        try:
            response = await self._answered(request, in_session, **more)
            if response.has_redirect_location:
                return _followed(response)
            body = await _whole(response)
            if faults.is_page(body):
                reason = f"no MCP message but {reason_of(body, 'text/html')!r}"
                raise HttpFault(reason, status=response.status_code)
            for answer in messages_in(_text_of(body, response.headers.get("content-type", ""))):
                self.deliver(answer)  # some servers answer here
        except HttpFault as fault:
            self.deliver(_failed(message["id"], fault))
        return httpx2.Response(202, request=request)

    def _note_given_up(self, message: Mapping[str, Any]) -> None:
        if message.get("method") == "notifications/cancelled":
            exchange = self.exchanges.get((message.get("params") or {}).get("requestId"))
            if exchange is not None:
                exchange.given_up = True

    # -- streams of their own

    async def _opened(self, request: httpx2.Request, **more: Any) -> httpx2.Response:
        """Open a stream. For SSE it is the beginning of the session: why it cannot be had is worth telling."""
        if not self._apart:
            await self._pace()
            response = await self._authorized(request, **more)
            return response if response.status_code != 200 else _streamed(request, response, MessageStream(response))
        try:
            response = await self._authorized(request, **more)
        except httpx2.TransportError as error:
            raise _broken(error) from error
        if response.has_redirect_location:
            return _followed(response)
        kind = response.headers.get("content-type", "")
        if response.status_code < 400 and is_stream(response):
            return _streamed(request, response, EndpointStream(response, self.deliver, self._patience))
        body = await _beginning(response)
        reason = reason_of(body, kind) or faults.challenge_of(response.headers.get("www-authenticate"))
        if response.status_code < 400:
            reason = f"no stream of events but {reason!r}" if reason else "without a stream of events"
        after = seconds_of(response.headers.get("retry-after"))
        raise HttpFault(reason, status=response.status_code, retry_after=after)

    async def _pace(self) -> None:
        """Wait, so that a server that ends its stream at once is not asked again and again."""
        least, most = GET_PAUSES
        lasted = time.monotonic() - self._opened_at
        self._get_pause = min(max(2 * self._get_pause, least), most) if lasted < SHORT_STREAM else 0.0
        if self._opened_at:
            await asyncio.sleep(self._get_pause)
        self._opened_at = time.monotonic()

    async def _authorized(self, request: httpx2.Request, **more: Any) -> httpx2.Response:
        """Send it with a token, where there are credentials for one; once more with a new one after a 401."""
        if self._tokens is None:
            return await super().send(request, **more)
        if self._token_client is None:
            self._token_client = httpx2.AsyncClient(timeout=CONNECT_TIMEOUT)
        token = await self._tokens.get(self._token_client)
        request.headers["Authorization"] = f"Bearer {token}"
        response = await super().send(request, **more)
        if response.status_code != 401:
            return response
        await response.aclose()
        request.headers["Authorization"] = f"Bearer {await self._tokens.get(self._token_client, refused=token)}"
        return await super().send(request, **more)


_OF_SESSION: Final = (SESSION, "mcp-protocol-version")


class _Exchange:
    """One call under way."""

    def __init__(self, client: McpHttpClient, request: httpx2.Request, number: Any) -> None:
        self._client, self.request, self._number = client, request, number
        self.given_up = False

    @property
    def number(self) -> Any:
        return self._number

    def is_other_call(self, number: Any) -> bool:
        number = int(number) if isinstance(number, str) and number.isdecimal() else number
        return number != self._number and number in self._client.exchanges

    def end(self) -> None:
        """Nobody reads its answer any more."""
        if self._client.exchanges.get(self._number) is self:
            del self._client.exchanges[self._number]

    def is_given_up(self) -> bool:
        return self.given_up

    def deliver(self, message: Message) -> None:
        self._client.deliver(message)

    def failed(self, fault: HttpFault) -> Message:
        return _failed(self._number, fault)

    async def resumed(self, last: bytes) -> httpx2.Response:
        return await self._client.resumed(self.request, last)

    def answer(self, message: Message, headers: Mapping[str, str] = {}) -> httpx2.Response:
        body = json.dumps(message).encode()
        headers = {**headers, "content-type": "application/json"}
        return httpx2.Response(200, content=body, headers=headers, request=self.request)


def _failed(number: Any, fault: HttpFault) -> Message:
    """Return the JSON-RPC error by which the call of this number hears of a fault."""
    data = {**fault.data, FAULT: fault.wire()}
    return {"jsonrpc": "2.0", "id": number, "error": {"code": _CODE, "message": str(fault), "data": data}}


def _followed(response: httpx2.Response) -> httpx2.Response:
    """Return a redirect that the SDK follows, which is one on the same server; raise HttpFault for another one."""
    following = next_request_within_origin(response)
    if following is not None and following.url != response.request.url:
        return response
    reason = f"it redirects to {redirect_location(response)}, which is not followed"
    raise HttpFault(reason, status=response.status_code)


async def _whole(response: httpx2.Response) -> bytes:
    """Return the body of an answer. Raises HttpFault."""
    body = bytearray()
    try:
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > LARGEST:
                raise HttpFault(TOO_LARGE, status=response.status_code, in_session=True)
    except httpx2.TransportError as error:
        raise _broken(error) from error
    except httpx2.RequestError as error:  # such as a body that is not encoded as its header says
        reason = f"its answer cannot be read: {error}"
        raise HttpFault(reason, status=response.status_code, in_session=True) from error
    finally:
        await response.aclose()
    return bytes(body)


async def _beginning(response: httpx2.Response) -> bytes:
    """Return what can be had of a body soon, and give up the rest."""
    body = bytearray()
    with contextlib.suppress(TimeoutError, httpx2.RequestError):
        async with asyncio.timeout(PATIENCE):
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > REASON_READ:
                    break
    await response.aclose()
    return bytes(body)


def _text_of(body: bytes, content_type: str) -> str:
    """Return the text of a body: JSON is UTF-8, but some servers write it as their `charset` says."""
    charset = _CHARSET.search(content_type)
    for encoding in (json.detect_encoding(body), charset[1] if charset else "utf-8"):
        with contextlib.suppress(UnicodeDecodeError, LookupError):
            return body.decode(encoding).removeprefix("\ufeff")
    return body.decode("utf-8", "replace").removeprefix("\ufeff")


def _streamed(request: httpx2.Request, response: httpx2.Response, stream: MessageStream) -> httpx2.Response:
    """Return a response with its events as the SDK reads them: decoded, and as UTF-8."""
    kind = "text/event-stream" if is_stream(response) else response.headers.get("content-type", "")
    return httpx2.Response(response.status_code, stream=stream, headers={"content-type": kind}, request=request)


def _message_of(body: bytes) -> Mapping[str, Any]:
    try:
        message = json.loads(body)
    except ValueError:
        return {}
    return message if isinstance(message, Mapping) else {}


def _broken(error: httpx2.TransportError) -> HttpFault:
    """Return the fault of a failed connection.

    If the request was not yet written, the server certainly did not get it.
    """
    if isinstance(error, httpx2.LocalProtocolError):  # its words hold the header, and so perhaps a key
        return HttpFault("the request cannot be sent as it is; check `url` and `headers`")
    before = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
    if not isinstance(error, before):
        return HttpFault(BROKEN, cut=True)
    tls = _tls_error(error)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return HttpFault(f"its certificate is not trusted: {tls.verify_message}", sent=False, remedy=_CA)
    if tls is not None:
        return HttpFault(f"it does not speak TLS as this worker does: {tls.reason}", sent=False, remedy=_TLS)
    return HttpFault(" ".join(str(error).split())[:200] or type(error).__name__, sent=False)


_CA: Final = "Set KUBIYA_CA_FILE on the worker to the file of its CA, or correct the server's `url`"
_TLS: Final = "Check whether the server's `url` begins with `https` or `http`"


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    """Return the error of TLS for which a connection failed."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    return cause
