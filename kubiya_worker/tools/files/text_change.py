"""This module changes texts that may be larger than memory, and makes diffs of changes for people. Pure, over bytes."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

DIFF_LIMIT: Final = 10_000  # characters of a diff in an event
AROUND: Final = 4_096  # bytes that are read on each side of a change, to show the lines around it
CONTEXT: Final = 3  # lines around a change


@dataclass(frozen=True)
class Occurrences:
    """The number of places of a text in another, and the first place in bytes from the beginning."""

    count: int
    first: int


def find(pieces: Iterable[bytes], text: bytes) -> Occurrences:
    """Count `text` in the pieces put together, as bytes.count does: occurrences do not overlap."""
    count, first, at, buffer = 0, 0, 0, b""  # `at` is where the buffer begins
    for piece in pieces:
        buffer += piece
        begin = 0
        while (place := buffer.find(text, begin)) >= 0:
            first = first if count else at + place
            count += 1
            begin = place + len(text)
        keep = max(begin, len(buffer) - len(text) + 1)
        buffer, at = buffer[keep:], at + keep
    return Occurrences(count, first)


def replaced(pieces: Iterable[bytes], old: bytes, new: bytes) -> Iterator[bytes]:
    """Yield the pieces with `new` in place of each `old`, as bytes.replace does."""
    buffer = b""
    for piece in pieces:
        buffer += piece
        begin = 0
        while (place := buffer.find(old, begin)) >= 0:
            yield buffer[begin:place]
            yield new
            begin = place + len(old)
        keep = max(begin, len(buffer) - len(old) + 1)
        yield buffer[begin:keep]
        buffer = buffer[keep:]
    yield buffer


def inserted(pieces: Iterable[bytes], at: int, data: bytes) -> Iterator[bytes]:
    """Yield the pieces with `data` put in after `at` bytes."""
    seen = 0
    waiting = True
    for piece in pieces:
        if waiting and seen + len(piece) >= at:
            yield piece[: at - seen]
            yield data
            yield piece[at - seen :]
            waiting = False
        else:
            yield piece
        seen += len(piece)
    if waiting:
        yield data


def end_of_line(pieces: Iterable[bytes], line: int) -> int | None:
    """Return the number of bytes up to the end of a line (1 is the first), its line end included.

    A last line without a line end counts. None where there are fewer lines.
    """
    if line == 0:
        return 0
    seen, lines, last = 0, 0, b""
    for piece in pieces:
        here = piece.count(b"\n")
        if lines + here >= line:
            place = -1
            for _ in range(line - lines):
                place = piece.index(b"\n", place + 1)
            return seen + place + 1
        lines += here
        seen += len(piece)
        last = piece
    unfinished = bool(last) and not last.endswith(b"\n")
    return seen if unfinished and lines + 1 == line else None


def diff(path: str, before: bytes, after: bytes, first_line: int = 1) -> str:
    """Return a unified diff of two texts whose first line has the number `first_line`, cut at DIFF_LIMIT characters."""
    old, new = (text.decode(errors="replace").splitlines(keepends=True) for text in (before, after))
    lines = []
    for line in difflib.unified_diff(old, new, f"a/{path}", f"b/{path}", n=CONTEXT):
        shown = line if line.endswith("\n") else f"{line}\n"
        lines.append(_shifted(shown, first_line - 1) if line.startswith("@@") else shown)
    text = "".join(lines)
    return text if len(text) <= DIFF_LIMIT else f"{text[:DIFF_LIMIT]}\n… {len(text) - DIFF_LIMIT} characters left out …"


def diff_of(handle: int, path: str, at: int, old: bytes, new: bytes) -> str:
    """Return the diff of one change in a file: `old`, which stands after `at` bytes, becomes `new`."""
    start = max(0, at - AROUND)
    end = at + len(old) + AROUND
    window = os.pread(handle, end - start, start)
    if start and b"\n" in window[: at - start]:  # begin with a whole line
        skipped = window.index(b"\n") + 1
        start, window = start + skipped, window[skipped:]
    rest = window[at - start + len(old) :]
    if b"\n" in rest:  # end with a whole line
        window = window[: len(window) - len(rest) + rest.rindex(b"\n") + 1]
    changed = window[: at - start] + new + window[at - start + len(old) :]
    return diff(path, window, changed, _lines_before(handle, start) + 1)


def added(path: str, data: bytes) -> str:
    """Return a diff in which all of `data` is new."""
    return diff(path, b"", data)


def _lines_before(handle: int, end: int) -> int:
    count, at = 0, 0
    while at < end and (piece := os.pread(handle, min(1 << 20, end - at), at)):
        count += piece.count(b"\n")
        at += len(piece)
    return count


def _shifted(header: str, lines: int) -> str:
    """Return a hunk's header with its line numbers moved by `lines`: difflib counts from the window's first line."""
    if not lines:
        return header
    _, old, new, _ = header.split(" ", 3)

    def moved(span: str) -> str:
        number, comma, length = span[1:].partition(",")
        return f"{span[0]}{int(number) + lines}{comma}{length}"

    return f"@@ {moved(old)} {moved(new)} @@\n"
