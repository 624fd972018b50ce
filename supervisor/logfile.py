"""The log file takes the child's output, rotates by size and keeps lines whole.

    worker.log, worker.log.1 … worker.log.N    newest first; `.gz` behind the number with `compress`

A line is never split over two files, unless it is longer than the largest file and than LONG_LINE. When the disk is
full nothing blocks: complete lines are dropped and counted, and when there is space again a line in the log reports how
many. Our own lines are never written into the middle of a line of the child.

`LineWriter` writes the lines, `RotatingFile` is the file, `Backups` are those before it, and `Packer` compresses them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .line_writer import LineWriter
from .log_backups import Backups
from .log_packer import Packer
from .rotating_file import RotatingFile

HOLD: Final = 65_536  # bytes of an unfinished line that are kept back before its beginning is written
TAIL: Final = 8192  # bytes of output that are remembered
_OWN_HELD: Final = 1000  # own lines that may wait until the child's line ends


class Log:
    """This is the log file. All methods return at once and none raises: output that cannot be written is counted."""

    def __init__(
        self,
        path: str,
        *,
        max_size: int,
        max_backups: int,
        compress: bool = False,
        total_cap: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the file. Raises OSError when that fails. Sizes are in bytes."""
        backups = Backups(Path(path), max_backups)
        self.packer = Packer(backups, enabled=compress)
        self._file = RotatingFile(backups, max_size=max_size, total_cap=total_cap, clock=clock)
        self._writer = LineWriter(self._file, self.packer)
        self._unfinished = b""  # the child's last line, not written yet
        self._own_lines: list[bytes] = []  # that wait until the child's line ends
        self._tail = b""
        self.packer.remove_drafts()

    # -- the child's output and our own lines

    def feed(self, data: bytes) -> None:
        """Accept output of the child. The pieces may be cut at any byte."""
        self._tail = (self._tail + data)[-TAIL:] if len(data) < TAIL else data[-TAIL:]
        if self._writer.in_line:
            end = data.find(b"\n") + 1
            self._writer.write_piece(data[:end] if end else data, ends=bool(end))
            self._write_own_lines()
            if not end:
                return
            data = data[end:]
        data = self._unfinished + data
        end = data.rfind(b"\n") + 1
        self._unfinished = data[end:]
        self._writer.write(data[:end])
        if len(self._unfinished) > HOLD:
            piece, self._unfinished = self._unfinished, b""
            self._writer.write_piece(piece, ends=False)

    def line(self, text: bytes) -> None:
        """Write one of our own lines. `text` includes the line end."""
        if self._writer.in_file:
            self._own_lines = [*self._own_lines, text][-_OWN_HELD:]
        else:
            self._writer.write(text)

    def _write_own_lines(self) -> None:
        if self._own_lines and not self._writer.in_line:
            waiting, self._own_lines = self._own_lines, []
            for text in waiting:
                self._writer.write(text)

    def end(self) -> None:
        """Complete the last line, because the child has ended."""
        if self._unfinished or self._writer.in_line:
            tail = self._tail
            self.feed(b"\n")
            self._tail = tail

    def forget(self) -> None:
        """Forget the last lines, because a new child begins and did not write them."""
        self._tail = b""

    def last_lines(self, count: int = 10, width: int = 500) -> list[str]:
        """Return the child's last `count` lines, each cut at `width` characters."""
        text = [line.strip() for line in self._tail.decode(errors="replace").splitlines()]
        return [line[:width] for line in text if line][-count:]

    # -- the file

    def reopen(self) -> None:
        """Open the file again, because it was moved away or its disk was changed."""
        self._file.reopen()

    def retry(self) -> bool:
        """Report lost output in the log. Return whether no loss is left to report."""
        return self._writer.report_losses()

    @property
    def losing(self) -> bool:
        """Return whether output was lost that the log does not report yet."""
        return self._writer.losses.unreported_lines > 0

    def counts(self) -> dict[str, int]:
        """Return what the state file says of the log: lost bytes and lines, and rotations."""
        losses = self._writer.losses
        return {"lost_bytes": losses.bytes, "lost_lines": losses.lines, "rotations": self._file.rotations}

    def close(self) -> None:
        self._file.close()
