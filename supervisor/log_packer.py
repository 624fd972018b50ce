"""The packer compresses backups of the log in a process of its own, because that may take seconds."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from .log_backups import COMPRESSED, Backups


@dataclass(frozen=True)
class _Packing:
    pid: int
    inode: int  # of the backup, which may be renamed meanwhile
    draft: Path


class Packer:
    """Compress the backups of a log, one after the other; none of them unless `enabled`."""

    def __init__(self, backups: Backups, *, enabled: bool) -> None:
        self._backups, self._enabled = backups, enabled
        self._packing: _Packing | None = None

    @property
    def pid(self) -> int | None:
        """Return the PID of the compressing process; None while there is none."""
        return self._packing.pid if self._packing else None

    def remove_drafts(self) -> None:
        """Remove what the compression of an earlier supervisor has left unfinished."""
        log = self._backups.path
        for draft in log.parent.glob(f"{log.name}.*.packing"):
            draft.unlink(missing_ok=True)

    def start(self) -> None:
        """Start to compress the newest uncompressed backup, unless a compression is running."""
        if not self._enabled or self._packing is not None:
            return
        for _, paths in sorted(self._backups.by_number().items()):
            for path in paths:
                if path.suffix != COMPRESSED:
                    self._compress(path)
                    return

    def ended(self, pid: int, status: int) -> bool:
        """Finish a compression. Return whether `pid` was the compressing process; call it for each ended child."""
        packing = self._packing
        if packing is None or packing.pid != pid:
            return False
        self._packing = None
        for number, paths in self._backups.by_number().items():
            for path in paths:
                if status == 0 and path.suffix != COMPRESSED and path.stat().st_ino == packing.inode:
                    packing.draft.rename(self._backups.compressed(number))
                    path.unlink()
        packing.draft.unlink(missing_ok=True)
        if status == 0:
            self.start()
        return True

    def _compress(self, path: Path) -> None:
        try:
            source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        log = self._backups.path
        inode = os.fstat(source).st_ino
        draft = log.with_name(f"{log.name}.{inode}.packing")
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
        self._packing = _Packing(pid, inode, draft)


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
