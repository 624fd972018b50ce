"""A scripted model endpoint: a real HTTP server that answers, stalls, lies and breaks off as it is told.

It speaks OpenAI's chat completions, Anthropic's messages and Google's generateContent, whichever it is asked in.

In a test:       with ModelEndpoint([{"text": "hi"}, {"status": 429, "headers": {"Retry-After": "1"}}]) as endpoint:
                     ... endpoint.url ...; endpoint.requests
As a program:    python -m tests.support.model_endpoint --port 0 --script FILE     (prints its URL)

Answers are taken from the script in order, one for each request; a script that is used up (or none) leaves it to
`default`. An answer is an object; all fields are optional:

    text            str: streamed word by word (`chunk`: characters in each piece instead)
    thinking        str: streamed before the text as the shape has it, in pieces of the same size, signed where it
                    signs; or a list of {thinking, text?}: one after the other
    refusal         str: the model declines, in the words of the shape
    fault           a failure in the words of the shape: see `model_shapes.FAULTS`; `headers` go with it
    tools           [{name, arguments (object, or raw text: malformed if you like), id?}]: parallel tool calls
    finish_reason   str, or null for a stream that ends without one; by default what fits
    usage           object, or null for none; by default an estimate
    first_delay     seconds before the first chunk;  chunk_delay: seconds between chunks
    silence         {"after": chunks, "seconds": s}: a pause in the middle; "until": file: as long as there is none
    cut_after       chunks after which the connection is dropped
    error           object: sent inside the stream as {"error": ...} after `text`
    status, headers, body (object or text): an answer without a stream
    when            text that must occur in the request's body for this answer to fit (others are skipped over)
    forever         true: the answer stays in the script

`default` is "echo" (repeats the last user message, `tokens` words of it), "demo" (the demo model's plan, by the tools
that were sent; also plays `demo:script`), or an answer. `by_step` (a list of answers) comes before `default` and is
chosen by the number of assistant messages since the last user message: a repeated request gets the same answer.
`by_model` has such a list for each model that can be asked.

Control by HTTP: GET /requests -> {"count": n, "requests": [{path, headers, body, at}]}; DELETE /requests;
POST /script {"script"?, "by_step"?, "default"?, "tokens"?}; GET /v1/models. The path may have a `/v1` prefix or not.
`root` is the base URL of the other two, for ANTHROPIC_BASE_URL and GOOGLE_GEMINI_BASE_URL. Conversations that these
two would refuse (a thought that was changed or left out, a call without its result) are refused here too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from kubiya_worker.models.demo import plan
from kubiya_worker.protocol.tools import ToolSpec
from tests.support import model_shapes
from tests.support.model_shapes import Shape, completion

Answer = dict[str, Any]

KEPT: Final = 2000  # requests that are remembered; benches make more
REASONS: Final = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


class ModelEndpoint:
    """The server, in a thread of its own with its own event loop. `url` is the base URL, with `/v1`."""

    def __init__(
        self,
        script: Sequence[Answer] = (),
        *,
        by_step: Sequence[Answer] = (),
        by_model: Mapping[str, Sequence[Answer]] | None = None,
        default: str | Answer = "echo",
        tokens: int = 20,
        port: int = 0,
        host: str = "127.0.0.1",
        kept: int = KEPT,
        watch: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """`watch` is called with each request as it comes, in the endpoint's thread; `kept` of them are remembered."""
        self.script: list[Answer] = list(script)
        self.by_step: list[Answer] = list(by_step)
        self.by_model = {model: list(steps) for model, steps in (by_model or {}).items()}
        self.default: str | Answer = default
        self.tokens = tokens
        self.count = 0
        self.first_token_at = 0.0  # monotonic: when the latest stream sent its first text
        self.aborted = 0  # requests whose client went away before the answer was complete
        self._kept: deque[dict[str, Any]] = deque(maxlen=kept)
        self._watch = watch
        self._host, self._port = host, port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}/v1"

    @property
    def root(self) -> str:
        return f"http://{self._host}:{self._port}"

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Chat completion requests so far: {path, headers (lower case), body, at (seconds, monotonic)}."""
        return list(self._kept)

    def start(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve()), name="model-endpoint", daemon=True)
        self._thread.start()
        if not self._ready.wait(60):
            raise RuntimeError("the model endpoint did not start")
        return self

    def stop(self) -> None:
        if self._loop is not None and self._stopping is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended already
                self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread is not None:
            self._thread.join(30)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    async def serve(self) -> None:
        """Runs until `stop()`."""
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, self._host, self._port, backlog=1024)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    # -- HTTP

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            self.aborted += 1
        except asyncio.CancelledError:
            pass  # the server stops
        finally:
            writer.transport.abort()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Reads and answers one request; False when the connection ends with it."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return False
        request_line, *lines = head.split("\r\n")
        method, target, _ = request_line.split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        raw = await reader.readexactly(int(headers.get("content-length") or 0))
        path = target.partition("?")[0].removeprefix("/v1")
        shape = model_shapes.of_path(path)
        if shape is not None and method == "POST":
            body = json.loads(raw)
            self.count += 1
            request = {"path": target, "headers": headers, "body": body, "at": time.monotonic()}
            self._kept.append(request)
            if self._watch is not None:
                self._watch(request)
            wrong = shape.problem(body)
            answer = {"fault": "bad_request", "said": wrong} if wrong else self._choose(body, raw.decode())
            return await self._answer(answer, shape, body, reader, writer)
        _send(writer, *self._control(method, path, raw))
        await writer.drain()
        return True

    def _control(self, method: str, path: str, raw: bytes) -> tuple[int, Any]:
        if path == "/models":
            return 200, {"object": "list", "data": [{"id": "scripted", "object": "model", "owned_by": "tests"}]}
        if path == "/requests" and method == "DELETE":
            self._kept.clear()
            self.count = 0
            return 200, {}
        if path == "/requests":
            return 200, {"count": self.count, "aborted": self.aborted, "requests": list(self._kept)}
        if path == "/script" and method == "POST":
            change = json.loads(raw)
            for name in ("script", "by_step", "default", "tokens"):
                if name in change:
                    setattr(self, name, change[name])
            return 200, {}
        return 404, {"error": {"message": f"no {path} here"}}

    def _choose(self, body: dict[str, Any], raw: str) -> Answer:
        for at, answer in enumerate(self.script):
            if answer.get("when", "") in raw:
                return answer if answer.get("forever") else self.script.pop(at)
        if self.by_step or self.by_model:
            step = 0
            for message in body.get("messages", []):
                said = message["role"] == "user" and not _only_shown(message)
                step = 0 if said else step + (message["role"] == "assistant")
            steps = self.by_model.get(str(body.get("model")), self.by_step)
            if step < len(steps):
                return steps[step]
        if isinstance(self.default, dict):
            return self.default
        return demo_answer(body) if self.default == "demo" else echo_answer(body, self.tokens)

    async def _answer(
        self, answer: Answer, shape: Shape, body: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if answer.get("first_delay"):
            await asyncio.sleep(answer["first_delay"])
        if answer.get("fault"):
            status, said = shape.fault(answer["fault"], answer.get("said"))
            _send(writer, status, said, answer.get("headers"))
            await writer.drain()
            return True
        if "status" in answer or "body" in answer:
            _send(writer, answer.get("status", 200), answer.get("body", {}), answer.get("headers"))
            await writer.drain()
            return True
        if shape.name == "openai" and not body.get("stream"):
            _send(writer, 200, completion(answer, body))
            await writer.drain()
            return True
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        silence = answer.get("silence") or {}
        async for data in _paced(shape.stream(answer, body), answer.get("chunk_delay", 0)):
            if sent == answer.get("cut_after"):
                return False
            if sent == silence.get("after"):
                await writer.drain()
                await asyncio.sleep(silence.get("seconds", 0))
                while "until" in silence and not Path(silence["until"]).exists():
                    await asyncio.sleep(0.02)
            payload = data.encode() + b"\n\n"
            if sent == 1:  # the head comes before it; set first, or a reader can be faster than this thread
                self.first_token_at = time.monotonic()
            writer.write(b"%x\r\n%s\r\n" % (len(payload), payload))
            sent += 1
            if answer.get("chunk_delay") or writer.transport.get_write_buffer_size() > 65536:
                await writer.drain()
            if reader.at_eof():
                raise ConnectionResetError
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


def _only_shown(message: dict[str, Any]) -> bool:
    """Return True for a user's message with the image of a tool's result, which some APIs take only from a user."""
    parts = message.get("content")
    return isinstance(parts, list) and any(part.get("type") == "image_url" for part in parts)


def _send(writer: asyncio.StreamWriter, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    kind = "text/html" if isinstance(body, str) else "application/json"
    head = {"Content-Type": kind, "Content-Length": str(len(raw)), **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    writer.write(f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\n{lines}\r\n".encode() + raw)


async def _paced(items: list[str], delay: float) -> AsyncIterator[str]:
    for number, item in enumerate(items):
        if delay and number:
            await asyncio.sleep(delay)
        yield item


# -- answers


def echo_answer(body: dict[str, Any], tokens: int) -> Answer:
    users = [message for message in body.get("messages", []) if message["role"] == "user"]
    words = (str(users[-1]["content"]) if users else "nothing").split() or ["nothing"]
    return {"text": " ".join(words[at % len(words)] for at in range(tokens))}


def demo_answer(body: dict[str, Any]) -> Answer:
    """Return the demo model's answer to this request."""
    messages = []
    for message in body["messages"]:
        calls = [{"id": call["id"], **call["function"]} for call in message.get("tool_calls") or ()]
        messages.append({**message, "tool_calls": calls})
    reply = plan(messages, [ToolSpec(tool["function"]["name"], "") for tool in body.get("tools") or ()])
    return {"text": reply.content, "tools": reply.tool_calls, "finish_reason": reply.finish_reason}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="A scripted model endpoint")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", type=Path, help="JSON: a list of answers, or {script, by_step, default, tokens}")
    parser.add_argument("--default", default="echo", choices=("echo", "demo"))
    parser.add_argument("--tokens", type=int, default=20, help="words of an echo")
    options = parser.parse_args(arguments)
    loaded = json.loads(options.script.read_text()) if options.script else {}
    settings = {"script": loaded} if isinstance(loaded, list) else loaded
    settings = {"default": options.default, "tokens": options.tokens, **settings}
    endpoint = ModelEndpoint(host=options.host, port=options.port, **settings).start()
    print(endpoint.url, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    endpoint.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
