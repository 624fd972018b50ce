"""These tests count the statements of requests that every execution makes, as SQLite runs them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from kubiya_worker.server.store import events
from kubiya_worker.server.store.database import Database
from tests.support.api import Api, Object

LOOK = "select event_id from events"


@pytest.fixture(autouse=True)
def sqlite_only(api: Api) -> None:
    if api.plane.database.shared:
        pytest.skip("a server with others keeps nothing of the database in memory")


@contextlib.contextmanager
def statements(api: Api) -> Iterator[list[str]]:
    """Collect the statements that run meanwhile."""
    database = api.plane.database
    assert isinstance(database, Database)
    found: list[str] = []
    database._driver.set_trace_callback(found.append)
    try:
        yield found
    finally:
        database._driver.set_trace_callback(None)


def looks(found: list[str]) -> int:
    return sum(each.startswith(LOOK) for each in found)


def event(name: str, **fields: object) -> Object:
    return {"event_id": name, "event_type": "notice", "data": {"message": name}, **fields}


def post(api: Api, execution: str, *told: Object) -> Object:
    answer: Object = api.call("POST", f"/executions/{execution}/events/batch", {"events": list(told)}, 202)
    return answer


def test_ids_of_a_log_that_began_here_are_compared_in_memory(api: Api) -> None:
    execution = api.execute()
    with statements(api) as found:
        assert post(api, execution, event("a"))["accepted"] == 1
        told = post(api, execution, event("b", after=["a"]), event("a"), event("b"))
    assert (told["accepted"], told["duplicates"], told["last_sequence"]) == (1, 2, 2)
    assert looks(found) == 1  # before the first event nothing is known
    api.ask("POST", f"/executions/{execution}/events/batch", {"events": [event("d", after=["c"])]})
    assert post(api, execution, event("d"))["accepted"] == 1  # 425 has left it out


def test_an_event_that_was_rolled_back_is_not_known(api: Api) -> None:
    execution = api.execute()
    post(api, execution, event("a"))
    path = f"/executions/{execution}/events/batch"
    bad = {"method": "PATCH", "path": f"/executions/{execution}", "body": {"status": "no such status"}}
    group = [{"method": "POST", "path": path, "body": {"events": [event("b")]}}, bad]
    assert api.ask("POST", "/batch", {"requests": group}).status_code == 422
    told = post(api, execution, event("a"), event("b"))
    assert (told["accepted"], told["last_sequence"]) == (1, 2)


def test_ids_are_forgotten_when_the_execution_is_over(api: Api) -> None:
    execution = api.execute()
    post(api, execution, event("a"))
    api.call("PATCH", f"/executions/{execution}", {"status": "completed"})
    with statements(api) as found:
        assert post(api, execution, event("a"))["accepted"] == 0
    assert looks(found) == 1


def test_ids_of_a_long_log_are_left_to_the_database(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "IDS", 2)
    execution = api.execute()
    post(api, execution, *(event(name) for name in "abc"))
    with statements(api) as found:
        assert post(api, execution, event("a"), event("d"))["accepted"] == 1
    assert looks(found) == 1


def test_ids_are_kept_of_a_limited_number_of_logs(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LOGS", 1)
    first, second = api.execute(), api.execute()
    post(api, first, event("a"))
    post(api, second, event("a"))
    with statements(api) as found:
        assert [post(api, each, event("a"))["accepted"] for each in (first, second)] == [0, 0]
    assert looks(found) == 1


def test_a_context_reads_the_row_once(api: Api) -> None:
    execution = api.execute()
    with statements(api) as found:
        api.call("GET", f"/executions/{execution}/context")
    assert sum("executions.data" in each for each in found) == 1


def test_a_status_that_an_agent_has_already_is_not_written(api: Api) -> None:
    agent = api.agent()
    assert api.call("PATCH", f"/agents/{agent['id']}", {"status": "running"})["status"] == "running"
    with statements(api) as found:
        assert api.call("PATCH", f"/agents/{agent['id']}", {"status": "running"})["status"] == "running"
    assert not any(each.lower().startswith("update agents") for each in found)
    with statements(api) as found:
        assert api.call("PATCH", f"/agents/{agent['id']}", {"status": "completed"})["status"] == "completed"
    assert any(each.lower().startswith("update agents") for each in found)
