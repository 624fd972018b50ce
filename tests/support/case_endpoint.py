"""A model endpoint that serves tests/cases/models: each answer byte for byte, as README.md there tells.

with CaseEndpoint(cases) as endpoint:
    ... endpoint.url ...; endpoint.requests["case-id"]
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from email.utils import formatdate
from types import TracebackType
from typing import Any, Self

Case = dict[str, Any]

USAGE = {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050}
NOTHING: dict[str, Any] = {"status": 404, "headers": {}, "body": []}
LONG_RESULTS = 3  # tool results that a conversation has before it is too long


class CaseEndpoint:
    """The server, in a thread of its own. `requests` holds what each case was asked: {body, size, at (seconds)}."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = {case["id"]: case for case in cases}
        self.requests: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.url = ""
        self._refused: dict[str, int] = {}  # the size of the first conversation that was too long, by case
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="cases", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30), "the endpoint of the cases did not start"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(30)

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=256)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._ready.set()
        await self._stopping.wait()
        server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            raw = await reader.readexactly(int(headers.get("content-length") or 0))
            wire = self._answer(json.loads(raw)) if raw else NOTHING
            lines = [f"HTTP/1.1 {wire['status']} Status", "Connection: close"]
            lines += [f"{name}: {_header(value)}" for name, value in wire["headers"].items()]
            writer.write("\r\n".join([*lines, "", ""]).encode())
            async for piece in _pieces(wire["body"]):
                writer.write(piece)
                await writer.drain()
            if wire.get("end") == "hold":
                await self._stopping.wait()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # whoever asked went away: what is expected of a case says whether it may
        finally:
            writer.close()

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request, which is kept."""
        case = self.cases[str(body["model"]).rpartition("/")[2]]
        asked = self.requests[case["id"]]
        size = len(json.dumps(body["messages"]))
        asked.append({"body": body, "size": size, "at": time.monotonic()})
        results = sum(message["role"] == "tool" for message in body["messages"])
        wire: dict[str, Any] = case["wire"]
        match case["request_fits"]:
            case "every":
                return wire
            case "first" | "first 2" as fits:
                return wire if len(asked) <= int(fits.partition(" ")[2] or 1) else _text("The work is done.")
            case "no_result":
                return _text("The work is done.") if results else wire
            case "result":
                return wire if results else _call(f"echo step-{len(asked)}")
            case "long":
                return self._long(case, body, size, results)
        raise AssertionError(f"{case['id']}: request_fits {case['request_fits']!r} is not known")

    def _long(self, case: Case, body: dict[str, Any], size: int, results: int) -> dict[str, Any]:
        """A model with a small window: once a conversation was too long, only a shorter one is answered."""
        wire: dict[str, Any] = case["wire"]
        if not body.get("tools"):
            return _text("A short summary.")
        refused = self._refused.get(case["id"])
        if refused is not None:
            return wire if size > 0.8 * refused else _text("The work is done.")
        if results < LONG_RESULTS:
            return _call("ls -la /usr/bin")
        self._refused[case["id"]] = size
        return wire


def _text(text: str) -> dict[str, Any]:
    return _stream({"role": "assistant", "content": text}, "stop")


def _call(command: str) -> dict[str, Any]:
    function = {"name": "shell", "arguments": json.dumps({"command": command})}
    call = {"index": 0, "id": f"call_{time.monotonic_ns()}", "type": "function", "function": function}
    return _stream({"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls")


def _stream(delta: dict[str, Any], finish: str) -> dict[str, Any]:
    """A whole answer as a stream: one piece, its reason, its usage, the end mark."""
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "case"}
    choices = (
        [{"index": 0, "delta": delta, "finish_reason": None}],
        [{"index": 0, "delta": {}, "finish_reason": finish}],
    )
    chunks = [*({**head, "choices": choice} for choice in choices), {**head, "choices": [], "usage": USAGE}]
    body = [*(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), "data: [DONE]\n\n"]
    return {"status": 200, "headers": {"Content-Type": "text/event-stream"}, "body": body}


async def _pieces(body: Sequence[Any]) -> AsyncIterator[bytes]:
    for piece in body:
        about: Mapping[str, Any] = {"text": piece} if isinstance(piece, str) else piece
        if about.get("delay_ms"):
            await asyncio.sleep(about["delay_ms"] / 1000)
        yield base64.b64decode(about["base64"]) if "base64" in about else str(about["text"]).encode()


def _header(value: Any) -> str:
    if isinstance(value, dict) and "date_in_s" in value:
        return formatdate(time.time() + value["date_in_s"], usegmt=True)
    if isinstance(value, dict):
        return str(round((time.time() + value["epoch_ms_in_s"]) * 1000))
    return str(value)
