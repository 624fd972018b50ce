"""Reading a log that is rotated while it is read: `worker.log`, `.1` (newer) … `.N` (older), any of them gzipped.

A file is recognized by its first bytes, not by its name or inode: rotation changes the name, compression the inode.
Lines are always complete; the last text before a rotation counts as a line even without a line end.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, cast

SIGNATURE: Final = 512  # bytes: lines begin with a time in microseconds, so no two files have the same first bytes
BLOCK: Final = 1 << 18
_NUMBER: Final = re.compile(r"\.(\d+)(?:\.gz)?$")


def rotated(path: Path) -> list[Path]:
    """Return the older files of a log, oldest first."""
    by_number: dict[int, Path] = {}
    for each in sorted(path.parent.glob(f"{path.name}.*")):
        number = _NUMBER.search(each.name)
        if number and each.name[: number.start()] == path.name:
            by_number.setdefault(int(number[1]), each)  # `.1` before `.1.gz`, which is being written
    return [by_number[number] for number in sorted(by_number, reverse=True)]


class _File:
    """An open file of the log. It stays readable when it is renamed or removed."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises OSError."""
        opened = gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115 - closed by close()
        self._file = cast(IO[bytes], opened)
        self.head = b""
        self._unfinished = b""

    def beginning(self) -> bytes:
        """Return the file's first bytes; the reading position does not change."""
        position = self._file.tell()
        self._file.seek(0)
        head = self._read(SIGNATURE)
        self._file.seek(position)
        return head

    def lines(self) -> Iterator[bytes]:
        """Yield the complete lines that were added since the last call."""
        while data := self._read(BLOCK):
            *whole, self._unfinished = (self._unfinished + data).split(b"\n")
            yield from whole

    def last(self) -> bytes:
        """Return the rest that has no line end."""
        rest, self._unfinished = self._unfinished, b""
        return rest

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except (OSError, EOFError, zlib.error):
            return b""  # cut off: a compression that was killed

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> Iterator[str]:
    """Yield all lines that exist now, oldest first."""
    for file in _newest_first(path, lambda _: False)[::-1]:
        yield from _drained(file)


def read_one(path: Path) -> Iterator[str]:
    """Yield the lines of one file of a log, also of a gzipped one. Raises OSError."""
    yield from _drained(_File(path))


def _drained(file: _File) -> Iterator[str]:
    try:
        for line in file.lines():
            yield line.decode(errors="replace")
        if last := file.last():
            yield last.decode(errors="replace")
    finally:
        file.close()


def _newest_first(path: Path, is_known: Callable[[bytes], bool]) -> list[_File]:
    """Open the current file, then `.1` and so on, until one whose beginning is known; that one is not returned.

    A rotation meanwhile gives files higher numbers. So a file can be seen twice, which its beginning shows, but none is
    missed.
    """
    files: list[_File] = []
    heads: set[bytes] = set()
    number = 0
    while True:
        file = _open(path, number)
        if file is None:
            if number:
                return files
            number = 1
            continue
        head = file.beginning()
        if head and is_known(head):
            file.close()
            return files
        if head in heads:
            file.close()
        else:
            heads |= {head} - {b""}
            files.append(file)
        number += 1


def _open(path: Path, number: int) -> _File | None:
    plain = path.with_name(f"{path.name}.{number}") if number else path
    for candidate in (plain, plain.with_name(f"{plain.name}.gz")):
        try:
            return _File(candidate)
        except OSError:
            continue
    return None


class LogFollower:
    """Follows the lines of a log through rotations. Call `more` again and again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: _File | None = None
        self._head = b""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def new_lines(self) -> Iterator[str]:
        """Yield the lines since the last call; at the first call, all lines of all files."""
        if self._file is None:
            files = _newest_first(self._path, lambda _: False)[::-1]
            if not files:
                return
            for older in files[:-1]:
                yield from _drained(older)
            self._file = files[-1]
        yield from self._current()
        # Checked after reading: lines that came before a rotation in between are read below, so none is lost.
        newer = self._newer()
        if newer:
            yield from self._to_its_end()
            for file in newer[:-1]:
                yield from _drained(file)
            self._file, self._head = newer[-1], b""
            yield from self._current()

    def _current(self) -> Iterator[str]:
        assert self._file is not None
        for line in self._file.lines():
            yield line.decode(errors="replace")
        if len(self._head) < SIGNATURE:
            self._head = self._file.beginning()

    def _to_its_end(self) -> Iterator[str]:
        """Yield the rest of a file to which nothing is written any more, and close it."""
        assert self._file is not None
        yield from self._current()
        if last := self._file.last():
            yield last.decode(errors="replace")
        self._file.close()

    def _newer(self) -> list[_File]:
        """Return the files that are newer than the current one, oldest first.

        Usually there is none; finding that out costs one short read.
        """
        if not self._head:
            return []  # nothing was ever written to it, so it was not rotated
        try:
            with self._path.open("rb") as file:
                if self._is_ours(file.read(SIGNATURE)):
                    return []
        except OSError:
            pass  # the file is being renamed
        return _newest_first(self._path, self._is_ours)[::-1]

    def _is_ours(self, head: bytes) -> bool:
        return head[: len(self._head)] == self._head
