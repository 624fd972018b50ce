"""The backups of a log: the files that were rotated, numbered from the newest.

worker.log.1, worker.log.2 … worker.log.N    `.gz` behind the number when it is compressed
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

COMPRESSED: Final = ".gz"


class Backups:
    """The backups of the log at `path`, at most `most` of them."""

    def __init__(self, path: Path, most: int) -> None:
        self.path, self.most = path, most

    def by_number(self) -> dict[int, list[Path]]:
        """Return the files of each number; two of one number are a file and its compressed form."""
        backups: dict[int, list[Path]] = {}
        for path in self.path.parent.iterdir():
            number = path.name.removeprefix(f"{self.path.name}.").removesuffix(COMPRESSED)
            if path.name.startswith(f"{self.path.name}.") and number.isdecimal():
                backups.setdefault(int(number), []).append(path)
        return backups

    def compressed(self, number: int) -> Path:
        """Return the path of a compressed backup."""
        return self.path.with_name(f"{self.path.name}.{number}{COMPRESSED}")

    def shift(self) -> None:
        """Make the log itself the newest backup. The oldest one is removed when there are too many."""
        for number, paths in sorted(self.by_number().items(), reverse=True):
            for path in paths:
                if number >= self.most:
                    path.unlink(missing_ok=True)
                else:
                    suffix = COMPRESSED if path.suffix == COMPRESSED else ""
                    path.rename(self.path.with_name(f"{self.path.name}.{number + 1}{suffix}"))
        self.path.rename(self.path.with_name(f"{self.path.name}.1"))

    def keep_within(self, size: int) -> None:
        """Remove the oldest backups until all together take at most `size` bytes."""
        backups = sorted((number, path) for number, paths in self.by_number().items() for path in paths)
        total = 0
        for _, path in backups:
            try:
                total += path.stat().st_size
                if total > size:
                    path.unlink(missing_ok=True)
            except OSError:
                pass  # somebody else has removed it
