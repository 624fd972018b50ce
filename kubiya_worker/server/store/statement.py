"""Statements that are compiled once for each kind of database, and run by its own driver.

SQLAlchemy describes them. Run by it, each would be looked up, bound and wrapped anew, which costs several times what
SQLite needs to find a row by its key, and every request finds some.
"""

from __future__ import annotations

import functools
import sqlite3
from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from sqlalchemy import Select
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.expression import ClauseElement

_DIALECT: Final[Dialect] = sqlite.dialect(paramstyle="named")
_DIALECT.dbapi = sqlite3  # type: ignore[assignment]  # it names the errors
PSYCOPG: Final[Dialect] = psycopg.dialect()  # type: ignore[no-untyped-call]


class Reader(Protocol):
    """A reader executes statements: it is a database, or one connection to it."""

    def execute(self, statement: Any, values: Any = None) -> Any: ...

    def expects(self, statement: Select[Any]) -> int | None:
        """Return how many rows the database's statistics expect of a statement; None where it has none to ask."""


class Prepared:
    """A statement on columns of text and numbers. Columns of other types need SQLAlchemy, which converts them.

    `keys` are the columns that an insert sets; None sets all of the table. `postgresql` is the statement for
    PostgreSQL, where it is another one. `planned_anew`: PostgreSQL plans each run for its values, where a plan for any
    values would be much worse for some.
    """

    def __init__(
        self,
        statement: ClauseElement,
        keys: Sequence[str] | None = None,
        postgresql: ClauseElement | None = None,
        *,
        planned_anew: bool = False,
    ) -> None:
        self._keys = None if keys is None else list(keys)
        self._postgresql = statement if postgresql is None else postgresql
        # What psycopg takes: None has the server keep a plan after some runs.
        self.prepare = False if planned_anew else None
        # What the statement itself gives, such as a limit, is a constant; the rest is given when it runs.
        self.sql, self.constants = self._compiled(statement, _DIALECT)
        # Rows of a statement in text have no names.
        self.row = _row_of(statement.selected_columns.keys()) if isinstance(statement, Select) else tuple

    def _compiled(self, statement: ClauseElement, dialect: Dialect) -> tuple[str, dict[str, Any]]:
        compiled = statement.compile(dialect=dialect, column_keys=self._keys)
        return str(compiled), {name: value for name, value in compiled.params.items() if isinstance(value, int | str)}

    @functools.cached_property
    def for_postgresql(self) -> tuple[str, dict[str, Any]]:
        """Return the text and the constants for psycopg."""
        return self._compiled(self._postgresql, PSYCOPG)


def _row_of(names: Sequence[str]) -> Any:
    """Return how a row with columns of these names is made of its values."""
    kind: Any = namedtuple
    return kind("Row", names)._make


class Rows:
    """The rows that a statement has found, read once, with the part of SQLAlchemy's result that the stores use."""

    def __init__(self, cursor: Any, row: Any) -> None:
        self._cursor, self._row = cursor, row

    def __iter__(self) -> Iterator[Any]:
        return map(self._row, self._cursor.fetchall())

    @property
    def rowcount(self) -> int:
        """Return the number of rows that were written."""
        return int(self._cursor.rowcount)

    def all(self) -> list[Any]:
        return list(self)

    def first(self) -> Any:
        row = self._cursor.fetchone()
        self._cursor.close()  # an open one would hold back a checkpoint of the log
        return None if row is None else self._row(row)

    def scalar(self) -> Any:
        row = self._cursor.fetchone()
        self._cursor.close()
        return None if row is None else row[0]


def run(
    driver: sqlite3.Connection, prepared: Prepared, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]
) -> Rows:
    """Run a statement once, or for each of a list of values. Raise SQLAlchemy's errors."""
    try:
        if isinstance(values, Mapping):
            parameters = {**prepared.constants, **values} if prepared.constants else values
            return Rows(driver.execute(prepared.sql, parameters), prepared.row)
        return Rows(driver.executemany(prepared.sql, values), prepared.row)
    except sqlite3.Error as error:
        raise as_database_error(prepared.sql, error) from error


def as_database_error(sql: str, error: sqlite3.Error) -> Exception:
    """Return the driver's error as SQLAlchemy's, by which callers tell a full disk from a mistake."""
    return DBAPIError.instance(sql, None, error, sqlite3.Error, dialect=_DIALECT)
