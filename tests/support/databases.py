"""This module places the data of tests: in SQLite files, or with KUBIYA_TEST_DATABASE=postgresql on a server."""

from __future__ import annotations

import atexit
import base64
import contextlib
import functools
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from kubiya_worker.server.store.address import Place, PostgresAddress
from kubiya_worker.server.store.database import Database
from tests.support.postgres import PostgresServer

POSTGRESQL = os.environ.get("KUBIYA_TEST_DATABASE", "") == "postgresql"


@functools.cache
def server() -> PostgresServer:
    """Return the PostgreSQL server of this process of tests."""
    made = PostgresServer()
    atexit.register(made.remove)
    return made


def sqlite_only(why: str) -> pytest.MarkDecorator:
    """Return the mark of a test that looks into the file, or at what only SQLite has."""
    return pytest.mark.skipif(POSTGRESQL, reason=f"SQLite only: {why}")


def written(database: Database) -> bytes:
    """Return all that an open database holds, as its files or its rows have it."""
    return _rows(lambda statement: database.execute(text(statement))) if database.shared else _files(database.path)


def stored(place: Place) -> bytes:
    """Return all that the database at a place holds, as its files or its rows have it."""
    if not isinstance(place, PostgresAddress):
        return _files(place)
    with opened(place) as beside:
        return _rows(beside.execute)


def _files(path: Path) -> bytes:
    return b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))


def _rows(execute: Callable[[str], Any]) -> bytes:
    found = []
    for (table,) in execute("select tablename from pg_tables where schemaname = current_schema()").fetchall():
        found += [str(tuple(row)) for row in execute(f"select * from {table}")]
    return "\n".join(found).encode()


class Beside:
    """A connection beside the server that has the database open. Question marks in statements stand for values."""

    def __init__(self, connection: Any, marks: str) -> None:
        self._connection, self._marks = connection, marks

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        if self._marks == "?":
            return self._connection.execute(statement, values)
        return self._connection.execute(statement.replace("%", "%%").replace("?", self._marks), values)


@contextlib.contextmanager
def opened(place: Place) -> Iterator[Beside]:
    """Open the database beside its server; what was changed is committed in the end."""
    if isinstance(place, PostgresAddress):
        import psycopg

        with psycopg.connect(place.url) as connection:
            yield Beside(connection, "%s")
        return
    with contextlib.closing(sqlite3.connect(place, timeout=30)) as file, file:
        yield Beside(file, "?")


def size(place: Place) -> int:
    """Return the bytes of a database: of its file, or of its tables and their indexes."""
    if not isinstance(place, PostgresAddress):
        return place.stat().st_size
    tables = "from pg_tables where schemaname = current_schema()"
    with opened(place) as beside:
        counted = f"select sum(pg_total_relation_size(format('%I.%I', schemaname, tablename)::regclass)) {tables}"
        return int(beside.execute(counted).fetchone()[0])


def options(place: Place, folder: Path) -> list[str]:
    """Return the options of a control plane whose data is there and whose files are in this folder."""
    if not isinstance(place, PostgresAddress):
        return ["--database", str(place), "--key-file", str(folder / "key")]
    secret = folder / "secrets.key"
    if not secret.exists():
        secret.write_bytes(base64.b64encode(os.urandom(32)))
        secret.chmod(0o600)
    files = ["--secrets-key-file", str(secret), "--files", str(folder / "run-files")]
    return ["--database", place.url, "--key-file", str(folder / "key"), *files]


def place(folder: Path) -> Place:
    """Return the place of a new database."""
    return server().fresh() if POSTGRESQL else folder / "cp.db"
