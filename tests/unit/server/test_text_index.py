"""The index of searches for a text: it finds what reading all texts finds, and nothing that is gone."""

from __future__ import annotations

import random
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, text, update

from kubiya_worker.server.store import backup, execution_search, schema, text_index
from kubiya_worker.server.store.database import Database
from kubiya_worker.server.store.execution_search import ExecutionQuery, find
from kubiya_worker.server.store.opened import open_database
from kubiya_worker.server.store.removals import Removals
from kubiya_worker.server.store.text_index import query_of
from tests.support import databases, postgres
from tests.support.databases import sqlite_only

E = schema.executions
PIECES = (
    *("disk", "Disk full", "DISK", "certificate", "ab", "a", "", " ", "  ", "\n", "100%", "a_b", "a%b", "a\\b", "a/b"),
    *('say "no"', "it's", '"""', "AND", "NEAR(a b)", "OR NOT", "dis*", "^disk", "words:disk", "-disk", "{disk}", "(("),
    *(
        "Straße",
        "STRASSE",
        "ΣΊΣΥΦΟΣ",
        "İstanbul",
        "証明書の期限",
        "証明",
        "жёлтый",
        "e\u0301a",
        "é",
        "\U0001f600\U0001f680",
    ),
)
ASKED = (
    *PIECES,
    *("nowhere to be found", "isk", "ertif", "ull", "sk ful", "%", "_", "\\", "'", '"', "*", "-", "**", "***", "-- x"),
    *("-disk AND", "disk\n", "ίσυ", "書の期", "rasse", "\U0001f600", "zz", "z" * 200),
)


def row(number: int, words: str, organization: str = "o") -> dict[str, Any]:
    at = f"2026-11-01T00:{number // 60 % 60:02}:{number % 60:02}+00:00"
    return {
        **{"id": str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))), "organization_id": organization},
        **{"execution_type": "agent", "entity_id": "a", "queue_id": "q", "status": "completed", "environment": "{}"},
        **{"data": "{}", "created_at": at, "updated_at": at, "requester": "p"},
        "words": execution_search.words_of({"entity_name": "agent", "prompt": words}),
    }


def add(database: Database, rows: Sequence[dict[str, Any]]) -> None:
    with database.transaction():
        database.execute(insert(E), list(rows))


def index(database: Database) -> None:
    """Bring all that was written into the index."""
    texts: Any = database.texts
    if database.shared:
        assert texts.make() == ""
    else:
        while texts.step(1):
            pass


def found(database: Database, words: str, *, by_index: bool = True) -> list[str]:
    query, after, ids = ExecutionQuery("o", text=words.casefold()), None, list[str]()
    while True:
        some, after = find(database, query, database.texts if by_index else None, after=after, limit=7)
        ids += some
        if after is None:
            return ids


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = open_database(databases.place(tmp_path))
    yield made
    made.close()


def test_the_index_finds_what_reading_all_texts_finds(database: Database) -> None:
    chance = random.Random(3)
    texts = [" ".join(chance.choices(PIECES, k=chance.randrange(5))) for _ in range(300)]
    rows = [row(number, words, "o" if number % 5 else "another") for number, words in enumerate(texts)]
    add(database, rows[:200])
    index(database)
    add(database, rows[200:])  # as they are found before they are brought into the index
    asked = [*ASKED, *(words[1:30] for words in texts[:60]), rows[1]["id"][:3], rows[1]["id"], rows[1]["id"][1:]]
    mine = sorted((each for each in rows if each["organization_id"] == "o"), key=lambda each: each["id"], reverse=True)
    mine.sort(key=lambda each: str(each["created_at"]), reverse=True)
    used = 0
    for _ in range(2):
        for words in filter(None, asked):
            known = words.casefold()
            right = [each["id"] for each in mine if known in each["words"] or each["id"].startswith(known)]
            assert found(database, words) == right, words
            assert found(database, words, by_index=False) == right, words
            used += database.texts.ids(database, known, 1_000) is not None
        index(database)
    assert used > 100


def test_what_is_gone_or_changed_is_not_found_any_more(database: Database) -> None:
    add(database, [row(number, "zanzibar") for number in range(4)])
    index(database)
    add(database, [row(4, "zanzibar"), row(5, "zanzibar")])
    ids = [row(number, "")["id"] for number in range(6)]
    with database.transaction():
        for key in (ids[0], ids[4]):
            database.execute(delete(E).where(E.c.id == key))
        for key in (ids[1], ids[5]):
            database.execute(update(E).where(E.c.id == key).values(words="madagascar"))
    for _ in range(2):
        assert sorted(found(database, "zanzibar")) == sorted([ids[2], ids[3]])
        assert sorted(found(database, "madagascar")) == sorted([ids[1], ids[5]])
        index(database)
    with database.transaction():  # as retention does it
        database.execute(update(E).where(E.c.id == ids[2]).values(organization_id=""))
    assert found(database, "zanzibar") == [ids[3]]
    removals = Removals(database)
    while removals.drop_part(ids[2], 100):
        pass
    index(database)
    assert found(database, "zanzibar") == [ids[3]]
    if not database.shared:
        count = "select count(*) from execution_text where execution_text match 'zan'"
        assert database.execute(text(count)).scalar() == 1
        assert database.execute(text("select count(*) from execution_text_gone")).scalar() == 0


def test_a_number_is_not_used_twice_before_its_text_is_out(tmp_path: Path) -> None:
    database = Database(tmp_path / "cp.db")
    most = text_index.AT_ONCE
    add(database, [row(number, "zanzibar") for number in range(3 * most)])
    index(database)
    kept = text("select execution_id from execution_text_rows where number = :number")
    key = database.execute(kept, {"number": most // 2}).scalar()
    with database.transaction():  # more than one step takes out, and numbers above those that are left
        database.execute(delete(E).where(E.c.id != key))
    add(database, [row(number, "zanzibar again") for number in range(4 * most, 6 * most)])
    index(database)
    assert len(found(database, "zanzibar")) == 2 * most + 1 and len(found(database, "again")) == 2 * most
    database.close()


def test_a_rare_text_takes_one_look_and_a_usual_one_is_read_in_order(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_search, "LOOKED_AT", 20)
    add(database, [row(number, "usual" if number else "usual zanzibar") for number in range(100)])
    index(database)
    rare = find(database, ExecutionQuery("o", text="zanzibar"), database.texts, limit=50)
    assert rare == ([row(0, "")["id"]], None)
    assert find(database, ExecutionQuery("o", text="zanzibar"), limit=50)[1] is not None  # without it: many looks
    assert find(database, ExecutionQuery("o", text="nowhere"), database.texts, limit=50) == ([], None)
    many, place = find(database, ExecutionQuery("o", text="usual"), database.texts, limit=50)
    assert len(many) == 20 and place is not None
    assert len(find(database, ExecutionQuery("o", text="zanzibar", many=True), database.texts, limit=50)[0]) == 0


def test_the_database_uses_its_index(database: Database) -> None:
    add(database, [row(number, f"task {number}") for number in range(100)])
    index(database)
    if database.shared:
        database.execute(text("analyze executions"))
        with database.transaction():
            database.execute(text("set local enable_seqscan = off"))  # it reads all of a table as small as this one
            plan = database.execute(text("explain select id from executions where words like '%task 41%' limit 9"))
            assert "executions_words" in "\n".join(line[0] for line in plan.all())
        return
    plan = database.execute(text(f"explain query plan {text_index._FOUND.sql}"), {"query": '"tas"', "most": 9})
    lines = [str(line[3]) for line in plan.all()]
    assert any("VIRTUAL TABLE INDEX 0:M" in line for line in lines), lines
    assert any("INTEGER PRIMARY KEY" in line for line in lines) and not any("r SCAN" in line for line in lines), lines


@sqlite_only("PostgreSQL keeps its index itself")
async def test_what_was_written_is_brought_into_the_index_some_at_a_time(database: Database) -> None:
    add(database, [row(number, "zanzibar") for number in range(text_index.AT_ONCE + 7)])
    assert await database.texts.keep() and not await database.texts.keep()
    assert database.execute(text("select count(*) from execution_text_new")).scalar() == 7
    assert len(found(database, "zanzibar")) == text_index.AT_ONCE + 7


@sqlite_only("its library may be too old")
def test_without_the_extension_texts_are_read_and_the_index_is_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cp.db"
    add(first := Database(path), [row(number, "zanzibar") for number in range(3)])
    index(first)
    first.close()
    with monkeypatch.context() as old:
        old.setattr(text_index, "_knows_parts", lambda driver: False)
        for place in (path, tmp_path / "new.db"):
            database = Database(place)
            add(database, [row(7, "zanzibar")])
            with database.transaction():
                database.execute(delete(E).where(E.c.id == row(0, "")["id"]))
            assert len(found(database, "zanzibar")) == (3 if place == path else 1)
            assert database.texts.ids(database, "zanzibar", 9) is None
            database.close()
    for place in (path, tmp_path / "new.db"):
        database = Database(place)
        for _ in range(2):
            ids = database.texts.ids(database, "zanzibar", 9)
            assert ids is not None and len(ids) == (3 if place == path else 1)
            index(database)
        database.close()


@sqlite_only("its file")
def test_an_older_file_a_lost_trigger_a_vacuum_and_a_restored_backup_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cp.db"
    database = Database(path)
    add(database, [row(number, "zanzibar") for number in range(20)])
    index(database)
    with database.transaction():
        database.execute(delete(E).where(E.c.id.in_([row(number, "")["id"] for number in range(0, 20, 2)])))
    database.compact()
    assert len(found(database, "zanzibar")) == 10
    database.close()
    backup.back_up(path, tmp_path / "backup.db")
    backup.put_back(tmp_path / "backup.db", path)
    with sqlite3.connect(path) as old:  # as a migration that builds the table anew leaves it
        old.execute("drop trigger execution_text_added")
    old.close()
    database = Database(path)
    texts: Any = database.texts
    for _ in range(2):
        assert texts.is_complete() and len(texts.ids(database, "zanzibar", 99)) == 10
        index(database)
    add(database, [row(99, "zanzibar")])
    assert len(found(database, "zanzibar")) == 11
    database.close()


@pytest.mark.skipif(postgres.programs() is None, reason="PostgreSQL is not installed (apt-get install postgresql)")
def test_without_the_right_to_make_the_extension_texts_are_read_and_the_reason_is_told() -> None:
    import psycopg

    from kubiya_worker.server.store.address import PostgresAddress

    place = databases.server().database()
    with psycopg.connect(place.url, autocommit=True) as admin:
        admin.execute("create role plain login")
        admin.execute("create schema plain authorization plain")
        database = open_database(PostgresAddress(place.url.replace("kubiya@", "plain@")))
        texts: Any = database.texts
        add(database, [row(0, "zanzibar")])
        assert "permission denied to create extension" in texts.make()
        assert texts.ids(database, "zanzibar", 9) is None and found(database, "zanzibar") == [row(0, "")["id"]]
        admin.execute("create extension pg_trgm schema public")
        assert texts.make() == ""
        assert texts.ids(database, "zanzibar", 9) == [row(0, "")["id"]]
        assert texts.ids(database, "!!!", 9) is None  # the index has no parts of it, and would be read whole
        database.close()


@pytest.mark.skipif(postgres.programs() is None, reason="PostgreSQL is not installed (apt-get install postgresql)")
async def test_postgresql_plans_each_search_for_its_words() -> None:
    """A plan for any words asks the index, which for a word that most texts have gives nearly all executions."""
    database = open_database(databases.server().database())
    add(database, [row(number, "certificate") for number in range(1_500)])
    index(database)
    database.execute(text("analyze executions"))
    texts = database.texts
    kept = text("select sum(generic_plans) from pg_prepared_statements where statement like '%words like%'")

    def searched(reader: Any) -> int:
        for _ in range(12):
            assert texts.ids(reader, "certificate", 1_000) is None
        return reader.execute(kept).scalar() or 0

    assert searched(database) == 0
    assert await database.reading(searched) == 0
    database.close()


def test_a_query_has_each_part_of_the_words_once_and_as_a_plain_text() -> None:
    assert query_of("abc") == '"abc"'
    assert query_of('a"b*') == '"a""b" AND """b*"'
    assert query_of("aaaaa") == '"aaa"'
    assert query_of("x" * 100 + "".join(map(chr, range(200, 400)))).count(" AND ") == text_index.PARTS - 1
