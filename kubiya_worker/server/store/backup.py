"""This module copies the control plane's SQLite database, also while a server uses it, and puts a copy back.

A copy is made by SQLite's own backup call, in one read transaction: it holds what was committed at one moment, and
writers do not wait for it. It is one file, without the two files that SQLite keeps beside a database in use.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from kubiya_worker.errors import ConfigurationError, Unavailable
from kubiya_worker.server.store.database import is_known
from kubiya_worker.server.store.sqlite_file import copy, locked, put_in_place

BESIDE: Final = ("-wal", "-shm")  # the endings of the files that SQLite keeps beside a database in use


@dataclass(frozen=True)
class Contents:
    """A copy's contents. `version` is its newest migration, `size` is in bytes, `newest` is a time in ISO 8601."""

    version: str
    size: int
    executions: int
    events: int
    newest: str | None


def back_up(database: Path, target: Path) -> Contents:
    """Copy the database to `target` (mode 0600), in place of what is there; a kill leaves the old file or the new one.

    Raise ConfigurationError when it is not a database of a control plane, Unavailable when it cannot be read or
    written.
    """
    if not database.is_file():
        raise ConfigurationError(f"There is no database {database}", remedy="Name it with --database")
    if target.is_dir():
        raise ConfigurationError(f"{target} is a folder", remedy="Name a file for the backup")
    if target.exists() and not target.is_file():  # a rename onto /dev/null would take it from the whole host
        raise ConfigurationError(f"{target} is no regular file", remedy="Name a file for the backup")
    if target.exists() and target.samefile(database):
        raise ConfigurationError(f"{target} is the database itself", remedy="Name another file for the backup")
    contents(database)
    try:
        with contextlib.closing(_opened(database)) as source:
            copy(source, target)
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(
            f"The backup {target} cannot be written: {_reason(error)}",
            remedy="Check the folder, its rights and the disk",
        ) from error
    return contents(target)


def put_back(backup: Path, database: Path) -> tuple[Contents, Path | None]:
    """Make `database` what the backup holds; return that, and where the old database is now.

    Raise Unavailable while a server uses the database, ConfigurationError for a file that this version cannot use.
    """
    kept = contents(backup)
    if not is_known(kept.version):
        raise ConfigurationError(
            f"{backup} was made by another version of kubiya-worker ({kept.version})", remedy="Install that version"
        )
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = locked(database)
    try:
        part = database.with_name(f"{database.name}.new")
        back_up(backup, part)  # on the same disk, and whole, before anything is moved
        old = database.with_name(f"{database.name}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}.old")
        was_there = database.exists()
        for ending in ("", *BESIDE):  # as they are: what is to be replaced may be broken
            with contextlib.suppress(FileNotFoundError):
                os.link(f"{database}{ending}", f"{old}{ending}")
        for ending in BESIDE:  # before the database: SQLite would take them as writes to the new one
            Path(f"{database}{ending}").unlink(missing_ok=True)
        put_in_place(part, database)
    except OSError as error:
        raise Unavailable(
            f"The database {database} cannot be written: {_reason(error)}", remedy="Check the folder and its rights"
        ) from error
    finally:
        os.close(lock)
    return kept, old if was_there else None


def contents(path: Path) -> Contents:
    """Check a database as SQLite does, and return what it holds; raise ConfigurationError when it is not ours."""
    if not path.is_file():
        raise ConfigurationError(f"There is no file {path}", remedy="Check the path")
    try:
        path.open("rb").close()  # SQLite does not say why it cannot open a file
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}", remedy="Check its owner and rights") from error
    try:
        with contextlib.closing(_opened(path)) as database:
            fault = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if fault != "ok":
                raise ConfigurationError(f"{path} is a broken SQLite database ({fault})", remedy="Use another backup")
            version = database.execute("select version_num from alembic_version").fetchone()[0]
            executions, newest = database.execute("select count(*), max(updated_at) from executions").fetchone()
            events = database.execute("select count(*) from events").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise ConfigurationError(
            f"{path} is not a database of a control plane: {error}",
            remedy="Name the file of one, or of a backup of it",
        ) from error
    return Contents(version, path.stat().st_size, executions, events, newest)


def _reason(error: Exception) -> str:
    """Return the system's words; the path that it names is that of a temporary file."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=10)
    connection.execute("PRAGMA query_only=ON")
    return connection
