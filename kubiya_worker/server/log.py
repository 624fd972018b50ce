"""This module writes the control plane's log into a file that rotates by size, with a bound on all files together."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Final, cast

MAX_SIZE: Final = 10_000_000  # bytes of one file
BACKUPS: Final = 4  # older files: `.1` is the newest
FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"


class RotatingLog(logging.handlers.RotatingFileHandler):
    """A log file that is also this process's standard output and error.

    So what is printed, and what a library or the interpreter writes before a crash, goes to the same file. Without
    it such text would follow the old file when that is renamed, and at last be deleted with it.
    """

    def __init__(self, path: Path, max_size: int = MAX_SIZE, backups: int = BACKUPS) -> None:
        super().__init__(path, maxBytes=max_size, backupCount=backups, encoding="utf-8")
        self.setFormatter(logging.Formatter(FORMAT))

    def _open(self) -> TextIOWrapper:
        stream = open(  # noqa: SIM115 - closed by the handler
            self.baseFilename,
            self.mode,
            encoding=self.encoding,
            errors="backslashreplace",
            opener=lambda path, flags: os.open(path, flags, 0o600),
        )
        sys.stdout.flush()
        sys.stderr.flush()
        for standard in (1, 2):
            os.dup2(stream.fileno(), standard)
        return cast(TextIOWrapper, stream)
