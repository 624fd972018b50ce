"""This module is an HTTP client for MCP's transports that turns each failure into the answer of one message only.

The SDK says "Server returned an error response" for every status, and a connection that breaks ends the session with
all calls in it. Here a status of 400 and more, and a connection that fails, come back as a JSON-RPC error with an
`HttpFault` in its `data`: only this call hears of it, and by type. This module needs the package `mcp`.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import httpx2

from kubiya_worker.tools.mcp.faults import HttpFault, challenge_of, reason_of, seconds_of
from kubiya_worker.tools.mcp.messages import messages_in, normal, numbered, unreadable
from kubiya_worker.tools.mcp.oauth import TokenCache

# Random, so that no server can say that a call has not reached it and have it made again.
FAULT: Final = f"fault-{secrets.token_hex(8)}"
CLOSE_TIMEOUT: Final = 2.0  # seconds that a server has to answer the end of its session; nobody waits longer
CONNECT_TIMEOUT: Final = 15.0  # seconds
SESSION: Final = "mcp-session-id"
_CODE: Final = -32000
_BOM: Final = b"\xef\xbb\xbf"
_BLANK: Final = re.compile(rb"\n\n|\r\n\r\n|\r\r")  # the end of an event
_ODD: Final = re.compile(rb"^data: ?\[|^event: ?(?!message\s*$)", re.MULTILINE)  # a list, or an event of another name
_ERROR: Final = re.compile(rb"^event: ?error\s*$", re.MULTILINE)
Inject = Callable[[dict[str, Any]], None]


def fault_in(data: Any) -> HttpFault | None:
    """Return the fault in the `data` of a JSON-RPC error, if this client has put one there."""
    fields = data.get(FAULT) if isinstance(data, Mapping) else None
    return HttpFault(**fields) if isinstance(fields, Mapping) else None


class McpHttpClient(httpx2.AsyncClient):
    """The client of one session.

    `inject` is for a transport that reads its answers elsewhere (SSE), and gets the error's JSON-RPC message.
    """

    def __init__(self, *, tokens: TokenCache | None = None, inject: Inject | None = None, **more: Any) -> None:
        more["timeout"] = httpx2.Timeout(CONNECT_TIMEOUT, read=None)  # each call has a limit of its own
        super().__init__(**more)
        self._tokens, self._inject = tokens, inject
        # The client that asks for tokens: it has none of the server's own headers, which are not for others.
        self._token_client: httpx2.AsyncClient | None = None

    async def aclose(self) -> None:
        if self._token_client is not None:
            await self._token_client.aclose()
        await super().aclose()

    async def __aexit__(self, *about: Any) -> None:
        if self._token_client is not None:
            await self._token_client.aclose()
        await super().__aexit__(*about)

    async def send(self, request: httpx2.Request, **more: Any) -> httpx2.Response:
        if request.method == "DELETE":
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    return await self._authorized(request, **more)
            except TimeoutError:
                raise httpx2.ReadTimeout("the session's end was not answered", request=request) from None
        if request.method != "POST":
            return await self._opened(request, **more)
        message = _message_of(await request.aread())
        try:
            response = await self._authorized(request, **more)
            if not response.headers.get(SESSION, "").isascii():
                await response.aclose()
                reason = "its Mcp-Session-Id holds characters that no header takes"
                return self._error_response(request, message, HttpFault(reason, status=response.status_code))
            if response.status_code < 400:
                if "text/event-stream" in response.headers.get("content-type", "").lower():
                    return _stream(response, message.get("id") if "method" in message else None)
                if response.has_redirect_location:
                    return response
                await response.aread()  # here, where a connection that breaks is told to this call only
                return self._answer(request, message, response)
            await response.aread()
        except HttpFault as error:
            return self._error_response(request, message, error)
        except httpx2.TransportError as error:
            return self._error_response(request, message, _broken(error))
        except httpx2.RequestError as error:  # such as a body that is not encoded as its header says
            return self._error_response(request, message, HttpFault(f"its answer cannot be read: {error}", status=200))
        reason = reason_of(response.content, response.headers.get("content-type", ""))
        reason = reason or challenge_of(response.headers.get("www-authenticate"))
        fault = HttpFault(
            reason,
            status=response.status_code,
            retry_after=seconds_of(response.headers.get("retry-after")),
            in_session=SESSION in request.headers,
        )
        await response.aclose()
        return self._error_response(request, message, fault)

    def _answer(
        self, request: httpx2.Request, message: Mapping[str, Any], response: httpx2.Response
    ) -> httpx2.Response:
        """Return the answer in a body, whatever type and number the server gave it, or the fault that it is none."""
        number = message.get("id")
        if number is None or "method" not in message or self._inject is not None:
            return response
        headers = {SESSION: response.headers[SESSION]} if SESSION in response.headers else {}
        text = response.content.decode("utf-8", "replace").removeprefix("\ufeff")
        if text.startswith(("data:", "event:", "id:", ":")):
            headers["content-type"] = "text/event-stream"
            return httpx2.Response(200, text=f"{text}\n\n", headers=headers, request=request)
        answers = [parsed for parsed in messages_in(text) or unreadable(text) if "method" not in parsed]
        answer = next((parsed for parsed in answers if parsed.get("id") == number), None) or next(iter(answers), None)
        if answer is None:
            reason_given = reason_of(response.content, response.headers.get("content-type", ""))
            reason = f"no MCP message but {reason_given!r}" if reason_given else "without the answer that is due"
            return self._error_response(request, message, HttpFault(reason, status=response.status_code))
        return httpx2.Response(200, json=numbered(answer, number), headers=headers, request=request)

    async def _opened(self, request: httpx2.Request, **more: Any) -> httpx2.Response:
        """Open a stream. For SSE it is the beginning of the session: why it cannot be had is worth telling."""
        if self._inject is None:
            return await self._authorized(request, **more)
        try:
            response = await self._authorized(request, **more)
        except httpx2.TransportError as error:
            raise _broken(error) from error
        if response.status_code >= 400:
            await response.aread()
            reason = reason_of(response.content, response.headers.get("content-type", ""))
            after = seconds_of(response.headers.get("retry-after"))
            raise HttpFault(reason, status=response.status_code, retry_after=after)
        return response

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

    def _error_response(self, request: httpx2.Request, message: Mapping[str, Any], fault: HttpFault) -> httpx2.Response:
        """Return the answer to the message that says `fault`; nobody waits for one to a notification."""
        number = message.get("id")
        if number is None or "method" not in message:
            return httpx2.Response(202, request=request)
        answer = _failed(number, fault)
        if self._inject is not None:
            self._inject(answer)
            return httpx2.Response(202, request=request)
        return httpx2.Response(200, json=answer, request=request)


class _WholeStream(httpx2.AsyncByteStream):
    """A stream of events as the SDK reads it: without a byte order mark, and with the end of the last event.

    An event that was cut gets no end, so that the SDK can ask for it again. JSON in place of events becomes one, and
    several messages in one event become several events. A web page, and an event of an error that is no message, become
    the error of the call `number`.
    """

    def __init__(self, inner: Any, number: Any = None) -> None:
        self._inner = inner
        self._number = number
        self._event = bytearray()  # the bytes since the last blank line

    async def __aiter__(self) -> AsyncIterator[bytes]:
        first = b""
        pieces = aiter(self._inner)
        while len(first.removeprefix(_BOM).strip()) < len(_BOM) and (piece := await anext(pieces, b"")):
            first += piece
        first = first.removeprefix(_BOM)
        beginning = first.lstrip()[:1]
        if beginning in (b"{", b"[") or (beginning == b"<" and self._number is not None):
            body = b"".join([first, *[piece async for piece in pieces]])
            if beginning == b"<":
                reason = f"no MCP message but {reason_of(body, 'text/html')!r}"
                body = json.dumps(_failed(self._number, HttpFault(reason, status=200))).encode()
            yield b"data: " + b" ".join(body.split(b"\n")) + b"\n\n"
            return
        yield self._ended(first)
        async for piece in pieces:
            yield self._ended(piece)
        rest = bytes(self._event)
        yield self._mended(rest) + b"\n\n" if isinstance(_data_of(rest), (dict, list)) else rest

    def _ended(self, piece: bytes) -> bytes:
        """Return the events that this piece ends, and keep what follows them."""
        searched = max(0, len(self._event) - 3)
        self._event += piece
        events = bytearray()
        while blank := _BLANK.search(self._event, searched):
            events += self._mended(bytes(self._event[: blank.start()])) + blank[0]
            del self._event[: blank.end()]
            searched = 0
        return bytes(events)

    def _mended(self, event: bytes) -> bytes:
        """Return an event as it is, or with its messages as the SDK reads them: one in each event."""
        if not _ODD.search(event) and b'"jsonrpc"' in event and (b'"id"' in event or b'"method"' in event):
            return event
        data = _data_of(event)
        messages = messages_in(json.dumps(data)) if isinstance(data, (dict, list)) else []
        if not messages and isinstance(data, dict) and self._number is not None and _ERROR.search(event):
            messages = [normal({"id": self._number, "error": data})]
        if not messages:
            return event
        if self._number is not None:
            messages = [
                numbered(one, self._number) if one.get("id") is None and "method" not in one else one
                for one in messages
            ]
        fields = [line for line in event.splitlines() if line and not line.startswith((b"data:", b"event:"))]
        fields.append(b"event: message")
        return b"\n\n".join(b"\n".join([*fields, b"data: " + json.dumps(one).encode()]) for one in messages)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _failed(number: Any, fault: HttpFault) -> dict[str, Any]:
    """Return the JSON-RPC error by which the call of this number hears of a fault."""
    return {
        "jsonrpc": "2.0",
        "id": number,
        "error": {"code": _CODE, "message": str(fault), "data": {FAULT: fault.wire()}},
    }


def _data_of(event: bytes) -> Any:
    """Return the JSON of an event; None for another one."""
    data = b"\n".join(line[5:] for line in event.splitlines() if line.startswith(b"data:"))
    try:
        return json.loads(data) if data else None
    except (ValueError, RecursionError):
        return None


def _stream(response: httpx2.Response, number: Any) -> httpx2.Response:
    if "content-encoding" not in response.headers:
        response.stream = _WholeStream(response.stream, number)
    return response


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
    before = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
    if isinstance(error, before):
        return HttpFault(" ".join(str(error).split())[:200] or type(error).__name__, sent=False)
    return HttpFault("the connection broke while it worked; the outcome is unknown")
