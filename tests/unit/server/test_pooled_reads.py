"""Reads of events, sessions and audit records on PostgreSQL: they wait for no write, and see no gap."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from kubiya_worker.protocol import execution as ex
from kubiya_worker.server import auth
from kubiya_worker.server import stream as streams
from kubiya_worker.server.app import create_app
from kubiya_worker.server.sealing import KeyInMemory, Seal
from kubiya_worker.server.store.database import Database
from kubiya_worker.server.store.events import Events
from kubiya_worker.server.store.executions import Executions
from kubiya_worker.server.store.opened import open_database
from kubiya_worker.server.store.stored_events import StoredEvents
from tests.support import databases, postgres
from tests.support.api import Api

on_postgresql = pytest.mark.skipif(
    postgres.programs() is None, reason="PostgreSQL is not installed (apt-get install postgresql)"
)
LIMIT = 60  # seconds for a hang


def event(number: int) -> dict[str, Any]:
    return {"event_id": f"n{number}", "event_type": "notice", "data": {"message": f"{number}"}}


def be_patient(database: Database) -> None:
    """Let a busy machine take longer than a server's transactions may."""
    database.execute(text("set idle_in_transaction_session_timeout = 0"))
    database.execute(text(f"set lock_timeout = '{LIMIT}s'"))


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr(databases, "place", lambda folder: databases.server().fresh())
    monkeypatch.setattr(auth, "FRESH", 10_000.0)  # a key that was seen is not looked up again
    with Api(tmp_path) as api:
        be_patient(api.plane.database)
        yield api


@contextlib.asynccontextmanager
async def client(api: Api) -> AsyncIterator[Callable[[str], Any]]:
    """Give what asks for a path under /api/v1, on the control plane's own loop."""
    headers = {"Authorization": f"Bearer {api.plane.stores.keys.create()}"}
    transport = httpx.ASGITransport(app=create_app(api.plane))
    async with httpx.AsyncClient(transport=transport, base_url="http://kubiya/api/v1", headers=headers) as http:

        async def get(path: str) -> httpx.Response:
            answer = await http.get(path)
            assert answer.status_code == 200, answer.text
            return answer

        await get("/agents")
        yield get


@on_postgresql
def test_reads_go_on_and_see_what_is_committed_while_a_transaction_holds_the_writers_connection(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution, database = api.execute(), api.plane.database
    row = api.plane.stores.executions.get("local", execution)
    assert row is not None
    of = f"/executions/{execution}"
    messages = [{"role": "user", "content": "Look."}]
    api.call("POST", f"{of}/session", {"session_id": execution, "messages": messages}, 201)
    api.plane.runs.publish(execution, [event(1)])
    last = api.plane.stores.events.last(execution)

    def refused(*given: Any) -> Any:
        raise AssertionError(f"the writer's connection was asked: {given}")

    async def look() -> None:
        async with client(api) as get:
            head = (await get("/audit/head")).json()["head"]
            with contextlib.suppress(ZeroDivisionError), database.transaction():
                api.plane.stores.events.append(execution, [event(2)])
                api.plane.stores.results.save_session(
                    execution, {"session_id": execution, "messages": [], "metadata": {}}
                )
                api.plane.stores.executions.save({**row, "status": ex.COMPLETED})
                with monkeypatch.context() as held:
                    held.setattr(database, "execute", refused)
                    found = (await get(f"{of}/events")).json()
                    assert [one["sequence"] for one in found] == list(range(1, last + 1))
                    assert (await get(f"{of}/session")).json()["messages"] == messages
                    assert (await get("/audit")).json()[0]["action"] == "key.create"
                    assert (await get("/audit/head")).json()["head"] == head
                    assert (await get("/audit/verify")).json()["problems"] == []
                    assert f'"{head.partition(":")[2]}"' in (await get("/audit/export")).text
                    followed = aiter(streams.stream(api.plane, execution, "0").body_iterator)
                    assert f"_{last}_" in str(await anext(followed))
                    await followed.aclose()  # type: ignore[attr-defined]
                raise ZeroDivisionError
            api.plane.runs.publish(execution, [event(3)])  # what was answered is seen by whoever asks next
            assert (await get(f"{of}/events")).json()[-1]["data"] == {"message": "3"}
            assert (await get(f"{of}/events")).json()[-1]["sequence"] == last + 1

    api.run(look())


@pytest.fixture
def servers() -> Iterator[list[Database]]:
    """Three servers' connections to one database with an execution."""
    address = databases.server().fresh()
    made = [open_database(address) for _ in range(3)]
    for each in made:
        be_patient(each)
    row = {"id": "e1", "organization_id": "local", "execution_type": "agent", "entity_id": "a", "queue_id": "q"}
    Executions(made[0], Seal(KeyInMemory())).create(row, own={})
    yield made
    for each in made:
        each.close()


@on_postgresql
async def test_an_event_is_not_seen_before_all_with_lower_numbers_are_committed(servers: list[Database]) -> None:
    first, second, reader = servers
    logs = [Events(each) for each in servers]
    faults: list[Exception] = []

    def write() -> None:
        try:
            with second.transaction():
                logs[1].append("e1", [event(3)])
        except Exception as error:
            faults.append(error)

    other = threading.Thread(target=write)
    with first.transaction():
        logs[0].append("e1", [event(1), event(2)])
        other.start()
        waits = text("select count(*) from pg_stat_activity where wait_event_type = 'Lock'")
        async with asyncio.timeout(LIMIT):
            while not await reader.reading(lambda connection: connection.execute(waits).scalar()):
                assert other.is_alive(), faults
        assert await logs[2].reading(lambda log: (log.last("e1"), log.after("e1", 0))) == (0, [])
    await asyncio.to_thread(other.join, LIMIT)
    assert faults == []
    found = await logs[2].reading(lambda log: log.after("e1", 0))
    assert [(each.sequence, json.loads(each.data)["message"]) for each in found] == [(1, "1"), (2, "2"), (3, "3")]


@on_postgresql
async def test_readers_of_the_pool_skip_no_event_while_several_servers_write(servers: list[Database]) -> None:
    *writers, reader = servers
    each_writes = 60

    def write(database: Database, mine: int) -> None:
        events = Events(database)
        for number in range(each_writes):
            with contextlib.suppress(ZeroDivisionError), database.transaction():
                events.append("e1", [event(1000 * mine + number)])
                if number % 5 == 0:
                    raise ZeroDivisionError  # its number is given to another one

    threads = [threading.Thread(target=write, args=(each, n)) for n, each in enumerate(writers, 1)]
    for thread in threads:
        thread.start()
    seen, log = 0, Events(reader)

    def page(log: StoredEvents) -> list[int]:
        return [found.sequence for found in log.after("e1", seen)]

    async with asyncio.timeout(LIMIT):
        while seen < 2 * each_writes * 4 // 5:
            numbers = await log.reading(page)
            assert numbers == list(range(seen + 1, seen + 1 + len(numbers)))
            seen += len(numbers)
    for thread in threads:
        await asyncio.to_thread(thread.join, LIMIT)


def test_a_stream_tells_what_was_stored_between_its_two_last_reads(tmp_path: Path) -> None:
    with Api(tmp_path) as api:
        plane, execution = api.plane, api.execute()
        page, ended = plane.watchers.page, False

        async def looked(execution_id: str, sequence: int) -> Any:
            nonlocal ended
            found = await page(execution_id, sequence)
            if found is None and not ended:  # as another server may, before the status is read
                ended = True
                row = plane.stores.executions.get("local", execution)
                assert row is not None
                plane.runs.change(row, {"status": ex.COMPLETED})
            return found

        plane.watchers.page = looked  # type: ignore[method-assign]

        async def follow() -> None:
            async with asyncio.timeout(LIMIT):
                body = streams.stream(plane, execution, "0").body_iterator
                told = "".join([piece if isinstance(piece, str) else bytes(piece).decode() async for piece in body])
            assert "event: done" in told

        api.run(follow())
