"""This module downloads the files of an execution, and shows what they are.

Their names come from a run, and so from strangers: none leads out of the folder that a person gave, through `..` or
through a link, and nothing that is there already is written over.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from urllib3.exceptions import HTTPError

from kubiya_worker.cli.api.executions import ExecutionsApi
from kubiya_worker.cli.connection import Api
from kubiya_worker.cli.moments import clock
from kubiya_worker.cli.tables import Cells, Row
from kubiya_worker.cli.terminal import one_line
from kubiya_worker.errors import Unavailable, UsageError

PIECE: Final = 1 << 16  # bytes
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def _stored(row: Row) -> str:
    return clock(datetime.fromtimestamp(float(row.get("stored_at") or 0), UTC).isoformat())


COLUMNS: Final = (
    Cells("PATH", lambda row: row.get("path"), 60),
    Cells("SIZE", lambda row: f"{int(row.get('size') or 0):,}"),
    Cells("TYPE", lambda row: row.get("type"), wide=True),
    Cells("STORED", _stored, wide=True),
    Cells("SHA256", lambda row: row.get("sha256"), 16, wide=True),
    Cells("NOT STORED BECAUSE", lambda row: row.get("refused"), 50),
)


def chosen(stored: Sequence[Row], paths: Sequence[str]) -> list[Row]:
    """Return the files with these paths; without paths all that were stored. Raises UsageError."""
    by_path = {str(row["path"]): row for row in stored}
    for path in paths:
        row = by_path.get(path)
        if row is None:
            raise UsageError(
                f"The execution has no file {path!r}", remedy="Without a path, the command lists the files"
            )
        if row.get("refused"):
            raise UsageError(
                f"The file {path!r} was not stored: {row['refused']}",
                remedy="Raise the limit that it names for the next run, under run_files in the worker's settings",
            )
    return (
        [by_path[path] for path in dict.fromkeys(paths)]
        if paths
        else [file for file in stored if not file.get("refused")]
    )


def to_output(api: Api, execution_id: str, row: Row) -> None:
    """Write a file to standard output; a terminal gets none, as it would obey what is in it."""
    if sys.stdout.isatty():
        raise UsageError("A file of a run is not shown on a terminal", remedy="Give --to DIR, or redirect the output")
    sys.stdout.flush()
    for piece in _pieces(api, execution_id, str(row["path"])):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def download(api: Api, execution_id: str, rows: Sequence[Row], folder: Path) -> Iterator[str]:
    """Write files below a folder, and yield a line for each. Raises UsageError for what is in the way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"The folder {folder} cannot be made: {error.strerror}", remedy="Check the folder above it and the disk"
        ) from error
    for row in rows:
        path = str(row["path"])
        _write(folder, path, _pieces(api, execution_id, path))
        yield f"{one_line(path, 200)}  {int(row.get('size') or 0):,} bytes"


def _write(folder: Path, path: str, pieces: Iterator[bytes]) -> None:
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise UsageError(
            f"The path {path!r} of a file of the run leads out of the folder; it was not written",
            remedy="Name the other files of the run to get those",
        )
    inner = -1
    try:
        inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in parts[:-1]:
            with suppress(FileExistsError):
                os.mkdir(part, dir_fd=inner)
            below = os.open(part, _FOLDER, dir_fd=inner)
            os.close(inner)
            inner = below
        handle = os.open(parts[-1], _NEW, 0o666, dir_fd=inner)
        try:
            with os.fdopen(handle, "wb") as file:
                for piece in pieces:
                    file.write(piece)
        except BaseException:  # half a file would look like a whole one
            os.unlink(parts[-1], dir_fd=inner)
            raise
    except FileExistsError as error:
        raise UsageError(f"{folder / path} is there already", remedy="Choose another --to") from error
    except OSError as error:
        raise UsageError(
            f"{folder / path} cannot be written: {error.strerror}", remedy="Check the folder and the disk"
        ) from error
    finally:
        if inner >= 0:
            os.close(inner)


def _pieces(api: Api, execution_id: str, path: str) -> Iterator[bytes]:
    reply = ExecutionsApi(api).open_file(execution_id, path)
    try:
        yield from reply.stream(PIECE)
    except HTTPError as error:
        raise Unavailable(f"The file {path!r} broke off: {error}", remedy="Try again") from error
    finally:
        reply.close()
