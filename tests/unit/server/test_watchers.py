"""Clients that follow one execution: woken at once or together, and given one rendering of each page."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.server import background
from kubiya_worker.server.store import sqlite_file
from kubiya_worker.server.store.database import Database
from kubiya_worker.server.store.events import Events
from kubiya_worker.server.store.stored_events import Stored
from kubiya_worker.server.watchers import AT_ONCE, FEW, LARGEST_PAGE, LONGEST_GATHER, PAGE, Watchers, gathering
from tests.unit.server.test_database import filled


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    filled(tmp_path / "cp.db")
    database = Database(tmp_path / "cp.db")
    yield database
    database.close()


class CountedEvents(Events):
    reads = 0

    def after(self, execution_id: str, sequence: int, limit: int = 200) -> list[Stored]:
        self.reads += 1
        return super().after(execution_id, sequence, limit)


def chunk(number: int, size: int = 10) -> dict[str, Any]:
    data = {"message_id": "m", "content": "x" * size}
    return {"event_id": f"n{number}", "event_type": "message_chunk", "data": data}


def test_few_clients_are_woken_at_each_event_and_many_ten_times_a_second() -> None:
    assert gathering(1) == gathering(FEW) == 0
    assert 0 < gathering(100) < gathering(300) < LONGEST_GATHER
    assert gathering(100_000) == LONGEST_GATHER


async def test_many_clients_are_woken_once_for_what_gathers(database: Database) -> None:
    watchers = Watchers(Events(database))
    waiting = [watchers.join("e1") for _ in range(300)]
    began = time.monotonic()
    for _ in range(10):
        watchers.wake("e1")
    assert not any(event.is_set() for event in waiting)
    await asyncio.gather(*(event.wait(10) for event in waiting))
    assert time.monotonic() - began >= gathering(300)
    for event in waiting:
        event.clear()
    watchers.wake("e1")
    watchers.wake_all()  # a server that stops does not wait
    assert all(event.is_set() for event in waiting)
    for event in waiting:
        watchers.leave("e1", event)
    assert watchers.count() == 0


async def test_a_page_is_rendered_once_for_all_who_are_at_its_place(database: Database) -> None:
    events = CountedEvents(database)
    watchers = Watchers(events)
    here = [watchers.join("e1") for _ in range(5)]
    with database.transaction():
        events.append("e1", [chunk(2), chunk(3)])
    pages = [await watchers.page("e1", 1) for _ in here]
    assert events.reads == 1 and len({id(page) for page in pages}) == 1
    assert pages[0] is not None and (pages[0].last, pages[0].more) == (3, False)
    with database.transaction():
        events.append("e1", [chunk(4)])
    late, next_ = await watchers.page("e1", 1), await watchers.page("e1", 3)
    assert late is not None and late.text.count(b"event: ") == 3  # what is new is in it
    assert next_ is not None and next_.text.count(b"event: ") == 1
    assert await watchers.page("e1", 4) is None


async def test_nothing_of_a_transaction_that_failed_is_shown(database: Database) -> None:
    events = Events(database)
    watchers = Watchers(events)
    watchers.join("e1"), watchers.join("e1")
    with pytest.raises(ZeroDivisionError), database.transaction():
        events.append("e1", [chunk(2, 77)])
        raise ZeroDivisionError
    assert await watchers.page("e1", 1) is None
    with database.transaction():
        events.append("e1", [chunk(3, 5)])
    page = await watchers.page("e1", 1)
    assert page is not None
    assert json.loads(page.text.split(b"data: ")[1])["data"]["content"] == "xxxxx"


async def test_a_page_is_limited_in_events_and_in_bytes(database: Database) -> None:
    events = Events(database)
    watchers = Watchers(events)
    watchers.join("e1")
    with database.transaction():
        events.append("e1", [chunk(number) for number in range(2, 302)])
    page = await watchers.page("e1", 0)
    assert page is not None and (page.last, page.more) == (PAGE, True)
    with database.transaction():
        events.append("e1", [chunk(number, LARGEST_PAGE // 2) for number in range(400, 404)])
    sequence, sizes = 301, []
    while (page := await watchers.page("e1", sequence)) is not None:
        sequence = page.last
        sizes.append(len(page.text))
    assert len(sizes) == 4 and max(sizes) < LARGEST_PAGE


async def test_the_log_of_the_database_is_moved_while_requests_go_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = Events(database)
    with database.transaction():
        events.append("e1", [chunk(number, 200_000) for number in range(2, 32)])
    assert sqlite_file.log_size(database.path) > background.CHECKPOINT_AT
    before = database.path.stat().st_size
    monkeypatch.setattr(background, "CHECKPOINT_EVERY", 0.01)

    class Plane:
        pass

    plane: Any = Plane()
    plane.database = database
    task = asyncio.create_task(background.checkpoint(plane))
    while database.path.stat().st_size < before + (5 << 20):
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(events.after("e1", 0)) == 31


async def test_many_are_woken_some_at_a_time_and_few_do_not_wait_for_them(database: Database) -> None:
    watchers = Watchers(Events(database))
    waiting = [watchers.join("e") for _ in range(2 * AT_ONCE + 1)]
    alone = watchers.join("other")
    watchers._wake_now("e")
    watchers._wake_now("e")  # what comes meanwhile wakes nobody twice
    woken = [sum(each.is_set() for each in waiting)]
    watchers.wake("other")
    assert alone.is_set()
    for _ in range(2):
        await asyncio.sleep(0)
        woken.append(sum(each.is_set() for each in waiting))
    assert woken == [AT_ONCE, 2 * AT_ONCE, 2 * AT_ONCE + 1]
    waiting[0].clear()
    await asyncio.sleep(0)
    assert not waiting[0].is_set()
    watchers._wake_now("e")
    assert waiting[0].is_set()
