"""This module is the pool of connections to a PostgreSQL server, for reads of what was committed.

Lists, counts, events, sessions and audit records are read with it. The connection of postgres.py has everything else,
as the event loop's thread puts its writes in their order. A read here runs in a thread, and holds up neither that
connection nor the event loop. Each connection is asked whether it is alive before it is used, so that a restart of the
server costs no read that begins after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout
from sqlalchemy import Connection, Select, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from kubiya_worker.server.store.address import PostgresAddress
from kubiya_worker.server.store.postgres_connection import (
    DatabaseAway,
    DatabaseBusy,
    as_database_error,
    in_one_line,
    options,
)
from kubiya_worker.server.store.postgres_plan import expected
from kubiya_worker.server.store.statement import Prepared, Reader, Rows

LOST: Final = frozenset({"57P01", "57P02", "57P03", None})  # the server ends, or the connection is gone
WAIT: Final = 5.0  # seconds for a connection
IDLE: Final = 300.0  # seconds after which a connection that nobody used is closed
T = TypeVar("T")


class PooledReader:
    """One connection of the pool, for statements that each see what is committed."""

    def __init__(self, server: psycopg.Connection[Any], opened: Callable[[], Connection]) -> None:
        """`opened` gives the connection of SQLAlchemy, which prepared statements do not need."""
        self._server: Any = server
        self._opened = opened

    @functools.cached_property
    def _connection(self) -> Connection:
        return self._opened()

    def execute(self, statement: Any, values: Any = None) -> Any:
        if not isinstance(statement, Prepared):
            return self._connection.execute(statement, values)
        query, constants = statement.for_postgresql
        try:
            parameters = {**constants, **(values or {})}
            return Rows(self._server.execute(query, parameters, prepare=statement.prepare), statement.row)
        except psycopg.Error as error:
            raise as_database_error(query, error) from error

    def expects(self, statement: Select[Any]) -> int | None:
        return expected(self, statement)


class PostgresReaders:
    def __init__(self, address: PostgresAddress, most: int) -> None:
        """Connect to nobody yet; at most `most` connections are made, each when it is needed."""
        self._address, self._most = address, most
        self._free = asyncio.Semaphore(most)
        self._free_for_long = asyncio.Semaphore(max(1, most - 1))
        # Not asyncio's own threads: those that wait for a lost server would hold up what has nothing to do with it.
        self._threads = ThreadPoolExecutor(most, "database-reader")
        self._pool = ConnectionPool(
            address.url,
            kwargs={"autocommit": True, **options(address)},
            min_size=0,
            max_size=most,
            open=True,
            check=ConnectionPool.check_connection,
            name="readers",
            timeout=WAIT,
            max_idle=IDLE,
            reconnect_timeout=WAIT,
            num_workers=1,
        )
        self._reading: set[psycopg.Connection[Any]] = set()
        self._lent = threading.local()  # to the thread that reads
        self._engine = create_engine(
            "postgresql+psycopg://",
            creator=lambda: self._lent.server,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
        )
        # SQLAlchemy has only borrowed it. With the pool's `close_returns` in place of this, a connection that was ended
        # by the server is never given back, and the pool has one less for ever (psycopg-pool 3.3.3).
        for method in ("do_close", "do_terminate"):
            setattr(self._engine.dialect, method, lambda connection: None)

    async def read(self, work: Callable[[Reader], T], *, long: bool = False) -> T:
        """Return what `work` reads with a connection; raise DatabaseBusy or DatabaseAway after WAIT seconds.

        Of two or more connections, `long` reads leave one to the others.
        """
        permits: list[asyncio.Semaphore] = []
        try:
            async with asyncio.timeout(WAIT):
                for free in (self._free_for_long, self._free) if long else (self._free,):
                    await free.acquire()
                    permits.append(free)
        except BaseException as error:
            for free in permits:
                free.release()
            if not isinstance(error, TimeoutError):
                raise
            raise DatabaseBusy(
                f"All {self._most} connections for reads of {self._address} were in use for {WAIT:g} s. Try again, "
                "or start the server with more --database-connections"
            ) from None
        loop, read = asyncio.get_running_loop(), self._threads.submit(self._read, work)

        def give_back(_: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                for free in permits:
                    loop.call_soon_threadsafe(free.release)

        read.add_done_callback(give_back)  # also when nobody waits any more: until then the thread has the connection
        return await asyncio.wrap_future(read)

    def _read(self, work: Callable[[Reader], T]) -> T:
        with self._explained(), self._pool.connection() as server:
            self._lent.server = server
            self._reading.add(server)
            try:
                with contextlib.ExitStack() as opened:
                    return work(PooledReader(server, lambda: opened.enter_context(self._engine.connect())))
            finally:
                self._reading.discard(server)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, PoolTimeout) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            if isinstance(cause, PoolTimeout):
                raise DatabaseAway(f"{self._address} does not answer") from error
            if isinstance(cause, psycopg.OperationalError) and cause.sqlstate in LOST:
                raise DatabaseAway(in_one_line(str(cause))) from error
            raise

    def close(self) -> None:
        for server in list(self._reading):  # else the end of the process would wait for them
            with contextlib.suppress(psycopg.Error):
                server.cancel()
        self._threads.shutdown(wait=False)
        self._engine.dispose()
        self._pool.close(timeout=1)
