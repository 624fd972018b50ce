"""This module moves a control plane's data from its SQLite file to a PostgreSQL database, whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from psycopg import DataError
from sqlalchemy import Boolean, Table, func, select, text
from sqlalchemy.exc import DBAPIError

from kubiya_worker.errors import ConfigurationError, Unavailable
from kubiya_worker.server.store import backup, schema
from kubiya_worker.server.store.address import PostgresAddress
from kubiya_worker.server.store.database import Database
from kubiya_worker.server.store.postgres import PostgresDatabase

AT_ONCE: Final = 2_000  # rows that are read at once
OWN: Final = frozenset({"leases"})  # what belongs to the servers of a database, and not to its data
TABLES: Final = tuple(table for table in schema.metadata.sorted_tables if table.name not in OWN)
NUMBERED: Final = ("outbox", "hook_deliveries")  # rows that the database itself numbers


def transfer(source: Path, target: PostgresAddress, tell: Callable[[str, int], None]) -> str:
    """Copy all rows, `tell` each table with its number of rows, and check that they are there.
    Return why there is no index for searches, or an empty text.

    Raise Unavailable while a server uses the file, ConfigurationError for a target that has data, or for what
    PostgreSQL cannot store. The file stays as it is, but for its upgrade to this version's tables.
    """
    backup.contents(source)
    with contextlib.closing(Database(source)) as old, contextlib.closing(PostgresDatabase(target)) as new, new.alone():
        try:
            with new.transaction():
                _copy(old, new, tell)
        except (DBAPIError, DataError) as error:
            raise Unavailable(
                f"Nothing was moved to {target}: {getattr(error, 'orig', error)}",
                remedy="The old database is as it was: correct what the error names, and run the command again",
            ) from error
        new.execute(text("analyze"))
        return new.text_index.make()


def _copy(old: Database, new: PostgresDatabase, tell: Callable[[str, int], None]) -> None:
    new.execute(text("lock table executions, api_keys, audit in exclusive mode"))  # a server writes nothing meanwhile
    for table in TABLES:
        if new.execute(select(1).select_from(table).limit(1)).first() is not None:
            raise ConfigurationError(
                f"{new.address} has data already, in the table {table.name}", remedy="Name an empty database with --to"
            )
    for table in TABLES:
        names = table.columns.keys()
        with new.copied(table.name, names) as copy:
            for row in _rows(old, table):
                copy.write_row(row)
        counts = [int(database.execute(select(func.count()).select_from(table)).scalar()) for database in (old, new)]
        if counts[0] != counts[1]:
            raise Unavailable(
                f"Nothing was moved: {table.name} has {counts[1]} of {counts[0]} rows",
                remedy="Run the command again, and report it if it says the same",
            )
        tell(table.name, counts[0])
    for name in NUMBERED:
        query = text("select seq from sqlite_sequence where name = :name")  # also of rows that are gone
        last = old.execute(query, {"name": name}).scalar()
        if last:
            new.execute(text("select setval(pg_get_serial_sequence(:name, 'id'), :last)"), {"name": name, "last": last})


def _rows(old: Database, table: Table) -> Iterator[tuple[Any, ...]]:
    """Yield the rows as PostgreSQL takes them: SQLite has numbers for truths, and NUL in the words of searches."""
    truths = [number for number, column in enumerate(table.columns) if isinstance(column.type, Boolean)]
    words = [number for number, column in enumerate(table.columns) if column.name == "words"]
    result = old.connection.connection.cursor()
    result.execute(f"select {', '.join(table.columns.keys())} from {table.name}")  # noqa: S608 - names of the schema
    while rows := result.fetchmany(AT_ONCE):
        for row in rows:
            values = list(row)
            for number in truths:
                values[number] = bool(values[number])
            for number in words:
                values[number] = None if values[number] is None else values[number].replace("\0", "")
            yield tuple(values)
    result.close()
