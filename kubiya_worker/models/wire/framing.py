"""This module reads an answer's body as events: a standard event stream, or what some servers send instead."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from kubiya_worker.models.wire.stray_lines import StrayLines

EVENTS: Final = "events"
JSON: Final = "json"
PAGE: Final = "page"
TEXT: Final = "text"
NOTHING: Final = "nothing"

LARGEST: Final = 16 * 1024 * 1024  # bytes of one event, and of a body that is not a stream

_BOM: Final = b"\xef\xbb\xbf"
_ENOUGH: Final = 16  # bytes at the beginning of a body that are enough to recognise its form
_FIELD: Final = re.compile(rb"(data|event|id|retry)?[ \t]*:", re.IGNORECASE)
_END: Final = ("[DONE]", "DONE")
_END_NAMES: Final = (
    "done",
    "end",
    "close",
    "complete",
    "completed",
    "finish",
    "finished",
    "eos",
)  # names of a last event
# Names of events that carry an answer or an error: OpenAI's, then Anthropic's.
_CARRYING: Final = (
    *("", "message", "error"),
    *("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"),
)
_LARGEST_PRINTED: Final = 1_000_000  # characters
_QUOTED: Final = 2  # how often an object may have been encoded as a text

Wait = Callable[[Awaitable[bytes]], Awaitable[bytes]]  # limits how long to wait for the next bytes


@dataclass(frozen=True)
class StreamEvent:
    """One event; `value` is its JSON, or None when `text` is not JSON, and `end` marks the last one."""

    name: str
    text: str
    value: Any = None
    end: bool = False


class Body:
    """The body of a response; `kind` is known after `open()`, and `wait` limits how long each piece may take."""

    def __init__(self, response: httpx2.Response, wait: Wait) -> None:
        self._response = response
        self._wait = wait
        self._source = aiter(response.aiter_bytes())
        self._first = b""
        self.kind = NOTHING
        self.unread = ""  # the first line of a stream that is no field, for an error if nothing else comes
        self.broken: httpx2.HTTPError | None = None  # why the connection ended before `text()` had all bytes

    async def open(self) -> None:
        """Read as much as is needed to recognise the form; the bytes decide, as a proxy may have set a wrong header."""
        while True:
            piece = await self._next()
            self._first += piece
            start = self._first.removeprefix(_BOM).lstrip()
            if not piece or len(start) >= _ENOUGH or b"\n" in start:
                break
        declared = str(self._response.headers.get("content-type") or "").lower()
        self.kind = kind_of(start, declared)

    async def events(self) -> AsyncIterator[StreamEvent]:
        """Yield the events of a stream; fields, line ends and comments are read as the standard says.

        An event that the end of the body leaves open counts, because some servers omit the last empty line.
        """
        headers = {"content-type": "text/event-stream; charset=utf-8"}
        stream = httpx2.Response(200, headers=headers, stream=_Pieces(self._lines()), request=self._response.request)
        async for event in httpx2.EventSource(stream, max_event_size=LARGEST):
            for read in events_of(event.event, event.data):
                yield read

    async def text(self) -> str:
        """Return the whole body, up to the largest size."""
        read = bytearray(self._first)
        try:
            while len(read) < LARGEST and (piece := await self._next()):
                read += piece
        except httpx2.HTTPError as error:
            self.broken = error  # what came may be whole all the same
        return bytes(read).removeprefix(_BOM).decode("utf-8", "replace")

    async def _lines(self) -> AsyncIterator[bytes]:
        lines = StrayLines()
        yield lines.feed(self._first.removeprefix(_BOM))
        while piece := await self._next():
            yield lines.feed(piece)
        yield lines.flush() + b"\n\n"
        self.unread = lines.unread.decode("utf-8", "replace").strip()

    async def _next(self) -> bytes:
        return await self._wait(anext(self._source, b""))


class _Pieces(httpx2.AsyncByteStream):
    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces:
            yield piece


def kind_of(start: bytes, declared: str) -> str:
    """Return a body's form by its first bytes or, when these do not show it, by its declared type."""
    if not start:
        return NOTHING
    if _FIELD.match(start):
        return EVENTS
    if start[:1] in (b"{", b"["):
        return JSON
    if start[:1] == b"<":
        return PAGE
    return EVENTS if "event-stream" in declared else TEXT


def events_of(name: str, text: str) -> list[StreamEvent]:
    """Return the events of one block: several if a server leaves out the empty lines between them."""
    read = event_of(name, text)
    if read is None:
        return []
    if read.value is None and not read.end and "\n" in text:
        parts = [event_of(name, line) for line in text.split("\n")]
        if all(part is None or part.end or part.value is not None for part in parts):
            return [part for part in parts if part is not None]
    values = None if read.value is not None or read.end else _glued(read.text)
    return [read] if values is None else [StreamEvent(name, json.dumps(value), value) for value in values]


def event_of(name: str, text: str) -> StreamEvent | None:
    """Return the event, or None for an empty one (no data, or a name that only keeps a connection alive)."""
    text = text.strip(" \t\r\n\0").rstrip(",")
    while text.startswith("data:"):  # a proxy has added a second "data:"
        text = text[5:].strip()
    if (
        text.strip('"').upper() in _END
        or (name in _END_NAMES and text[:1] != "{")
        or (name in _END_NAMES and text == "{}")
    ):
        return StreamEvent(name, text, end=True)
    if text in ("", "null"):
        return None
    try:
        return StreamEvent(name, text, _decoded(text))
    except (ValueError, RecursionError):
        printed = _printed(text)
        if printed is not None:
            return StreamEvent(name, text, printed)
        # An unreadable event matters only if its name says that it carries an answer or an error.
        return StreamEvent(name, text) if name in _CARRYING else None


def _printed(text: str) -> dict[str, Any] | None:
    """Return the object that a server of Python has printed as Python writes it; None for anything else."""
    if not text.startswith("{'") or len(text) > _LARGEST_PRINTED:
        return None
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return value if isinstance(value, dict) else None


def _decoded(text: str) -> Any:
    """Return the value of a JSON text; an object that was encoded as a text is that object. Raises ValueError."""
    value = json.loads(text, strict=False)
    for _ in range(_QUOTED):
        if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
            break
        value = json.loads(value, strict=False)
    return value


def _glued(text: str) -> list[Any] | None:
    """Return the values of a text that holds several with nothing between them; None for any other text."""
    values: list[Any] = []
    at, reader = 0, json.JSONDecoder(strict=False)
    while at < len(text):
        if text[at : at + 1] not in ("{", "["):
            return None
        try:
            value, at = reader.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        values.append(value)
        at = len(text) - len(text[at:].lstrip().removeprefix("data:").lstrip())
    return values or None


def documents(text: str) -> list[Any] | None:
    """Return the JSON of a body that is not a stream: one value, or several; None when it is not JSON."""
    try:
        value = json.loads(text, strict=False)
        return value if isinstance(value, list) else [value]
    except (ValueError, RecursionError):
        pass
    lines = [line.strip().removeprefix("data:").strip() for line in text.split("\n")]
    lines = [line for line in lines if line and line.upper() not in _END]
    try:
        return [json.loads(line, strict=False) for line in lines]
    except (ValueError, RecursionError):
        return _glued(text.strip())
