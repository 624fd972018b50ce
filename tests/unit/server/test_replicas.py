"""Servers of one PostgreSQL database: what they tell each other, who works for all, and what they take turns at."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import psycopg
import pytest

from kubiya_worker.server import auth
from kubiya_worker.server.locks import Locks
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.sealing import KeyInMemory
from kubiya_worker.server.store.address import PostgresAddress
from kubiya_worker.server.temporal import Temporal
from kubiya_worker.server.temporal_access import TemporalAccess
from tests.support import databases, postgres

replicas = pytest.importorskip("kubiya_worker.server.replicas")
pytestmark = pytest.mark.skipif(
    postgres.programs() is None, reason="PostgreSQL is not installed (apt-get install postgresql)"
)
EXECUTION = {"id": "e1", "organization_id": "o", "execution_type": "agent", "entity_id": "a", "queue_id": "q"}
LIMIT = 60.0  # seconds
EVENT = {"event_type": "notice", "data": {"text": "x"}}


class Server:
    """One of the servers, without its routes; `working` says whether it works for all."""

    def __init__(self, address: PostgresAddress) -> None:
        self.plane = Plane(address, Temporal(TemporalAccess("127.0.0.1:1")), secrets_key=KeyInMemory())
        self.replicas = replicas.Replicas(self.plane, address)
        self.working = False
        self._task = asyncio.create_task(self.replicas.run(self._lead))

    async def _lead(self) -> None:
        self.working = True
        try:
            await asyncio.Event().wait()
        finally:
            self.working = False

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.plane.database.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def two(address: PostgresAddress) -> AsyncIterator[tuple[Server, Server]]:
    first, second = Server(address), Server(address)
    try:
        yield first, second
    finally:
        await first.stop()
        await second.stop()


@pytest.mark.parametrize("way", ["told", "looked for"])
async def test_who_follows_an_execution_hears_of_events_that_another_server_has_stored(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "LOOK", 0.2 if way == "looked for" else 10_000.0)
    async with two(databases.server().fresh()) as (first, second):
        if way == "looked for":  # as when the server was killed between its commit and its word
            first.plane.watchers.told = None
        first.plane.stores.executions.create(dict(EXECUTION), own={})
        watcher = second.plane.watchers.join("e1")
        assert await watcher.wait(LIMIT)  # it listens now: whoever begins to is woken
        await asyncio.sleep(0.5)
        watcher.clear()
        first.plane.runs.publish("e1", [EVENT])
        assert await watcher.wait(LIMIT)
        page = await second.plane.watchers.page("e1", 0)
        assert page is not None and page.last == 1


async def test_a_key_that_one_revokes_ends_at_the_others_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "FRESH", 10_000.0)  # so that only what they tell each other ends it
    async with two(databases.server().fresh()) as (first, second):
        assert await second.plane.watchers.join("e1").wait(LIMIT)  # it listens now: whoever begins to is woken
        key = first.plane.stores.keys.create(about={"name": "Ann", "email": "ann@example.org", "role": "operator"})
        assert second.plane.stores.keys.caller(key) is not None
        first.plane.stores.keys.revoke("local", auth.key_id_of(auth.hashed(key)))
        assert first.plane.stores.keys.caller(key) is None
        await until(lambda: second.plane.stores.keys.caller(key) is None)


async def test_one_works_for_all_and_hands_over_when_it_ends() -> None:
    async with two(databases.server().fresh()) as (first, second):
        await until(lambda: first.working or second.working)
        assert [first.working, second.working].count(True) == 1
        leader, other = (first, second) if first.working else (second, first)
        assert leader.plane.sender.elsewhere is None and other.plane.sender.elsewhere is not None
        await leader.stop()
        await until(lambda: other.working)
        assert not leader.working and other.plane.sender.elsewhere is None


async def test_what_one_stores_for_temporal_is_sent_by_the_one_that_works_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with two(databases.server().fresh()) as (first, second):
        listening = [each.plane.watchers.join("e1") for each in (first, second)]
        await until(lambda: first.working or second.working)
        leader, other = (first, second) if first.working else (second, first)
        for each in listening:  # whoever begins to listen wakes all: what is told before that is not heard
            assert await each.wait(LIMIT)
        woken: list[str] = []
        monkeypatch.setattr(leader.plane.sender, "wake", woken.append)
        monkeypatch.setattr(leader.plane.sender, "resume", lambda: None)
        execution = other.plane.stores.executions.create(dict(EXECUTION), own={})
        with other.plane.database.transaction():
            other.plane.runs.tell(execution, "cancel")
        await until(lambda: woken == ["e1"])
        assert leader.plane.stores.outbox.next("e1") is not None


async def test_a_leader_that_cannot_extend_its_lease_stops_before_it_ends() -> None:
    with postgres.postgres_server() as own:
        server = Server(own.fresh())
        await until(lambda: server.working)
        await asyncio.to_thread(own.stop)
        async with asyncio.timeout(replicas.LEASE):
            await until(lambda: not server.working)
        assert server.plane.sender.elsewhere is not None and not server.replicas.leads
        await asyncio.to_thread(own.start)
        await until(lambda: server.working)
        await server.stop()


async def test_a_lease_from_before_the_clock_was_set_back_is_over() -> None:
    address = databases.server().fresh()
    server = Server(address)
    try:
        await until(lambda: server.working)
        await server.stop()  # and so its lease is given back
        with psycopg.connect(address.url) as database:
            lease = "insert into leases select 'leader', '', 'dead', extract(epoch from now()) + 86400, 5"
            database.execute(lease)
        server = Server(address)
        await until(lambda: server.working)
    finally:
        await server.stop()


async def test_an_update_lock_is_one_for_all_servers() -> None:
    async with two(databases.server().fresh()) as (first, second):
        mine, theirs = Locks(first.plane.database), Locks(second.plane.database)
        taken = mine.acquire("q", "w1", 60)
        assert taken is not None and theirs.acquire("q", "w2", 60) is None
        assert theirs.held("q") == taken and not theirs.release("q", "w2")
        again = theirs.acquire("q", "w1", 60)
        assert again is not None and again.id == taken.id
        assert theirs.release("q", "w1") and mine.held("q") is None
        assert Locks(first.plane.database, lambda: 0.0).acquire("q", "w2", 1) is not None
        assert mine.held("q") is None  # it is over
