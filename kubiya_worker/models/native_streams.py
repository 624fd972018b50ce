"""This module reads the streams of Anthropic, Google and Bedrock before their packages do, and hands on what is clean.

The bytes are read by the rules for all servers (wire/framing.py), errors are found wherever they stand, and each event
gets the form that the package expects. `StreamError`, `NoStream`, `Stopped` and `Unreadable` pass through the packages.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, Protocol

import httpx2

from kubiya_worker.models.faults import NoStream, Stopped, StreamError
from kubiya_worker.models.provider_report import ProviderReport
from kubiya_worker.models.wire import framing
from kubiya_worker.models.wire.converse_events import ConverseEvents
from kubiya_worker.models.wire.framing import Body, StreamEvent
from kubiya_worker.models.wire.native_blocks import Unreadable

_JSON: Final = ("{", "[", '"')  # the first characters of what was to be an object
_SHOWN: Final = 200  # characters shown of an event that is no JSON
_OTHER_KINDS: Final = ("html", "json", "text/")  # of content that is no stream of Bedrock's
_READ: Final = ("contentBlockStart", "contentBlockDelta", "messageStop")  # events of Bedrock's that carry an answer
# Bedrock's exceptions within a stream, with the status that the same one has in a failed answer.
_STATUS: Final = {
    "validationException": 400,
    "modelTimeoutException": 408,
    "modelStreamErrorException": 424,
    "throttlingException": 429,
    "internalServerException": 500,
    "serviceUnavailableException": 503,
}

Written = Callable[[Mapping[str, Any]], bytes]


class Shaper(Protocol):
    """A maker of well-formed events, such as AnthropicEvents."""

    begun: bool

    def error_in(self, value: Mapping[str, Any], name: str) -> Any: ...

    def feed(self, value: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]: ...

    def end(self, *, told: bool) -> Iterator[dict[str, Any]]: ...


def anthropic_bytes(event: Mapping[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def google_bytes(chunk: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(chunk)}\n\n".encode()


class CleanStream(httpx2.AsyncByteStream):
    """The body of a response as its package reads it."""

    def __init__(self, response: httpx2.Response, shaper: Shaper, written: Written) -> None:
        # The original stream, under its own encoding.
        self._source = httpx2.Response(
            response.status_code, headers=response.headers, stream=response.stream, request=response.request
        )
        self._shaper = shaper
        self._written = written
        self._other = ""  # what came that is no part of an answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        told = False
        async for event in self._events():
            if event.end:
                told = True
                continue
            for value in self._objects(event):
                for made in self._shaper.feed(value, event.name):
                    yield self._written(made)
                stopped = getattr(self._shaper, "stopped", None)
                if stopped:
                    raise Stopped(*stopped)
        if not self._shaper.begun:
            raise NoStream(self._other, self._source.headers)
        for made in self._shaper.end(told=told):
            yield self._written(made)

    async def aclose(self) -> None:
        await self._source.aclose()

    async def _events(self) -> AsyncIterator[StreamEvent]:
        body = Body(self._source, _unlimited)
        await body.open()
        if body.kind == framing.EVENTS:
            async for event in body.events():
                yield event
            self._other = self._other or body.unread
            return
        text = await body.text()
        values = framing.documents(text) if body.kind == framing.JSON else None
        if body.broken is not None and values is None:
            raise body.broken
        if values is None:
            raise NoStream(text, self._source.headers)
        for value in values:
            yield StreamEvent("", json.dumps(value, ensure_ascii=False), value)
        if body.broken is not None:
            raise body.broken

    def _objects(self, event: StreamEvent) -> Iterator[Mapping[str, Any]]:
        """Yield the objects of an event; raise StreamError for an error."""
        if event.value is None:
            if event.name == "error":
                raise StreamError(ProviderReport(None, event.text, in_stream=True))
            if event.text[:1] in _JSON and event.name != "stray":
                shown = event.text if len(event.text) <= _SHOWN else f"{event.text[:_SHOWN]}…"
                raise Unreadable(f"an event that is no JSON: {shown}")
            self._other = self._other or event.text
            return
        for value in event.value if isinstance(event.value, list) else [event.value]:
            if not isinstance(value, Mapping):
                continue
            wrong = self._shaper.error_in(value, event.name)
            if wrong is not None:
                raise StreamError.of(wrong, self._source.headers)
            yield value
            self._other = self._other or event.text


class ConverseStream:
    """The event stream of a response as pydantic-ai reads it; it is read in a thread."""

    def __init__(self, response: Mapping[str, Any]) -> None:
        self._stream = response["stream"]
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        self._headers: Mapping[str, str] = headers
        self._raw_stream = vars(self._stream).get("_raw_stream")  # pydantic-ai closes its socket to end a read

    def close(self) -> None:
        self._stream.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        kind = str(self._headers.get("content-type") or "").lower()
        shaper = ConverseEvents()
        if any(word in kind for word in _OTHER_KINDS):
            yield from self._whole(shaper)
            return
        for message in vars(self._stream)["_event_generator"]:
            headers, payload = message.headers, message.payload.decode("utf-8", "replace")
            value = _object(payload)
            wrong = headers.get(":exception-type") or headers.get(":error-code")
            name = str(wrong or headers.get(":event-type") or "")
            if wrong:
                said = value or {"message": str(headers.get(":error-message") or payload.strip("{} "))}
                report = ProviderReport(_STATUS.get(name), {"code": name, **said}, in_stream=True)
                raise StreamError(report)
            if payload.strip() and not value and name in _READ:
                raise Unreadable(f"an event that is no JSON: {payload[:_SHOWN]}")
            yield from shaper.feed(name, value)

    def _whole(self, shaper: ConverseEvents) -> Iterator[dict[str, Any]]:
        raw: Any = self._raw_stream
        text = b"".join(raw.stream()).decode("utf-8", "replace")
        answer = _object(text)
        if "output" not in answer:
            raise NoStream(text, self._headers)
        yield from shaper.whole(answer)


def _object(text: str) -> dict[str, Any]:
    """Return the object in a text; an empty one for anything else."""
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


async def _unlimited(awaitable: Awaitable[bytes]) -> bytes:
    return await awaitable  # models/session.py and models/events.py limit each piece
