"""This module has the form of the control plane's log, and the file that rotates by size.

Each event is one line, as in the log of a worker: `time level event key=value …`, in UTC. A library's line, and an
exception that only a library has seen, are one line too.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Final, cast

from kubiya_worker.event_log import fields_of, line, visible
from kubiya_worker.temporal_connection import core_log

MAX_SIZE: Final = 10_000_000  # bytes of one file
BACKUPS: Final = 4  # older files: `.1` is the newest


class LineFormatter(logging.Formatter):
    """Format a record as one line; line ends within it would look like lines of their own."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        text = visible(record.getMessage())
        if record.exc_info and record.exc_info[1] is not None:
            text = line(text, dict(fields_of(record.exc_info[1])))
        text = line(text, core_log.fields_of(record))
        return f"{moment} {record.levelname.lower()} {text}"


def use(handler: logging.Handler) -> None:
    """Log by this handler alone: our own events from INFO on, those of libraries from WARNING on."""
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("kubiya_worker").setLevel(logging.INFO)
    logging.captureWarnings(True)  # otherwise a library's warning would be two lines in another form


class RotatingLog(logging.handlers.RotatingFileHandler):
    """A log file that is also this process's standard output and error.

    So what is printed, and what a library or the interpreter writes before a crash, goes to the same file. Without
    it such text would follow the old file when that is renamed, and at last be deleted with it.
    """

    def __init__(self, path: Path, max_size: int = MAX_SIZE, backups: int = BACKUPS) -> None:
        super().__init__(path, maxBytes=max_size, backupCount=backups, encoding="utf-8")
        self.setFormatter(LineFormatter())

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
