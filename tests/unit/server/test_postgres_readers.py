"""The pool of connections for reads: how many there are, and what a killed server and too many reads cost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from kubiya_worker.errors import UsageError
from kubiya_worker.server import __main__ as program
from kubiya_worker.server import command_line
from kubiya_worker.server.store.statement import Prepared
from tests.support import databases, postgres
from tests.support.api import Api
from tests.support.postgres import PostgresServer

pytest.importorskip("psycopg_pool")
from kubiya_worker.server.store import postgres_readers
from kubiya_worker.server.store.postgres_connection import DatabaseAway, DatabaseBusy
from kubiya_worker.server.store.postgres_readers import PostgresReaders

pytestmark = pytest.mark.skipif(
    postgres.programs() is None, reason="PostgreSQL is not installed (apt-get install postgresql)"
)
PID = Prepared(text("select pg_backend_pid()"))


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may stop."""
    with postgres.postgres_server() as made:
        yield made


def pid(reader: Any) -> int:
    found: int = reader.execute(PID).scalar()
    return found


async def used_together(readers: PostgresReaders, many: int) -> set[int]:
    """Return the connections of this many reads at once, none of which ends before all have begun."""
    together = threading.Barrier(many)

    def work(reader: Any) -> int:
        found = pid(reader)
        together.wait(60)
        return found

    return set(await asyncio.gather(*(readers.read(work) for _ in range(many))))


async def test_reads_share_a_limited_number_of_connections() -> None:
    readers = PostgresReaders(databases.server().fresh(), 2)
    try:
        first = await used_together(readers, 2)
        assert len(first) == 2
        assert set(await asyncio.gather(*(readers.read(pid) for _ in range(30)))) <= first
    finally:
        readers.close()


async def test_a_server_that_was_killed_and_started_again_costs_no_read(own_server: PostgresServer) -> None:
    readers = PostgresReaders(own_server.address(), 3)
    try:
        before = await used_together(readers, 3)
        own_server.kill()
        own_server.start()  # none of the three connections is alive, and nobody has told the pool
        assert not await used_together(readers, 3) & before
    finally:
        readers.close()


async def test_a_server_that_is_away_is_told_in_a_bounded_time_and_found_again(
    own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_readers, "WAIT", 1.0)
    readers = PostgresReaders(own_server.address(), 2)
    try:
        await used_together(readers, 2)
        own_server.kill()
        began = time.monotonic()
        for told in await asyncio.gather(*(readers.read(pid) for _ in range(2)), return_exceptions=True):
            assert isinstance(told, DatabaseAway) and "does not answer" in str(told)
        assert time.monotonic() - began < 30
        own_server.start()
        async with asyncio.timeout(60):
            while True:
                try:
                    await readers.read(pid)
                    break
                except DatabaseAway:  # the pool waits between two tries
                    continue
    finally:
        readers.close()


async def test_a_read_whose_connection_is_ended_says_so_and_the_next_has_another() -> None:
    readers = PostgresReaders(databases.server().fresh(), 1)
    try:
        with pytest.raises(DatabaseAway, match="terminating connection"):
            await readers.read(lambda reader: reader.execute(text("select pg_terminate_backend(pg_backend_pid())")))
        with pytest.raises(DatabaseAway, match="terminating connection"):
            ends = Prepared(text("select pg_terminate_backend(pg_backend_pid())"))
            await readers.read(lambda reader: reader.execute(ends))
        assert await readers.read(pid)
    finally:
        readers.close()


async def test_a_read_that_nobody_waits_for_keeps_its_connection_until_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgres_readers, "WAIT", 0.3)
    readers = PostgresReaders(databases.server().fresh(), 1)
    begun, loop = asyncio.Event(), asyncio.get_running_loop()

    def work(reader: Any) -> None:
        loop.call_soon_threadsafe(begun.set)
        reader.execute(text("select pg_sleep(600)"))

    asked = asyncio.ensure_future(readers.read(work))
    try:
        await begun.wait()
        asked.cancel()
        with pytest.raises(DatabaseBusy):
            await readers.read(pid)
    finally:
        readers.close()
    await asyncio.to_thread(readers._threads.shutdown)  # the statement was ended: this hangs else


async def test_long_reads_leave_a_connection_to_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_readers, "WAIT", 5.0)
    readers = PostgresReaders(databases.server().fresh(), 2)
    begun, release, loop = asyncio.Event(), threading.Event(), asyncio.get_running_loop()

    def search(reader: Any) -> int:
        loop.call_soon_threadsafe(begun.set)
        release.wait(60)
        return pid(reader)

    first = asyncio.ensure_future(readers.read(search, long=True))
    try:
        await begun.wait()
        second = asyncio.ensure_future(readers.read(pid, long=True))
        for _ in range(3):
            assert await readers.read(pid)
        assert not second.done()
        monkeypatch.setattr(postgres_readers, "WAIT", 0.3)
        with pytest.raises(DatabaseBusy):
            await readers.read(pid, long=True)
        release.set()
        assert await first and await second, "who waited in vain has given back what it had taken"
    finally:
        release.set()
        readers.close()


def test_a_list_that_finds_no_free_connection_is_answered_and_never_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "place", lambda folder: databases.server().fresh())
    monkeypatch.setattr(postgres_readers, "WAIT", 0.5)
    with Api(tmp_path) as api:
        execution, database, release = api.execute(), api.plane.database, threading.Event()
        database.most_reading = 1
        held: list[asyncio.Task[Any]] = []

        async def hold() -> None:
            begun = asyncio.Event()
            loop = asyncio.get_running_loop()

            def work(reader: Any) -> None:
                loop.call_soon_threadsafe(begun.set)
                release.wait(60)

            held.append(asyncio.ensure_future(database.reading(work)))
            await begun.wait()

        async def let_go() -> None:
            release.set()
            await held[0]

        api.run(hold())
        answer = api.ask("GET", "/executions")
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
        assert "All 1 connections" in answer.json()["detail"] and "--database-connections" in answer.json()["detail"]
        assert api.call("GET", f"/executions/{execution}"), "what needs no pool is served"
        api.run(let_go())
        assert [one["id"] for one in api.call("GET", "/executions")] == [execution]


def test_the_number_of_connections_is_a_setting_for_postgresql_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = databases.options(databases.server().fresh(), tmp_path)
    made = program.open_plane(command_line.parse([*key, "--database-connections", "9"]))
    assert made.database.most_reading == 9
    made.database.close()
    for wrong in ("0", "101", "x"):
        with pytest.raises(UsageError, match="not a number from 1 to 100"):
            command_line.parse([*key, "--database-connections", wrong])
    with pytest.raises(UsageError, match="is for PostgreSQL"):
        command_line.parse(["--database", str(tmp_path / "cp.db"), "--database-connections", "9"])


def test_busy_is_told_apart_from_away() -> None:
    assert isinstance(DatabaseBusy("x").orig, TimeoutError) and isinstance(DatabaseAway("x").orig, ConnectionError)
