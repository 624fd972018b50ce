"""This module keeps a program's output in bounded memory: its beginning, its end, and the size of the gap."""

from __future__ import annotations

import asyncio
import codecs
import os
from collections import deque
from typing import Final, Protocol

CHUNK: Final = 1 << 16  # bytes; the size of a Linux pipe


class OutputSink(Protocol):
    """A sink takes a program's output: `BoundedOutput` in memory, others in files."""

    total_bytes: int
    left_out: int  # characters that `text` lacks

    def feed(self, data: bytes) -> None: ...
    def text(self) -> str: ...


class BoundedOutput:
    """Take bytes (UTF-8; invalid ones become U+FFFD) and keep about `limit` characters of them."""

    def __init__(self, limit: int) -> None:
        self._head_limit = max(limit // 2, 1)
        self._tail_limit = max(limit - self._head_limit, 1)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")
        self._head: list[str] = []
        self._head_size = 0
        self._tail: deque[str] = deque()
        self._tail_size = 0
        self.left_out = 0  # characters
        self.total_bytes = 0

    def feed(self, data: bytes) -> None:
        self.total_bytes += len(data)
        self._add(self._decode.decode(data))

    def text(self) -> str:
        """Return the kept text with a line in the gap, and end the stream: an incomplete last character is dropped."""
        self._add(self._decode.decode(b"", final=True))
        head, tail = "".join(self._head), "".join(self._tail)
        if len(tail) > self._tail_limit:
            self.left_out += len(tail) - self._tail_limit
            tail = tail[-self._tail_limit :]
            self._tail, self._tail_size = deque([tail]), len(tail)
        if self.left_out:
            head = f"{head}\n… {self.left_out} characters left out …\n"
        return (head + tail).replace("\0", "\N{REPLACEMENT CHARACTER}")

    def _add(self, text: str) -> None:
        room = self._head_limit - self._head_size
        if room > 0:
            self._head.append(text[:room])
            self._head_size += len(self._head[-1])
            text = text[room:]
        if not text:
            return
        # Whole pieces leave at the front, so the tail holds at most its limit and one piece; text() trims the rest.
        self._tail.append(text)
        self._tail_size += len(text)
        while self._tail_size - len(self._tail[0]) >= self._tail_limit:
            dropped = len(self._tail.popleft())
            self._tail_size -= dropped
            self.left_out += dropped


class OutputPipe:
    """Reads the pipe as the loop finds time: a program that prints without end waits for us and fills no memory."""

    def __init__(self, reader: int, output: OutputSink) -> None:
        self._reader = reader
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._open = True
        self.at_end = asyncio.Event()
        os.set_blocking(reader, False)
        self._loop.add_reader(reader, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._reader, CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        if data:
            self._output.feed(data)
        else:
            self._loop.remove_reader(self._reader)
            self.at_end.set()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._reader)
            os.close(self._reader)
