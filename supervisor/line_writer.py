"""The line writer keeps lines whole in the log file, and counts what a full disk does not take.

Complete lines that cannot be written are dropped and counted. When there is space again, a line in the log reports how
many they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from . import lines
from .log_packer import Packer
from .rotating_file import RotatingFile

LONG_LINE: Final = 1_048_576  # bytes: longer lines may be cut where a file is full


@dataclass
class Losses:
    """Output that was lost: since the start, and since the log has reported the last loss."""

    bytes: int = 0
    lines: int = 0
    unreported_bytes: int = 0
    unreported_lines: int = 0

    def add(self, size: int, count: int) -> None:
        self.bytes += size
        self.lines += count
        self.unreported_bytes += size
        self.unreported_lines += count

    def reported(self) -> None:
        self.unreported_bytes = self.unreported_lines = 0


class LineWriter:
    """Write complete lines, and pieces of lines that are too long to be held back. Backups go to the packer."""

    def __init__(self, file: RotatingFile, packer: Packer) -> None:
        self._file, self._packer = file, packer
        self.losses = Losses()
        self._long_line = max(file.max_size, LONG_LINE)
        self._written = 0  # bytes already written of an unfinished line; 0: at the beginning of a line
        self._skipping = False  # skip the rest of a line whose beginning was lost

    @property
    def in_file(self) -> bool:
        """Return whether the file ends inside a line that goes on."""
        return self._written > 0

    @property
    def in_line(self) -> bool:
        """Return whether the next output goes on with a line whose beginning was written or lost."""
        return self._written > 0 or self._skipping

    def write(self, data: bytes) -> None:
        """Write complete lines, and rotate before a line that does not fit."""
        file = self._file
        file.look()
        while data:
            room = file.max_size - file.size
            if len(data) <= room:
                chunk = data
            else:
                cut = data.rfind(b"\n", 0, max(room, 0)) + 1
                if not cut and file.size and self._rotate():
                    continue
                chunk = data[: cut or data.find(b"\n") + 1]
            self._write_lines(chunk)
            data = data[len(chunk) :]

    def write_piece(self, data: bytes, *, ends: bool) -> None:
        """Write a piece of a line. `ends` says that it is the last one."""
        file = self._file
        if self._skipping:
            self.losses.add(len(data), 0)
            self._skipping = not ends
            return
        if not self._written and file.size and file.size + len(data) > file.max_size:
            self._rotate()
        if self._written + len(data) > self._long_line and self._written:
            file.write(b"\n")
            self._written = 0
            self._rotate()
        if not self._written and not self.report_losses():
            self.losses.add(len(data), 1)
            self._skipping = not ends
            return
        written = file.write(data)
        if written < len(data):
            file.take_back(self._written + written)
            self.losses.add(len(data) + self._written, 1)
            self._written, self._skipping = 0, not ends
        else:
            self._written = 0 if ends else self._written + len(data)

    def report_losses(self) -> bool:
        """Report lost output in the log. Return whether no loss is left to report."""
        losses, file = self.losses, self._file
        if not losses.unreported_lines:
            return True
        size, count = losses.unreported_bytes, losses.unreported_lines
        text = lines.line("warning", "supervisor.log_lost", bytes=size, lines=count, reason=file.fault or None)
        written = file.write(text)
        if written < len(text):
            file.take_back(written)
            return False
        losses.reported()
        return True

    def _write_lines(self, chunk: bytes) -> None:
        if not self.report_losses():
            self.losses.add(len(chunk), chunk.count(b"\n"))
            return
        written = self._file.write(chunk)
        if written < len(chunk):
            whole = chunk.rfind(b"\n", 0, written) + 1  # complete lines that were written stay
            self._file.take_back(written - whole)
            self.losses.add(len(chunk) - whole, chunk.count(b"\n", whole))

    def _rotate(self) -> bool:
        rotated = self._file.rotate()
        if rotated:
            self._packer.start()
        return rotated
