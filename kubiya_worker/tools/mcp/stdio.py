"""Speak with an MCP server over the pipes of its process: each line is a message.

The SDK's transport starts the process on the loop's own thread, which cannot be confined for it. Here the caller starts
it, and a thread of its own is confined. The end follows the MCP specification: stdin is closed, then the process group
gets SIGTERM, then SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from kubiya_worker.tools.mcp import messages
from kubiya_worker.tools.processes import programs

FLUSHED_WITHIN: Final = 0.5  # seconds, for messages that were accepted before the end
LEAVES_WITHIN: Final = 2.0  # after its stdin was closed
ENDS_WITHIN: Final = 2.0  # after SIGTERM, and after SIGKILL
KILLED_WITHIN: Final = 0.5  # after SIGKILL, while the loop stands still
_READ: Final = 1 << 16  # bytes
_LINES: Final = 100_000  # of one message
_WITHOUT_END: Final = 1 << 20  # bytes of a message that counts although no line end follows it
_GIVEN_UP: Final = 0.5  # seconds for the next line of a message that has begun

Server = subprocess.Popen[bytes]  # with pipes for stdin and stdout, unbuffered, the leader of a session


Noise = Callable[[bytes], None]  # is given each line that holds no message


@contextlib.asynccontextmanager
async def spoken(start: Callable[[], Server], noise: Noise) -> AsyncIterator[tuple[Any, Any]]:
    """Call `start` in a thread, and yield the streams of messages from and to the server. Raises what it raises."""
    process = await _started(start)
    try:
        async with _streams(process, noise) as streams:
            yield streams
    finally:
        if process.poll() is None:  # the task was cancelled while it waited for the end
            _signal(process, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(KILLED_WITHIN)


@contextlib.asynccontextmanager
async def _streams(process: Server, noise: Noise) -> AsyncIterator[tuple[Any, Any]]:
    import anyio

    reader, reading, writer = await _pipes(process)
    put, read = anyio.create_memory_object_stream[Any](0)
    write, taken = anyio.create_memory_object_stream[Any](0)
    flushed = anyio.Event()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_receive, reader, put, noise)
            group.start_soon(_send, taken, writer, put, flushed)
            try:
                yield read, write
            finally:
                with anyio.CancelScope(shield=True):  # or a cancelled caller would leave the process behind
                    read.close()  # so that a server that is busy writing is read to its end, and then reads its stdin
                    write.close()
                    with anyio.move_on_after(FLUSHED_WITHIN):
                        await flushed.wait()
                    writer.close()
                    await _end(process)
                group.cancel_scope.cancel()
    finally:
        reading.close()  # a descendant may hold the other end open
        if writer.transport.get_write_buffer_size():  # what the server never read would keep the pipe open
            writer.transport.abort()
        for stream in (read, write, put, taken):
            stream.close()


async def _started(start: Callable[[], Server]) -> Server:
    starting = asyncio.ensure_future(asyncio.to_thread(start))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            process = await starting  # the thread goes on, and nobody else would end what it starts
            _signal(process, signal.SIGKILL)
            await asyncio.to_thread(process.wait)
            for pipe in filter(None, (process.stdin, process.stdout)):
                pipe.close()
        raise


async def _pipes(process: Server) -> tuple[asyncio.StreamReader, asyncio.ReadTransport, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_READ)
    reading, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), process.stdout)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, process.stdin)
    return reader, reading, asyncio.StreamWriter(transport, protocol, None, loop)


async def _receive(reader: asyncio.StreamReader, put: Any, noise: Noise) -> None:
    """Pass the server's messages on until it closes its stdout; after the session's end, only read them."""
    import anyio

    parts: list[bytes] = []  # of a line whose end has not come
    lines_read = _MessageLines(noise)

    async def passed_on(decoded: list[Any]) -> None:
        for message in decoded:
            with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
                await put.send(message)

    try:
        while True:
            try:
                async with asyncio.timeout(_GIVEN_UP if lines_read.is_open else None):
                    data = await reader.read(_READ)
            except TimeoutError:
                await passed_on(lines_read.given_up())
                continue
            if not data:
                await passed_on(lines_read.given_up())
                return
            *lines, rest = data.split(b"\n")
            for line in lines:
                text, parts = b"".join((*parts, line)), []
                await passed_on(lines_read.messages(text))
            parts.append(rest)
            if rest.rstrip().endswith(b"}") and sum(map(len, parts)) <= _WITHOUT_END:
                decoded = lines_read.without_end(b"".join(parts))
                parts = [] if decoded else parts
                await passed_on(decoded)
    finally:
        put.close()


async def _send(sent: Any, writer: asyncio.StreamWriter, put: Any, flushed: Any) -> None:
    try:
        async for message in sent:
            text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
            writer.write(f"{text}\n".encode())
            await writer.drain()
    except OSError:
        put.close()  # nothing reaches the server any more, so no answer can come
    finally:
        flushed.set()


class _MessageLines:
    """Read lines as messages of the SDK; one message may stand on several lines, as `json.dumps(indent=2)` writes it.

    A byte that is no UTF-8 is replaced. What begins as a message and does not go on is given up, with an error in place
    of the answer that it was to be.
    """

    def __init__(self, noise: Noise) -> None:
        self._noise = noise
        self._open: list[bytes] = []  # the lines of a message that has begun
        self._depth = 0  # brackets in them that are not closed

    @property
    def is_open(self) -> bool:
        return bool(self._open)

    def messages(self, line: bytes) -> list[Any]:
        decoded = _messages(line)
        if decoded:
            return [*self.given_up(), *decoded]
        bare, depth = line.rstrip(), line.count(b"{") - line.count(b"}")
        if not self._open and not bare.endswith(b"{") and not messages.begins(line.decode("utf-8", "replace")):
            if bare:
                self._noise(bare)
            return []
        self._open.append(line)
        self._depth += depth
        if bare == b"}" or self._depth <= 0:
            decoded = _messages(b"\n".join(self._open))
        if decoded or len(self._open) > _LINES or (len(self._open) == 1 and self._depth <= 0):
            return self.given_up() if not decoded else self._closed(decoded)
        return []

    def without_end(self, text: bytes) -> list[Any]:
        """Return the messages in a text that no line end follows; none if more of the last one may come."""
        if text.count(b"{") != text.count(b"}"):
            return []
        decoded = _messages(text)
        return [*self.given_up(), *decoded] if decoded else []

    def given_up(self) -> list[Any]:
        """Return what stands for a message that began and did not end; lines that are none are noise."""
        decoded = _session_messages(messages.unreadable(b"\n".join(self._open[:3]).decode("utf-8", "replace")))
        for line in self._open if not decoded else ():
            self._noise(line.rstrip())
        return self._closed(decoded)

    def _closed(self, decoded: list[Any]) -> list[Any]:
        self._open.clear()
        self._depth = 0
        return decoded


def _messages(line: bytes) -> list[Any]:
    from mcp.shared.message import SessionMessage
    from mcp.types import jsonrpc_message_adapter

    text = line.decode("utf-8", "replace")
    try:
        return [SessionMessage(jsonrpc_message_adapter.validate_json(text, by_name=False))]
    except ValueError:
        return _session_messages(messages.messages_in(text))


def _session_messages(values: list[messages.Message]) -> list[Any]:
    from mcp.shared.message import SessionMessage
    from mcp.types import jsonrpc_message_adapter

    decoded: list[Any] = []
    for message in values:
        with contextlib.suppress(ValueError):
            decoded.append(SessionMessage(jsonrpc_message_adapter.validate_python(message, by_name=False)))
    return decoded


async def _end(process: Server) -> None:
    ended = await programs.exited(process, LEAVES_WITHIN)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not ended:
            _signal(process, number)
            ended = await programs.exited(process, ENDS_WITHIN)
    if ended:
        process.wait()  # the zombie held its number until here


def _signal(process: Server, number: int) -> None:
    """Signal the process and its group, whose number is its own while it has not been waited for."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
