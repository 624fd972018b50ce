"""The output of a long command: files of one size, of which the first ones and the last ones are kept.

So a position in the output is a byte, whatever was removed between, and reading needs no memory of the reader.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SEGMENT: Final = 1 << 20  # bytes of each file
FIRST: Final = 8  # files from the beginning that are kept
LAST: Final = 24  # files up to the end that are kept
LOOK_BACK: Final = 8_192  # bytes before a position in which its line, or word, begins
_NAME: Final = re.compile(r"out\.(\d{8})")


class SegmentedOutput:
    """Takes the output of a command and writes it into a folder. What the disk does not take is counted, not raised."""

    def __init__(self, folder: Path, size: int = SEGMENT) -> None:
        self._folder, self._size = folder, size
        self._handle = -1
        self.total_bytes = 0
        self.left_out = 0  # for what reads all at the end; nothing is left out of that here
        self.lost_bytes = 0
        self.fault = ""

    def feed(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            number, at = divmod(self.total_bytes, self._size)
            try:
                if at == 0 or self._handle < 0:
                    self._open(number)
                written = os.write(self._handle, view[: self._size - at])
            except OSError as error:
                self.lost_bytes += len(view)
                self.fault = error.strerror or type(error).__name__
                return
            self.total_bytes += written
            view = view[written:]

    def text(self) -> str:
        return ""

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _open(self, number: int) -> None:
        self.close()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._handle = os.open(self._folder / f"out.{number:08d}", flags, 0o600)
        gone = number - LAST
        if gone >= FIRST:
            (self._folder / f"out.{gone:08d}").unlink(missing_ok=True)


@dataclass(frozen=True)
class OutputPart:
    """A part of the output: its text, the bytes where it begins and ends, and how many between are not kept."""

    text: str
    begin: int
    end: int
    left_out: int
    total: int


def total_bytes(folder: Path, size: int = SEGMENT) -> int:
    """Return how much the command has written so far."""
    numbers = [int(match[1]) for each in os.listdir(folder) if (match := _NAME.fullmatch(each))]  # noqa: PTH208
    if not numbers:
        return 0
    try:
        return max(numbers) * size + (folder / f"out.{max(numbers):08d}").stat().st_size
    except OSError:
        return max(numbers) * size


def read(folder: Path, since: int | None, limit: int, *, ended: bool, size: int = SEGMENT) -> OutputPart:
    """Return at most `limit` bytes of output from `since` on; without `since` the last ones.

    A part begins and ends between lines, or between words of a long line, so that nothing that is looked for in it (a
    secret) is cut in two. While the command runs, its unfinished last line is held back.
    """
    total = total_bytes(folder, size)
    begin = max(0, total - limit) if since is None else min(max(since, 0), total)
    look = min(LOOK_BACK, max(limit - 4, 0))  # less than a part, so that a word longer than a part is read on
    begin = _beginning(folder, begin, size, look, forwards=since is None, total=total)
    data, begin, left_out = _bytes(folder, begin, min(limit, total - begin), size)
    whole = ended and begin + len(data) >= total
    if not whole:
        data = data[: _cut(data, len(data) >= limit)]
    text = data.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    return OutputPart(text, begin, begin + len(data), left_out, total)


def _beginning(folder: Path, at: int, size: int, look: int, *, forwards: bool, total: int) -> int:
    """Return the position nearest to `at` where a line begins, or at least a word."""
    if at == 0 or (at >= total and not forwards):
        return at
    start = max(0, at - 1) if forwards else max(0, at - look)
    window, first, _ = _bytes(folder, start, min(look, total - start) if forwards else at - start, size)
    if forwards:
        position = window.find(b"\n")
        return first + position + 1 if position >= 0 else at
    if window.endswith((b"\n", b" ", b"\t")) or first + len(window) != at:
        return at
    position = max(window.rfind(byte) for byte in (b"\n", b" ", b"\t"))
    return first + position + 1 if position >= 0 else at


def _cut(data: bytes, full: bool) -> int:
    """Return how many bytes to show of a part that is not the last."""
    line = data.rfind(b"\n") + 1
    if line or not full:
        return line
    word = max(data.rfind(b" "), data.rfind(b"\t")) + 1
    if word:
        return word
    end = len(data)
    while end and len(data) - end < 4 and (data[end - 1] & 0xC0) == 0x80:  # not within a character
        end -= 1
    return end - 1 if end and data[end - 1] >= 0xC0 else len(data)


def _bytes(folder: Path, begin: int, count: int, size: int) -> tuple[bytes, int, int]:
    """Return the kept bytes from `begin` on, where they begin, and how many were skipped because they are not kept."""
    skipped = 0
    pieces: list[bytes] = []
    at = begin
    while count > 0:
        number, offset = divmod(at, size)
        try:
            with (folder / f"out.{number:08d}").open("rb") as file:
                file.seek(offset)
                piece = file.read(min(count, size - offset))
        except FileNotFoundError:
            if pieces:
                break  # the next call begins in the gap
            at += size - offset
            skipped += size - offset
            begin = at
            if number > total_bytes(folder, size) // size:
                break
            continue
        if not piece:
            break
        pieces.append(piece)
        at += len(piece)
        count -= len(piece)
    return b"".join(pieces), begin, skipped
