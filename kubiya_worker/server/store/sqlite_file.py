"""This module locks the file of the SQLite database for one server, and copies it while it is in use."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from kubiya_worker.errors import Unavailable

LOCK_SECONDS: Final = 5.0  # how long to wait for a server that is ending and still holds the file


def locked(path: Path) -> int:
    """Return a descriptor with a lock that marks the database as used; the system frees it however the process ends."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise Unavailable(
                    f"Another control plane uses the database {path}",
                    remedy="Stop that one, or name another file (--database; --from for kubiya server migrate)",
                ) from None
            time.sleep(0.05)


def log_size(path: Path) -> int:
    """Return the bytes of the log beside the database, 0 without one."""
    try:
        return Path(f"{path}-wal").stat().st_size
    except FileNotFoundError:
        return 0


def checkpoint(path: Path) -> None:
    """Move what was committed from the log into the database, as far as no reader needs it; nothing waits for it."""
    with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def copy(source: sqlite3.Connection, target: Path) -> None:
    """Write what was committed to `target` (mode 0600), in place of what is there; raise sqlite3.Error or OSError.

    It is one read transaction, which no writer waits for. A kill in the middle leaves the old file or the new one.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with contextlib.closing(sqlite3.connect(part)) as connection:
            source.backup(connection)
            connection.execute("PRAGMA journal_mode=DELETE")  # one file, without those that a database in use has
        put_in_place(part, target)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def put_in_place(part: Path, target: Path) -> None:
    """Rename a file, so that its bytes and its name survive the loss of power."""
    _sync(part, os.O_RDONLY)
    part.replace(target)
    _sync(target.parent, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
