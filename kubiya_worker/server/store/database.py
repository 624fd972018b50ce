"""This module opens the SQLite database once, migrates it when it is old, and uses it from one thread of one process.

Statements run on the event loop's own thread. Each takes some tens of microseconds; handing it to another thread costs
more than that, and one writer needs no locks. So there is no `await` inside a transaction. `postgres.py` has the same
for a PostgreSQL server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, Select, create_engine, event, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import StaticPool

from kubiya_worker.errors import ConfigurationError, Unavailable
from kubiya_worker.server.store import journal, schema
from kubiya_worker.server.store.journal import Change
from kubiya_worker.server.store.sqlite_file import copy, locked
from kubiya_worker.server.store.statement import Prepared, as_database_error, run
from kubiya_worker.server.store.statement import Reader as Reader
from kubiya_worker.server.store.text_index import SqliteTextIndex, TextIndex

HEAD: Final = "2026_11_models"  # the newest migration; a test compares it with the scripts
MEMORY: Final = Path(":memory:")
LARGEST_JOURNAL: Final = 64 << 20  # bytes that the file beside the database keeps after something has read for long
INCREMENTAL: Final = 2  # auto_vacuum: pages that are free can be cut off the file, some at a time
CACHE: Final = 16 << 10  # KiB of pages in memory; with SQLite's own 2 MiB a search reads most of them anew
OWN_CHECKPOINT: Final = 4096  # pages of 4 KiB: a server does it earlier, from a thread (background.py)
MOST_READING: Final = 4
MIGRATIONS: Final = Path(__file__).parents[1] / "migrations"
T = TypeVar("T")


def now() -> str:
    return datetime.now(UTC).isoformat()


def is_known(version: str) -> bool:
    """Return whether this package has the migration that made a database."""
    return (MIGRATIONS / "versions" / f"{version}.py").exists()


_encode: Final = json.JSONEncoder(separators=(",", ":")).encode  # `json.dumps` would make an encoder for each value


def dumps(value: Any) -> str:
    """Return JSON in ASCII on one line, which no client can split and half a surrogate pair cannot break.

    What pydantic's encoder makes in a quarter of the time is that already, as nearly all values are ASCII.
    """
    try:
        encoded = to_json(value)
    except ValueError:  # half a surrogate pair, or a value that is nested too deep for it
        return _encode(value)
    return encoded.decode() if encoded.isascii() else _encode(value)


def loads(text: str) -> Any:
    """Return the value of JSON that `dumps` has made."""
    try:
        return from_json(text, cache_strings="keys")
    except ValueError:  # half a surrogate pair, or a value that is nested too deep for it
        return json.loads(text)


def run_migrations(connection: Connection, place: str) -> None:
    """Run, in the transaction that is open, the migrations that the database at `place` does not have yet."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigurationError(
            f"{place} was made by another version of kubiya-worker ({error})",
            remedy="Use that version, or name another database with --database",
        ) from error


class Stale(Exception):
    """Another process changed a row between its reading and its writing; the request is to be run again."""


class Database:
    most_reading = MOST_READING  # connections of the pool for reads
    shared = False  # whether other processes may write meanwhile, so that nothing of it may be kept in memory

    def __init__(self, path: Path, *, exclusive: bool = True) -> None:
        """Open the file; raise ConfigurationError when it is not ours, Unavailable when it cannot be opened.

        `exclusive` forbids another server on the file, because event numbers and notifications live in this process.
        """
        self.path = path
        self.rollbacks = 0  # caches of written rows compare this number, to drop what was undone
        self._depth = 0
        self._changes: list[Change] = []
        self.held: dict[str, int | None] = {}  # see `hold`
        self._lock: int | None = None
        self.texts: TextIndex
        self._engine = create_engine(f"sqlite:///{path}", poolclass=StaticPool, connect_args={"timeout": 10})
        event.listen(self._engine, "connect", _pragmas)
        self.connection: Connection
        self._driver: sqlite3.Connection
        try:
            self._open(exclusive)
        except BaseException:
            self.close()
            raise

    def _open(self, exclusive: bool) -> None:
        path = self.path
        try:
            if path != MEMORY:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._lock = locked(path) if exclusive else None
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self.connection = self._engine.connect()
            driver = self.connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            self._driver = driver  # one for all, as the pool has one
            self._migrate()
            self._index_texts()
        except OperationalError as error:
            raise Unavailable(
                f"The database {path} cannot be opened: {error.orig}",
                remedy="Check the folder, its rights and the disk",
            ) from error
        except DatabaseError as error:
            raise ConfigurationError(
                f"{path} is not a database of this control plane: {error.orig}",
                remedy=f"Move it away (mv {path} {path}.broken), or name another one with --database",
            ) from error
        except OSError as error:
            raise Unavailable(
                f"The database {path} cannot be opened: {error.strerror}", remedy="Check the folder and its rights"
            ) from error

    def _migrate(self) -> None:
        """Bring the schema to HEAD. Import Alembic only for an old database, because that costs 0.2 s."""
        tables = {row[0] for row in self.connection.execute(text("select name from sqlite_master where type='table'"))}
        self.connection.commit()
        if not tables:
            with self._rebuilding():
                schema.metadata.create_all(self.connection)  # a test checks that the migrations create the same schema
                self.connection.execute(text("create table alembic_version (version_num varchar(32) not null)"))
                self.connection.execute(text("insert into alembic_version values (:head)"), {"head": HEAD})
            return
        if "alembic_version" not in tables:
            raise ConfigurationError(
                f"{self.path} is an SQLite database, but not of this control plane",
                remedy="Name another file with --database",
            )
        version = str(self.connection.execute(text("select version_num from alembic_version")).scalar())
        self.connection.commit()
        if version != HEAD:
            if is_known(version):
                self._copy(version)
            self.upgrade()

    def _index_texts(self) -> None:
        texts = SqliteTextIndex(self, self._driver)
        if not texts.is_complete():
            with self._rebuilding():
                texts.make()
        self.texts = texts

    def _copy(self, version: str) -> None:
        """Keep the database as the version before has left it: a migration has no way back."""
        target = self.path.with_name(f"{self.path.name}.{version}.old")
        try:
            copy(self._driver, target)
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(
                f"The copy {target} before the upgrade of the database cannot be written: {error}",
                remedy="Free some space there; it needs as much as the database",
            ) from error

    def upgrade(self) -> None:
        """Run the migrations that this database does not have yet."""
        with self._rebuilding():
            run_migrations(self.connection, str(self.path))

    @contextlib.contextmanager
    def _rebuilding(self) -> Iterator[None]:
        """Run schema changes in a transaction, so that a kill in the middle leaves the old schema.

        sqlite3 begins none by itself before DDL. Foreign keys are off meanwhile: SQLite changes a table by building a
        new one, and dropping the old one would delete the rows that refer to it.
        """
        self.connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        self.connection.commit()
        try:
            with self.transaction():
                self.connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield
        finally:
            self.connection.exec_driver_sql("PRAGMA foreign_keys=ON")
            self.connection.commit()

    def execute(self, statement: Any, values: Any = None) -> Any:
        if isinstance(statement, Prepared):
            return run(self._driver, statement, {} if values is None else values)
        return self.connection.execute(statement, values) if values is not None else self.connection.execute(statement)

    def expects(self, statement: Select[Any]) -> int | None:
        return None

    async def reading(self, work: Callable[[Reader], T], *, long: bool = False) -> T:
        """Return what `work` reads of what was committed.

        `work` gets what executes its statements, from a pool of connections where there is one; what it returns holds
        no open result. A `long` read leaves one connection to short ones: streams go on while lists are searched.
        """
        return work(self)

    async def aside(self, statement: Prepared) -> list[Any]:
        """Return the rows of a statement that reads much of what was committed; meanwhile others are served."""
        return self.execute(statement).all() if self.path == MEMORY else await asyncio.to_thread(self._aside, statement)

    def _aside(self, statement: Prepared) -> list[Any]:
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=10)) as connection:
                return run(connection, statement, {}).all()
        except sqlite3.Error as error:
            raise as_database_error(statement.sql, error) from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all writes or none; transactions nest, and the outermost one commits."""
        self._depth += 1
        try:
            yield
            if self._depth == 1:
                if self._changes:
                    changes, self._changes = self._changes, []
                    journal.write(self.execute, changes)
                self._commit()
        except BaseException:
            self._changes.clear()
            self._roll_back()
            self.rollbacks += 1
            raise
        finally:
            self._depth -= 1

    def _commit(self) -> None:
        self.connection.commit()
        try:
            self._driver.commit()  # SQLAlchemy does nothing where only prepared statements have run
        except sqlite3.Error as error:
            raise as_database_error("commit", error) from error

    def _roll_back(self) -> None:
        self.connection.rollback()
        self._driver.rollback()

    def again(self, error: Exception) -> bool:
        """Return whether what failed may succeed when it is run again at once.

        Only writers in other processes can cause such a failure.
        """
        return False

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other server do what it does at its start: change the schema, make what is missing."""
        yield

    def used_bytes(self) -> int:
        """Return the bytes of the pages that hold something, without free ones."""
        pages, free, size = (self._pragma(name) for name in ("page_count", "freelist_count", "page_size"))
        return (pages - free) * size

    def give_back(self, pages: int) -> bool:
        """Cut at most this many free pages off the file; return whether more can be cut."""
        if self._pragma("auto_vacuum") != INCREMENTAL or not self._pragma("freelist_count"):
            return False
        self._driver.execute(f"PRAGMA incremental_vacuum({pages:d})").fetchall()
        return self._pragma("freelist_count") > 0

    def _pragma(self, name: str) -> int:
        return int(self._driver.execute(f"PRAGMA {name}").fetchone()[0])

    def compact(self) -> None:
        """Take out of the file what was replaced in it: it stays in free pages and in the journal."""
        self.connection.exec_driver_sql("VACUUM")
        self.connection.commit()
        self.connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def hold(self, execution_id: str, last: int | None = None) -> None:
        """Note that the transaction that is open holds an execution's row, and the last number of its log if known.

        Until its end no other process numbers anything of this execution. One process alone notes nothing.
        """
        if self.shared and self._depth and (last is not None or execution_id not in self.held):
            self.held[execution_id] = last

    def changed(self, change: Change) -> None:
        """Have what was changed recorded in the transaction that is open."""
        assert self._depth, "a change outside of a transaction would be without its record"
        self._changes.append(change)

    def close(self) -> None:
        if hasattr(self, "connection"):  # there is no connection when it could not be opened
            self.connection.close()
        self._engine.dispose()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _pragmas(connection: Any, _: Any) -> None:
    try:
        # The first of them: it counts for a file without tables, and for others from their next VACUUM on.
        connection.execute(f"PRAGMA auto_vacuum={INCREMENTAL}")
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=10000"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(f"PRAGMA cache_size=-{CACHE}")
        connection.execute(f"PRAGMA journal_size_limit={LARGEST_JOURNAL}")
        connection.execute(f"PRAGMA wal_autocheckpoint={OWN_CHECKPOINT}")
    except BaseException:  # not a database: the pool never had this connection, and so does not close it
        connection.close()
        raise
