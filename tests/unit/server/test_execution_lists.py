"""Lists of executions: what the filters leave, pages by cursor, and what a search costs among many."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import DatabaseError

from kubiya_worker.protocol import execution as ex
from kubiya_worker.server.person import EVERYTHING, Scope
from kubiya_worker.server.sealing import KeyInMemory, Seal
from kubiya_worker.server.store import execution_search, schema
from kubiya_worker.server.store.database import Database
from kubiya_worker.server.store.execution_search import ExecutionQuery, cursor_of, find, place_of
from kubiya_worker.server.store.executions import Executions
from kubiya_worker.server.store.statement import Prepared
from tests.support.api import Api


def ids(rows: Any) -> list[str]:
    return [str(row["id"]) for row in rows]


def page(api: Api, query: str, **options: Any) -> list[str]:
    return ids(api.call("GET", f"/executions?cursor=&{query}", **options)["executions"])


def test_each_filter_leaves_what_it_says(api: Api) -> None:
    queue = api.call("POST", "/environments/default/worker-queues", {"name": "lists"})["id"]
    agent = api.agent(name="list-writer")
    ada = api.key("operator", "Ada", email="Ada@acme.example")
    one = api.execute(prompt="Prüfe die BACKUPS", worker_queue_id=queue)
    body = {"prompt": "Look.", "worker_queue_id": "default"}
    two = api.call("POST", f"/agents/{agent['id']}/execute", body, headers=ada["headers"])["execution_id"]
    api.call("PATCH", f"/executions/{one}", {"status": "running"})
    api.call("PATCH", f"/executions/{two}", {"status": "failed"})
    api.call("POST", "/approvals", {"execution_id": one, "tool_name": "shell"})
    assert page(api, "queue=lists") == page(api, f"queue={queue}") == [one]
    assert page(api, "agent=list-writer") == page(api, f"agent={agent['id']}") == [two]
    assert page(api, "person=ada@ACME.example") == page(api, "person=me", headers=ada["headers"]) == [two]
    assert page(api, "text=prüfe die backups") == page(api, f"text={one[:9]}") == page(api, f"id={one[:9]}") == [one]
    assert page(api, "text=LIST-WRITER") == [two]
    assert page(api, "waits=true") == page(api, f"waits=true&id={one[:9]}") == [one]
    assert page(api, "status=running,failed") == [two, one]
    assert page(api, "status=failed&queue=lists") == page(api, f"waits=true&id={two[:9]}") == []
    between = api.call("GET", f"/executions/{two}")["created_at"]
    assert two in page(api, f"since={between.replace('+', '%2B')}")
    assert one not in page(api, f"since={between.replace('+', '%2B')}")
    assert two not in page(api, f"until={between.replace('+', '%2B')}")
    assert one in page(api, f"until={between.replace('+', '%2B')}")
    assert ids(api.call("GET", "/executions?text=prüfe")) == [one], "also without a cursor"


@pytest.mark.parametrize(
    ("query", "status", "told"),
    [
        ("agent=nobody", 404, "'nobody'"),
        ("queue=nowhere", 404, "'nowhere'"),
        ("status=failed,runing", 422, "Did you mean running?"),
        ("cursor=xyz", 422, "leave it empty"),
        ("cursor=&skip=1", 422, "skip cannot be used"),
        ("since=yesterday", 422, "such as 2026"),
        ("id=abc", 422, "at least 4"),
        ("order=up", 422, "newest"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(api: Api, query: str, status: int, told: str) -> None:
    assert told in str(api.call("GET", f"/executions?{query}", None, status))


def test_what_was_deleted_is_found_by_its_id(api: Api) -> None:
    agent = api.agent()
    done = api.execute(agent["id"])
    api.call("PATCH", f"/executions/{done}", {"status": "completed"})
    api.call("DELETE", f"/agents/{agent['id']}")
    assert page(api, f"agent={agent['id']}") == [done]


def test_pages_go_on_from_their_cursor_in_both_orders(api: Api) -> None:
    for _ in range(5):
        api.execute(prompt="one of five")
    every = ids(api.call("GET", "/executions?limit=500"))
    for order, expected in (("newest", every), ("oldest", every[::-1])):
        told: dict[str, Any] = {"next": ""}
        found, pages = list[str](), 0
        while told["next"] is not None:
            told = api.call("GET", f"/executions?cursor={told['next']}&order={order}&limit=2")
            found += ids(told["executions"])
            pages += 1
        assert found == expected
        assert pages == -(-len(every) // 2)


def test_a_page_is_not_moved_by_what_begins_meanwhile(api: Api) -> None:
    for _ in range(3):
        api.execute()
    first = api.call("GET", "/executions?cursor=&limit=2")
    rest = ids(api.call("GET", f"/executions?cursor={first['next']}&limit=500")["executions"])
    new = api.execute()
    assert ids(api.call("GET", f"/executions?cursor={first['next']}&limit=500")["executions"]) == rest
    assert new not in rest and page(api, "limit=1") == [new]


# -- among many

MANY = 12_000
BEGAN = datetime(2026, 11, 1, tzinfo=UTC)
AGENTS = [str(uuid.UUID(int=number)) for number in range(3)]


def execution(number: int) -> dict[str, Any]:
    """Three agents in turn on two queues; some at the same moment; each hundredth one has failed."""
    at = (BEGAN + timedelta(seconds=number // 2)).isoformat()
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))),
        "organization_id": "local" if number % 10 else "another",
        "execution_type": "agent",
        "entity_id": AGENTS[number % 3],
        "queue_id": f"q{number % 2}",
        "status": "failed" if number % 100 == 1 else "completed",
        "environment": "{}",
        "data": "{}",
        "created_at": at,
        "updated_at": at,
        "requester": f"p{number % 7}",
        "words": f"task {number} of many",
    }


@functools.cache
def rows() -> list[dict[str, Any]]:
    """Return all of them. They take a second, which the collection of tests must not wait for."""
    return [execution(number) for number in range(MANY)]


WAITING = (10, 11, 13, 4000)  # the first is of another organization


def approval(row: dict[str, Any]) -> dict[str, Any]:
    same = {name: row[name] for name in ("organization_id", "created_at", "updated_at")}
    return {**same, "id": f"of {row['id']}", "execution_id": row["id"], "status": "pending", "data": "{}"}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = Database(tmp_path_factory.mktemp("many") / "cp.db")
    with database.transaction():
        database.execute(insert(schema.executions), rows())
        database.execute(insert(schema.approvals), [approval(rows()[number]) for number in WAITING])
    yield database
    database.close()


QUERIES = {
    "all": ExecutionQuery("local"),
    "status": ExecutionQuery("local", statuses=frozenset({"failed"})),
    "statuses": ExecutionQuery("local", statuses=frozenset({"failed", "completed", "running"})),
    "open": ExecutionQuery("local", statuses=frozenset({"failed", "running"}), queue_id="q1"),
    "agent": ExecutionQuery("local", entity_id=AGENTS[1]),
    "person": ExecutionQuery("local", requester="p3", queue_id="q1"),
    "queue, from the oldest on": ExecutionQuery("local", queue_id="q1", oldest=True),
    "since": ExecutionQuery("local", since=(BEGAN + timedelta(hours=1)).isoformat(), oldest=True),
    "until": ExecutionQuery("local", until=(BEGAN + timedelta(hours=1)).isoformat()),
    "text": ExecutionQuery("local", text="task 41"),
    "nothing": ExecutionQuery("local", text="no such words"),
    "beginning": ExecutionQuery("local", beginning=execution(41)["id"][:4]),
    "waits": ExecutionQuery("local", waits=True),
    "kind": ExecutionQuery("local", kind="team"),
    "scope": ExecutionQuery("local", scope=Scope(queues=frozenset({"q1"}), agents=frozenset(AGENTS[:2]))),
    "empty scope": ExecutionQuery("local", scope=Scope(agents=frozenset())),
}


def matches(query: ExecutionQuery, row: dict[str, Any]) -> bool:
    return (
        row["organization_id"] == "local"
        and (not query.statuses or row["status"] in query.statuses)
        and query.kind in ("", row["execution_type"])
        and query.queue_id in ("", row["queue_id"])
        and query.entity_id in ("", row["entity_id"])
        and query.requester in ("", row["requester"])
        and (not query.since or row["created_at"] >= query.since)
        and (not query.until or row["created_at"] < query.until)
        and query.text in row["words"]
        and row["id"].startswith(query.beginning)
        and (not query.waits or row["id"] in {rows()[number]["id"] for number in WAITING})
        and query.scope.covers(row["queue_id"], row["entity_id"])
    )


@pytest.mark.parametrize("name", QUERIES)
def test_pages_together_are_the_whole_list(many: Database, name: str) -> None:
    query = QUERIES[name]
    found, after = list[str](), None
    for _ in range(100):
        some, after = find(many, query, after=after, limit=500)
        found += some
        if after is None:
            break
    wanted = [row for row in rows() if matches(query, row)]
    wanted.sort(key=lambda row: (row["created_at"], row["id"]), reverse=not query.oldest)
    assert after is None
    assert found == ids(wanted)


@pytest.mark.parametrize("name", [name for name, query in QUERIES.items() if query.is_exact])
def test_an_exact_list_can_be_skipped_into(many: Database, name: str) -> None:
    whole, _ = find(many, QUERIES[name], limit=500)
    assert find(many, QUERIES[name], skip=30, limit=20)[0] == whole[30:50]


def test_only_what_one_statement_finds_is_exact() -> None:
    exact = {name for name, query in QUERIES.items() if query.is_exact}
    assert exact == {"all", "status", "agent", "queue, from the oldest on", "since", "until"}


def test_a_search_looks_at_a_limited_number(many: Database) -> None:
    mine = sorted(((row["created_at"], row["id"]) for row in rows() if row["organization_id"] == "local"), reverse=True)
    found, place = find(many, QUERIES["nothing"], limit=50)
    assert found == [] and place == mine[execution_search.LOOKED_AT - 1]
    found, place = find(many, QUERIES["text"], limit=50, after=place)
    assert found == [] and place == mine[2 * execution_search.LOOKED_AT - 1]


@pytest.mark.parametrize("words", ["50%", "a_c", "a/c", "'", '"', "\\"])
def test_a_text_is_searched_as_it_is(api: Api, words: str) -> None:
    api.execute(prompt="500 abc")
    one = api.execute(prompt=f"take {words} of it")
    assert page(api, f"text={quote(words)}") == [one]


@pytest.mark.parametrize("name", [name for name in QUERIES if name != "empty scope"])
def test_each_page_is_read_in_the_order_of_an_index(many: Database, name: str) -> None:
    told = list[str]()
    plain = many.connection.exec_driver_sql
    middle = (BEGAN + timedelta(hours=1)).isoformat(), "0"

    class Explained:
        """The database, which tells how it would run each statement instead of running it."""

        def execute(self, statement: Any, values: Any = None) -> Any:
            compiled = statement.compile(many.connection, compile_kwargs={"literal_binds": True})
            told.extend(str(row[3]) for row in plain(f"explain query plan {compiled}"))
            return many.execute(statement.limit(0))

        def expects(self, statement: Any) -> int | None:
            return many.expects(statement)

    query = QUERIES[name]
    find(Explained(), query, after=middle, limit=50)
    lines = [line for line in told if "executions" in line]
    few = query.waits or query.beginning  # found by their ids, and put in order then
    index = "sqlite_autoindex_executions_1" if few else "executions_"
    assert lines and all("SEARCH" in line and f"INDEX {index}" in line for line in lines), told
    assert few or not any("TEMP B-TREE" in line for line in told), told


def test_a_cursor_is_a_place_and_nothing_else_is() -> None:
    assert place_of(cursor_of(("2026-11-29T00:00:00+00:00", "ü"))) == ("2026-11-29T00:00:00+00:00", "ü")
    for wrong in ("x", "????", "aGFsbG8", cursor_of(("a b", "c"))):
        with pytest.raises(ValueError):
            place_of(wrong)


def test_every_status_can_begin_a_search() -> None:
    assert len(ex.STATUSES) <= execution_search.MOST_VALUES
    assert ExecutionQuery("local", statuses=frozenset({"completed"}), queue_id="q").begins_with() == ("queue_id", ["q"])
    assert ExecutionQuery("local", statuses=frozenset({"completed"})).begins_with() == ("status", ["completed"])
    assert ExecutionQuery("local", scope=EVERYTHING).begins_with() is None


def test_the_reconciler_reads_some_open_executions_at_a_time(tmp_path: Path) -> None:
    database = Database(tmp_path / "cp.db")
    open_ones = [{**row, "status": "running"} for row in rows()[:120]]
    with database.transaction():
        database.execute(insert(schema.executions), [*open_ones, *rows()[120:400]])
    store, found, after = Executions(database, Seal(KeyInMemory())), list[str](), ""
    while part := store.open("2027", after, 50):
        assert len(part) <= 50
        found += ids(part)
        after = found[-1]
    assert found == sorted(ids(open_ones))
    database.close()


async def test_what_reads_much_is_read_beside_the_event_loop(many: Database) -> None:
    count = Prepared(text("select count(*) from executions"))
    assert await many.aside(count) == [(MANY,)]
    with pytest.raises(DatabaseError, match="no such table"):
        await many.aside(Prepared(text("select 1 from nowhere")))
