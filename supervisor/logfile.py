"""The log file takes the child's output, rotates by size and keeps lines whole.

    worker.log, worker.log.1 … worker.log.N    newest first; `.gz` behind the number with `compress`

A line is never split over two files, unless it is longer than the largest file and than LONG_LINE. When the disk is
full nothing blocks: complete lines are dropped and counted, and when there is space again a line in the log reports how
many. Our own lines are never written into the middle of a line of the child.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from . import lines

HOLD: Final = 65_536  # bytes of an unfinished line that are kept back before its beginning is written
LONG_LINE: Final = 1_048_576  # bytes: longer lines may be cut where a file is full
LOOK_EVERY: Final = 5.0  # seconds between checks that the file was not moved
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
        self.path, self._max_backups, self._compress, self._cap = Path(path), max_backups, compress, total_cap
        self._max_size = min(max_size, total_cap) if total_cap else max_size
        self._long_line = max(self._max_size, LONG_LINE)
        self._clock = clock
        self._size = 0
        self.lost_bytes = self.lost_lines = self.rotations = 0
        self._unsaid = [0, 0]  # lost bytes and lines that the log does not report yet
        self._reason = ""
        self._pending = b""  # the child's unfinished line, not written yet
        self._written = 0  # bytes already written of an unfinished line; 0: at the beginning of a line
        self._skipping = False  # skip the rest of a line whose beginning was lost
        self._torn = False  # the file ends inside a line that could not be removed
        self._held: list[bytes] = []
        self._tail = b""
        self._packing: tuple[int, int, Path] | None = None  # pid, inode, draft
        self._open()
        for draft in self.path.parent.glob(f"{self.path.name}.*.packing"):
            draft.unlink(missing_ok=True)

    # -- the child's output and our own lines

    def feed(self, data: bytes) -> None:
        """Accept output of the child. The pieces may be cut at any byte."""
        self._tail = (self._tail + data)[-TAIL:] if len(data) < TAIL else data[-TAIL:]
        if self._skipping:
            end = data.find(b"\n") + 1
            self._lose(data[:end] if end else data, "", lines=0)
            if not end:
                return
            self._skipping, data = False, data[end:]
        if self._written:
            end = data.find(b"\n") + 1
            self._part(data[:end] if end else data, ends=bool(end))
            if not end:
                return
            data = data[end:]
        data = self._pending + data
        end = data.rfind(b"\n") + 1
        self._pending = data[end:]
        self._whole(data[:end])
        if len(self._pending) > HOLD:
            part, self._pending = self._pending, b""
            self._part(part, ends=False)

    def line(self, text: bytes) -> None:
        """Write one of our own lines. `text` includes the line end."""
        if self._written:
            self._held = [*self._held, text][-_OWN_HELD:]
        else:
            self._whole(text)

    def end(self) -> None:
        """Complete the last line, because the child has ended."""
        if self._pending or self._written or self._skipping:
            tail = self._tail
            self.feed(b"\n")
            self._tail = tail

    def forget(self) -> None:
        """Forget the last lines, because a new child begins and did not write them."""
        self._tail = b""

    def last_lines(self, count: int = 10, width: int = 500) -> list[str]:
        """Return the child's last `count` lines, each cut at `width` characters."""
        text = [each.strip() for each in self._tail.decode(errors="replace").splitlines()]
        return [each[:width] for each in text if each][-count:]

    def retry(self) -> bool:
        """Report lost output in the log. Return whether no loss is left to report."""
        return not self._unsaid[1] or self._tell()

    def reopen(self) -> None:
        """Open the file again, because it was moved away or its disk was changed."""
        old = self._descriptor
        try:
            self._open()
        except OSError as error:
            self._reason = _name(error)
            return
        os.close(old)

    def close(self) -> None:
        os.close(self._descriptor)

    # -- writing to the file

    def _whole(self, data: bytes) -> None:
        """Write complete lines, and rotate before a line that does not fit."""
        self._look()
        while data:
            room = self._max_size - self._size
            if len(data) <= room:
                chunk = data
            else:
                cut = data.rfind(b"\n", 0, max(room, 0)) + 1
                if not cut and self._size and self._rotate():
                    continue
                chunk = data[: cut or data.find(b"\n") + 1]
            self._put(chunk)
            data = data[len(chunk) :]

    def _part(self, data: bytes, *, ends: bool) -> None:
        """Write a piece of a line that is too long to be held back."""
        if not self._written and self._size and self._size + len(data) > self._max_size:
            self._rotate()
        if self._written + len(data) > self._long_line and self._written:
            self._try(b"\n")
            self._written = 0
            self._rotate()
        if not self._written and not self.retry():
            self._lose(data, self._reason, lines=1)
            self._skipping = not ends
            return
        written = self._try(data)
        if written < len(data):
            self._take_back(self._written + written)
            self._lose(data, self._reason, lines=1, more=self._written)
            self._written, self._skipping = 0, not ends
        else:
            self._written = 0 if ends else self._written + len(data)
        if not self._written and not self._skipping and self._held:
            held, self._held = self._held, []
            for text in held:
                self._whole(text)

    def _put(self, chunk: bytes) -> None:
        if not self.retry():
            self._lose(chunk, self._reason, lines=chunk.count(b"\n"))
            return
        written = self._try(chunk)
        if written < len(chunk):
            kept = chunk.rfind(b"\n", 0, written) + 1  # complete lines that were written stay
            self._take_back(written - kept)
            self._lose(chunk[kept:], self._reason, lines=chunk.count(b"\n", kept))

    def _tell(self) -> bool:
        bytes_, lines_ = self._unsaid
        text = lines.line("warning", "supervisor.log_lost", bytes=bytes_, lines=lines_, reason=self._reason or None)
        written = self._try(text)
        if written < len(text):
            self._take_back(written)
            return False
        self._unsaid = [0, 0]
        return True

    def _try(self, data: bytes) -> int:
        """Write `data` and return how many bytes were written."""
        view = memoryview(data)
        try:
            if self._torn:
                self._size += os.write(self._descriptor, b"\n")
                self._torn = False
            while view:
                written = os.write(self._descriptor, view)
                self._size += written
                view = view[written:]
        except OSError as error:
            self._reason = _name(error)
        return len(data) - len(view)

    def _take_back(self, count: int) -> None:
        """Remove the last `count` bytes, so that the file ends at the end of a line."""
        if not count:
            return
        try:
            # Ask the file for its size: if somebody has emptied it, truncating to ours would fill it with zeros.
            self._size = max(0, os.fstat(self._descriptor).st_size - count)
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            self._torn = True

    def _lose(self, data: bytes, reason: str, *, lines: int, more: int = 0) -> None:
        self.lost_bytes += len(data) + more
        self.lost_lines += lines
        self._unsaid = [self._unsaid[0] + len(data) + more, self._unsaid[1] + lines]
        self._reason = reason or self._reason

    # -- files

    def _open(self) -> None:
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        status = os.fstat(self._descriptor)
        self._size, self._inode, self._looked = status.st_size, status.st_ino, self._clock()
        self._torn = self._size > 0 and not self._ends_a_line()

    def _ends_a_line(self) -> bool:
        try:
            with self.path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read(1) == b"\n"
        except OSError:
            return True

    def _look(self) -> None:
        """Open the file again if somebody has removed or moved it; nobody would see what we write to the old one."""
        now = self._clock()
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        try:
            status = self.path.stat()
            same, self._size = status.st_ino == self._inode, status.st_size
        except OSError:
            same = False
        if not same:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.reopen()

    def _backups(self) -> dict[int, list[Path]]:
        backups: dict[int, list[Path]] = {}
        for path in self.path.parent.iterdir():
            number = path.name.removeprefix(f"{self.path.name}.").removesuffix(".gz")
            if path.name.startswith(f"{self.path.name}.") and number.isdecimal():
                backups.setdefault(int(number), []).append(path)
        return backups

    def _rotate(self) -> bool:
        """Rotate the file. Return whether that worked."""
        old = self._descriptor
        try:
            if not self._max_backups:
                os.ftruncate(self._descriptor, 0)
                self._size = 0
            else:
                self._shift()
                self._open()
                os.close(old)
        except OSError as error:
            self._reason = _name(error)
            self._looked = self._clock() - LOOK_EVERY  # the next `_look` checks the file at once
            return False
        self.rotations += 1
        self._keep_cap()
        self.pack()
        return True

    def _shift(self) -> None:
        for number, paths in sorted(self._backups().items(), reverse=True):
            for path in paths:
                if number >= self._max_backups:
                    path.unlink(missing_ok=True)
                else:
                    suffix = ".gz" if path.suffix == ".gz" else ""
                    path.rename(self.path.with_name(f"{self.path.name}.{number + 1}{suffix}"))
        self.path.rename(self.path.with_name(f"{self.path.name}.1"))

    def _keep_cap(self) -> None:
        if not self._cap:
            return
        backups = sorted((number, path) for number, paths in self._backups().items() for path in paths)
        total = self._max_size
        for _, path in backups:
            try:
                total += path.stat().st_size
                if total > self._cap:
                    path.unlink(missing_ok=True)
            except OSError:
                pass  # somebody else has removed it

    # -- gzip, in a process of its own: it may take seconds, and the child must not wait for it

    def pack(self) -> None:
        """Start to compress the newest uncompressed backup, unless a compression is running."""
        if not self._compress or self._packing is not None:
            return
        for _, paths in sorted(self._backups().items()):
            for path in paths:
                if path.suffix != ".gz":
                    self._start_packing(path)
                    return

    def packed(self, pid: int, status: int) -> bool:
        """Finish a compression. Return whether `pid` was the compressing process; call it for each ended child."""
        if self._packing is None or self._packing[0] != pid:
            return False
        _, inode, draft = self._packing
        self._packing = None
        for number, paths in self._backups().items():
            for path in paths:
                if status == 0 and path.suffix != ".gz" and path.stat().st_ino == inode:
                    draft.rename(self.path.with_name(f"{self.path.name}.{number}.gz"))
                    path.unlink()
        draft.unlink(missing_ok=True)
        if status == 0:
            self.pack()
        return True

    @property
    def losing(self) -> bool:
        """Return whether output was lost that the log does not report yet."""
        return self._unsaid[1] > 0

    @property
    def packer(self) -> int | None:
        """Return the PID of the compressing process."""
        return self._packing[0] if self._packing else None

    def _start_packing(self, path: Path) -> None:
        try:
            source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        inode = os.fstat(source).st_ino
        draft = self.path.with_name(f"{self.path.name}.{inode}.packing")
        try:
            pid = os.fork()
        except OSError:
            os.close(source)
            return
        if pid == 0:
            code = 1
            try:
                _pack(source, draft)
                code = 0
            finally:
                os._exit(code)
        os.close(source)
        self._packing = (pid, inode, draft)


def _pack(source: int, draft: Path) -> None:
    """Compress in the forked process. It closes the supervisor's descriptors and runs at low priority."""
    signal.set_wakeup_fd(-1)
    os.dup2(source, 3)
    os.closerange(4, min(os.sysconf("SC_OPEN_MAX"), 1 << 20))
    os.nice(10)
    import gzip

    with open(3, "rb") as plain, gzip.open(draft, "wb", 6) as packed:
        while block := plain.read(1 << 18):
            packed.write(block)


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error.errno))
