"""The open file of a log: it is written, rotated when it is full, and opened again when somebody has moved it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

from .log_backups import Backups

LOOK_EVERY: Final = 5.0  # seconds between checks that the file was not moved


class RotatingFile:
    """This is the file that is written to now. No method raises after the file is open; `fault` names the last error.

    Sizes are in bytes. `total_cap` is that of the file and its backups together; 0: no limit.
    """

    def __init__(self, backups: Backups, *, max_size: int, total_cap: int, clock: Callable[[], float]) -> None:
        """Open the file. Raises OSError when that fails."""
        self._backups, self._cap, self._clock = backups, total_cap, clock
        self.path = backups.path
        self.max_size = min(max_size, total_cap) if total_cap else max_size
        self.rotations = 0
        self.fault = ""  # name of the last error, such as ENOSPC
        self._torn = False  # the file ends inside a line that could not be removed
        self._open()

    def _open(self) -> None:
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        status = os.fstat(self._descriptor)
        self.size, self._inode, self._looked = status.st_size, status.st_ino, self._clock()
        self._torn = self.size > 0 and not self._ends_a_line()

    def _ends_a_line(self) -> bool:
        try:
            with self.path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read(1) == b"\n"
        except OSError:
            return True

    def write(self, data: bytes) -> int:
        """Write `data` and return how many bytes were written."""
        view = memoryview(data)
        try:
            if self._torn:
                self.size += os.write(self._descriptor, b"\n")
                self._torn = False
            while view:
                written = os.write(self._descriptor, view)
                self.size += written
                view = view[written:]
        except OSError as error:
            self._failed(error)
        return len(data) - len(view)

    def take_back(self, count: int) -> None:
        """Remove the last `count` bytes, so that the file ends at the end of a line."""
        if not count:
            return
        try:
            # Ask the file for its size: if somebody has emptied it, truncating to ours would fill it with zeros.
            self.size = max(0, os.fstat(self._descriptor).st_size - count)
            os.ftruncate(self._descriptor, self.size)
        except OSError:
            self._torn = True

    def look(self) -> None:
        """Open the file again if somebody has removed or moved it; nobody would see what we write to the old one."""
        now = self._clock()
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        try:
            status = self.path.stat()
            same, self.size = status.st_ino == self._inode, status.st_size
        except OSError:
            same = False
        if not same:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.reopen()

    def reopen(self) -> None:
        """Open the file again, because it was moved away or its disk was changed."""
        old = self._descriptor
        try:
            self._open()
        except OSError as error:
            self._failed(error)
            return
        os.close(old)

    def rotate(self) -> bool:
        """Rotate the file. Return whether that worked."""
        old = self._descriptor
        try:
            if not self._backups.most:
                os.ftruncate(self._descriptor, 0)
                self.size = 0
            else:
                self._backups.shift()
                self._open()
                os.close(old)
        except OSError as error:
            self._failed(error)
            self._looked = self._clock() - LOOK_EVERY  # the next `look` checks the file at once
            return False
        self.rotations += 1
        if self._cap:
            self._backups.keep_within(self._cap - self.max_size)
        return True

    def close(self) -> None:
        os.close(self._descriptor)

    def _failed(self, error: OSError) -> None:
        self.fault = errno.errorcode.get(error.errno or 0, str(error.errno))
