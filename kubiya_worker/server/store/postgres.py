"""This module is the store's database on a PostgreSQL server, which several control planes share.

Each process has one connection for its statements, as they run on the event loop's thread, one after the other
(database.py), and a pool for reads that need not (postgres_readers.py). When the connection is lost, a thread connects
again, and meanwhile every statement fails at once: a request is answered 503, and nothing waits.

Each statement sees what is committed (READ COMMITTED). What is read to be changed is read `FOR UPDATE`, or written only
where it is still what was read (`Stale`). A request that loses such a race is run again (http.py).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Engine, Select, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from kubiya_worker.errors import ConfigurationError, Unavailable, WorkerError
from kubiya_worker.event_log import EventLogger
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.address import PostgresAddress
from kubiya_worker.server.store.database import HEAD, Database, Stale, run_migrations
from kubiya_worker.server.store.journal import Change
from kubiya_worker.server.store.postgres_connection import (
    LONGEST_STATEMENT,
    DatabaseAway,
    as_database_error,
    connected,
    in_one_line,
)
from kubiya_worker.server.store.postgres_plan import expected
from kubiya_worker.server.store.postgres_readers import PostgresReaders
from kubiya_worker.server.store.postgres_text_index import PostgresTextIndex
from kubiya_worker.server.store.statement import Prepared, Reader, Rows

log = EventLogger(__name__)

OLDEST: Final = 130_000  # PostgreSQL 13
RECONNECT: Final = 0.3  # seconds between two tries
MIGRATION_WAIT: Final = 600.0  # seconds for another process that changes the schema
# Lost races: not serializable, deadlock, unique, foreign key, lock not available.
LOST_RACES: Final = frozenset({"40001", "40P01", "23505", "23503", "55P03"})
NO_RIGHT: Final = "42501"
MIGRATING: Final = "kubiya schema"
T = TypeVar("T")


class PostgresDatabase(Database):
    shared = True

    def __init__(self, address: PostgresAddress) -> None:
        """Connect; raise ConfigurationError when the address is wrong, Unavailable when nobody answers there."""
        self.address = address
        self.path = Path(str(address))  # in messages
        self.rollbacks = 0
        self._depth = 0
        self._changes: list[Change] = []
        self.held = {}
        self._lock = None
        self._begun = False  # whether the server has the transaction that is open here
        self._doomed = False  # whether that transaction is lost with its connection
        self._lost = False
        self._closed = False
        self._fresh: psycopg.Connection[Any] | None = None  # made by the thread that connects again
        self._readers: PostgresReaders | None = None
        self.text_index = PostgresTextIndex(address)
        self.texts = self.text_index
        self._server: psycopg.Connection[Any]
        self._engine: Engine
        self.connection: Connection
        self._use(connected(address))
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise

    def _use(self, server: psycopg.Connection[Any]) -> None:
        self._server = server
        self._engine = create_engine(
            "postgresql+psycopg://", creator=lambda: server, poolclass=StaticPool, isolation_level="AUTOCOMMIT"
        )
        self.connection = self._engine.connect()

    # -- the schema

    def _migrate(self) -> None:
        if self._server.info.server_version < OLDEST:
            raise ConfigurationError(
                f"The server of {self.address} is PostgreSQL {self._server.info.server_version // 10_000}",
                remedy=f"Use PostgreSQL {OLDEST // 10_000} or newer",
            )
        if self._version() == HEAD:
            return
        try:
            with self.alone():
                version = self._version()  # another process may have done it meanwhile
                if version is None:
                    self._make()
                elif version != HEAD:
                    self.upgrade()
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == NO_RIGHT:
                raise ConfigurationError(
                    f"The user of {self.address} may make no tables there",
                    remedy="Make it the owner of the database, or grant it CREATE on the schema",
                ) from error
            raise

    def _version(self) -> str | None:
        """Return the newest migration of the schema; None for a schema without tables."""
        query = text("select tablename from pg_tables where schemaname = current_schema()")
        tables = {row[0] for row in self.execute(query)}
        if "alembic_version" in tables:
            return str(self.execute(text("select version_num from alembic_version")).scalar())
        if tables:
            raise ConfigurationError(
                f"{self.address} has tables, but not of this control plane",
                remedy="Name an empty database with --database",
            )
        return None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        key = {"key": MIGRATING}
        deadline = time.monotonic() + MIGRATION_WAIT
        while not self.execute(
            text("select pg_try_advisory_lock(hashtext(:key), hashtext(current_schema()))"), key
        ).scalar():
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"Another control plane has been changing the schema of {self.address} for too long",
                    remedy="Look into its log, and start this one again when it is ready",
                )
            time.sleep(0.2)
        # A busy host may stand still between two statements for longer than another transaction may.
        idle = self.execute(text("show idle_in_transaction_session_timeout")).scalar()
        self.execute(text(f"set idle_in_transaction_session_timeout = '{MIGRATION_WAIT}s'"))
        self.execute(text("set statement_timeout = 0"))
        try:
            yield
        finally:
            with contextlib.suppress(DBAPIError):
                self.execute(text(f"set statement_timeout = '{LONGEST_STATEMENT}s'"))
                self.execute(text(f"set idle_in_transaction_session_timeout = '{idle}'"))
                self.execute(text("select pg_advisory_unlock(hashtext(:key), hashtext(current_schema()))"), key)

    def _make(self) -> None:
        with self.transaction():
            self._begin()
            schema.metadata.create_all(self.connection)  # a test checks that the migrations create the same schema
            self.execute(text("create table alembic_version (version_num varchar(32) not null)"))
            self.execute(text("insert into alembic_version values (:head)"), {"head": HEAD})
            self._order_by_bytes()

    def upgrade(self) -> None:
        with self.transaction():
            self._begin()
            run_migrations(self.connection, str(self.address))
            self._order_by_bytes()

    def _order_by_bytes(self) -> None:
        """Let texts be ordered as SQLite orders them: a language's order leaves out the signs in times and cursors."""
        columns = self.execute(
            text(
                "select table_name, column_name, data_type from information_schema.columns "
                "where table_schema = current_schema() and collation_name is distinct from 'C' "
                "and data_type in ('text', 'character varying') and table_name != 'alembic_version'"
            )
        ).all()
        changes: dict[str, list[str]] = {}
        for table, column, kind in columns:
            changes.setdefault(table, []).append(f'alter column {column} type {kind} collate "C"')
        for table, changed in changes.items():
            self.execute(text(f"alter table {table} {', '.join(changed)}"))

    # -- statements

    def execute(self, statement: Any, values: Any = None) -> Any:
        if self._lost:
            self._find_again()
        if self._doomed:
            raise DatabaseAway("the connection was lost in the middle of a transaction")
        if self._depth and not self._begun:
            self._begin()
        if isinstance(statement, Prepared):
            return self._run(statement, {} if values is None else values)
        try:
            return (
                self.connection.execute(statement, values) if values is not None else self.connection.execute(statement)
            )
        except DBAPIError as error:
            self._look_at(error.orig)
            raise

    def expects(self, statement: Select[Any]) -> int | None:
        return expected(self, statement)

    def _run(self, prepared: Prepared, values: Any) -> Rows:
        sql, constants = prepared.for_postgresql
        try:
            if isinstance(values, list) and len(values) == 1:  # the usual append: without a pipeline's own round trips
                cursor = self._server.execute(sql, values[0])
            elif isinstance(values, list):
                cursor = self._server.cursor()
                cursor.executemany(sql, values)
            else:
                parameters = {**constants, **values} if constants else values
                cursor = self._server.execute(sql, parameters, prepare=prepared.prepare)
            return Rows(cursor, prepared.row)
        except psycopg.Error as error:
            self._look_at(error)
            raise as_database_error(sql, error) from error

    async def reading(self, work: Callable[[Reader], T], *, long: bool = False) -> T:
        if self._lost and self._fresh is None:  # at once, as for all other statements
            raise DatabaseAway(f"{self.address} does not answer")
        if self._readers is None:
            self._readers = PostgresReaders(self.address, self.most_reading)
        return await self._readers.read(work, long=long)

    async def aside(self, statement: Prepared) -> list[Any]:
        return await self.reading(lambda reader: list(reader.execute(statement)), long=True)

    @contextlib.contextmanager
    def copied(self, table: str, columns: Sequence[str]) -> Iterator[psycopg.Copy]:
        """Take many rows of a table in the transaction that is open."""
        self._begin()
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        query = sql.SQL("copy {} ({}) from stdin").format(sql.Identifier(table), names)
        with self._server.cursor() as cursor, cursor.copy(query) as copy:
            yield copy

    def _look_at(self, error: Any) -> None:
        """Raise DatabaseAway when the connection is lost with the statement that failed."""
        if self._server.closed:
            self._lose(str(error))
            raise DatabaseAway(in_one_line(str(error))) from error

    def _begin(self) -> None:
        if not self._begun:
            try:
                self._server.execute("begin")
            except psycopg.Error as error:
                self._look_at(error)
                raise as_database_error("begin", error) from error
            self._begun = True

    def _commit(self) -> None:
        if self._doomed:
            self._doomed = False
            raise DatabaseAway("the connection was lost in the middle of a transaction")
        if self._begun:
            self._begun = False
            self.held.clear()
            try:
                self._server.execute("commit")
            except psycopg.Error as error:
                self._look_at(error)
                raise as_database_error("commit", error) from error

    def _roll_back(self) -> None:
        if self._begun and not self._lost:
            try:
                self._server.execute("rollback")
            except psycopg.Error as error:
                self._lose(str(error))
        self._begun = False
        self.held.clear()
        if self._depth == 1:
            self._doomed = False

    def used_bytes(self) -> int:
        raise NotImplementedError("PostgreSQL tells the size of its files, and not how much of them is in use")

    def give_back(self, pages: int) -> bool:
        return False  # its own autovacuum does that

    def again(self, error: Exception) -> bool:
        if isinstance(error, Stale):
            return True
        return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in LOST_RACES

    # -- the connection

    def _lose(self, reason: str) -> None:
        if self._lost or self._closed:
            return
        self._lost, self._doomed = True, self._depth > 0
        self.rollbacks += 1  # a commit that was not answered may have been none
        log.error("database.lost", address=self.address, error=in_one_line(reason))
        threading.Thread(target=self._connect_again, name="database", daemon=True).start()

    def _connect_again(self) -> None:
        while not self._closed:
            try:
                self._fresh = connected(self.address)
                return
            except WorkerError as error:
                log.debug("database.away", error=error.line())
                time.sleep(RECONNECT)

    def _find_again(self) -> None:
        """Go on with the new connection, if there is one; raise DatabaseAway otherwise."""
        server, self._fresh = self._fresh, None
        if server is None:
            raise DatabaseAway(f"{self.address} does not answer")
        with contextlib.suppress(Exception):  # of a connection that is broken
            self.connection.close()
        self._engine.dispose()
        self._use(server)
        self._lost = False
        log.info("database.found", address=self.address)

    def compact(self) -> None:
        """Have the server take out what was replaced."""
        self.execute(text("vacuum"))

    def close(self) -> None:
        self._closed = True
        self.text_index.close()
        if self._readers is not None:
            self._readers.close()
        for connection in (self._server, self._fresh):
            if connection is not None:
                with contextlib.suppress(Exception):
                    connection.close()
        self._engine.dispose()
