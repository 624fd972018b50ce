"""A server that answers as Anthropic's, Google's and Bedrock's do, byte for byte, and what such bytes are made of.

with WireServer([Wire([event("message_start", ...), ...], headers=EVENTS)]) as server:
    ... server.root ...; server.requests

Each answer serves one request; the last one serves all that follow. `Wire.body` is a list of pieces: bytes or text,
sent one after the other; a number is a pause in seconds. A request that the provider would refuse is refused here too,
with 400 and the rule that it breaks. The rules are those that people report: ids and names in other characters, blank
texts, a first message that is not a user's, a call without its result.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import struct
import threading
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

Piece = bytes | str | float
EVENTS = {"Content-Type": "text/event-stream; charset=utf-8"}
FRAMES = {"Content-Type": "application/vnd.amazon.eventstream", "x-amzn-RequestId": "req-1"}
JSON = {"Content-Type": "application/json"}
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # of tools, and of calls' ids


@dataclass(frozen=True)
class Wire:
    """An answer; the body of an error may be an object.

    `hold` leaves the connection open after the last piece, `cut` closes it without the end of the body.
    """

    body: Any = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    hold: bool = False
    cut: bool = False

    @property
    def pieces(self) -> list[Piece]:
        if isinstance(self.body, dict):
            return [json.dumps(self.body)]
        return [self.body] if isinstance(self.body, (str, bytes)) else list(self.body)


class WireServer:
    """The server, in a thread of its own. `requests` holds {path, headers, body} of each request."""

    def __init__(self, answers: Sequence[Wire] = ()) -> None:
        self.answers = list(answers)
        self.requests: list[dict[str, Any]] = []
        self.root = ""
        self._open: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="wires", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(60), "the server did not start"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(60)

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.root = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            while await self._answered(reader, writer):
                pass  # as real servers do: a client may use its connection again unless it is told otherwise
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the server stops: each test says whether it may
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        raw = await reader.readexactly(int(headers.get("content-length") or 0))
        path = head[0].split(" ")[1]
        self.requests.append({"path": path, "headers": headers, "body": json.loads(raw) if raw else None})
        wire = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        broken = problem(path, json.loads(raw)) if raw else ""
        wire = Wire({"error": {"message": broken}}, 400, JSON) if broken else wire
        lines = [f"HTTP/1.1 {wire.status} Status", "Transfer-Encoding: chunked"]
        lines += [f"{name}: {value}" for name, value in wire.headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        for piece in wire.pieces:
            if isinstance(piece, (int, float)):
                await asyncio.wait({asyncio.ensure_future(self._stopping.wait())}, timeout=piece)
                continue
            raw = piece.encode() if isinstance(piece, str) else piece
            writer.write(b"%x\r\n%b\r\n" % (len(raw), raw) if raw else b"")
            await writer.drain()
        if wire.hold:
            await self._stopping.wait()
        if wire.hold or wire.cut:
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


def problem(path: str, body: dict[str, Any]) -> str:
    """Return why the provider would refuse a request, or ""."""
    if "contents" in body:
        return _google_problem(body["contents"])
    messages = body.get("messages")
    if not messages:
        return ""
    if messages[0]["role"] != "user":
        return "A conversation must start with a user message"
    bedrock = "converse" in path
    asked: list[str] = []
    for message in messages:
        answered: list[str] = []
        called: list[str] = []
        for block in message["content"]:
            call = block.get("toolUse") if bedrock else block if block.get("type") == "tool_use" else None
            result = block.get("toolResult") if bedrock else block if block.get("type") == "tool_result" else None
            if call:
                called.append(call["toolUseId" if bedrock else "id"])
                if not NAME.fullmatch(call["name"]):
                    return f"name: String should match pattern {NAME.pattern}: {call['name']!r}"
            if result:
                answered.append(result["toolUseId" if bedrock else "tool_use_id"])
            for text in (block.get("text"), *((part.get("text") for part in result["content"]) if result else ())):
                if text is not None and not text.strip():
                    return "text content blocks must contain non-whitespace text"
        if asked != answered or len(set(called)) != len(called):
            return f"each tool_use has one tool_result in the next message: {asked} {answered}"
        asked = called
        wrong = [one for one in called if not NAME.fullmatch(one)]
        if wrong:
            return f"id: String should match pattern {NAME.pattern}: {wrong}"
    return ""


def _google_problem(contents: list[dict[str, Any]]) -> str:
    if contents[0]["role"] != "user":
        return "function call turn comes immediately after a user turn"
    asked: list[str] = []
    for content in contents:
        answered = [part["functionResponse"]["name"] for part in content["parts"] if "functionResponse" in part]
        if asked != answered:
            return f"the number of function responses: {asked} {answered}"
        asked = [part["functionCall"]["name"] for part in content["parts"] if "functionCall" in part]
        wrong = [name for name in asked if not NAME.fullmatch(name)]
        if wrong or not content["parts"]:
            return f"Invalid function name: {wrong}"
    return ""


def event(kind: str, **fields: Any) -> str:
    """Return an event of Anthropic's stream."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"


def data(value: Any) -> str:
    """Return an event of Google's stream."""
    return f"data: {json.dumps(value)}\r\n\r\n"


def frame(kind: str, payload: Any, *, exception: bool = False) -> bytes:
    """Return a message of an AWS event stream: lengths, headers, payload, each part with its checksum."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    names = {
        ":exception-type" if exception else ":event-type": kind,
        ":content-type": "application/json",
        ":message-type": "exception" if exception else "event",
    }
    headers = b"".join(
        struct.pack("!B", len(name)) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        for name, value in names.items()
    )
    prelude = struct.pack("!II", 12 + len(headers) + len(body) + 4, len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack("!I", zlib.crc32(message))
