"""This module places the data of tests: in SQLite files, or with KUBIYA_TEST_DATABASE=postgresql on a server."""

from __future__ import annotations

import atexit
import functools
import os
from pathlib import Path

import pytest
from sqlalchemy import text

from kubiya_worker.server.store.address import Place
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
    """Return all that the database holds, as its files or its rows have it."""
    if not database.shared:
        return b"".join(path.read_bytes() for path in database.path.parent.glob(f"{database.path.name}*"))
    found = []
    for (table,) in database.execute(text("select tablename from pg_tables where schemaname = current_schema()")).all():
        found += [str(tuple(row)) for row in database.execute(text(f"select * from {table}"))]
    return "\n".join(found).encode()


def place(folder: Path) -> Place:
    """Return the place of a new database."""
    return server().fresh() if POSTGRESQL else folder / "cp.db"
