"""Any one of 1,000 audit records that is changed, removed, moved or inserted is found and named."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import pytest

from kubiya_worker.protocol import audit
from kubiya_worker.server.store.audit import Audit
from kubiya_worker.server.store.database import Database
from kubiya_worker.server.store.journal import Change

RECORDS = 1000


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with 1,000 records, as a control plane writes them."""
    path = tmp_path_factory.mktemp("audit") / "cp.db"
    database = Database(path)
    for number in range(RECORDS):
        with database.transaction():
            sides = ({"name": f"a{number}", "enabled": False}, {"name": f"a{number}", "enabled": True})
            database.changed(Change("local", "agent", str(number), f"a{number}", *sides))
    database.close()
    return path


@pytest.fixture(scope="module")
def lines(path: Path) -> list[str]:
    database = Database(path)
    found = [line for _, line in Audit(database).lines("local", 0, RECORDS + 1)]
    database.close()
    assert len(found) == RECORDS
    return found


def before(lines: list[str], place: int) -> audit.Head:
    """Return the head of the records before a place, which a check of them has led to."""
    return audit.head_of(json.loads(lines[place - 1])) if place else audit.EMPTY


def first(lines: Iterable[str], after: audit.Head = audit.EMPTY, *heads: audit.Head) -> audit.Problem | None:
    return next(audit.problems(lines, heads, after), None)


def changed(line: str, field: str) -> str:
    record = json.loads(line)
    value = record[field]
    record[field] = value + 1 if isinstance(value, int) else {"x": 1} if isinstance(value, dict) else value[:-1] + "_"
    return audit.line_of(record)


def test_a_chain_that_nobody_touched_has_no_problem(lines: list[str]) -> None:
    head = audit.head_of(json.loads(lines[-1]))
    assert head.seq == RECORDS
    assert list(audit.problems(lines, [head])) == []


def test_each_changed_record_is_named(lines: list[str]) -> None:
    fields = sorted(json.loads(lines[0]))
    assert len(fields) >= 10
    for place in range(RECORDS):
        field = fields[place % len(fields)]  # each field of a record, in turn
        found = first([changed(lines[place], field), *lines[place + 1 : place + 3]], before(lines, place))
        assert found is not None and (found.first, found.last) == (place + 1, place + 1), (place, field)
        assert f"record {place + 1} " in found.text and "changed" in found.text


def test_each_removed_record_is_named(lines: list[str]) -> None:
    last = audit.head_of(json.loads(lines[-1]))
    for place in range(RECORDS):
        found = first(lines[place + 1 : place + 3], before(lines, place), *([last] if place > RECORDS - 2 else []))
        assert found is not None and (found.first, found.last) == (place + 1, place + 1), place
        assert f"record {place + 1} is missing" in found.text


def test_each_record_that_was_sealed_again_does_not_fit_the_next_one(lines: list[str]) -> None:
    for place in range(RECORDS - 1):
        record = {k: v for k, v in json.loads(lines[place]).items() if k not in ("hash", "seq", "previous")}
        forged = audit.sealed({**record, "action": "agent.delete"}, before(lines, place))
        found = first([audit.line_of(forged), lines[place + 1]], before(lines, place))
        assert found is not None and (found.first, found.last) == (place + 1, place + 2), place


def test_each_pair_that_changed_places_is_found(lines: list[str]) -> None:
    for place in range(RECORDS - 1):
        found = first([lines[place + 1], lines[place]], before(lines, place))
        assert found is not None and found.first == place + 1, place


def test_each_inserted_record_is_found(lines: list[str]) -> None:
    for place in range(RECORDS):
        forged = audit.line_of(audit.sealed({"action": "agent.delete"}, before(lines, place)))
        found = first([forged, *lines[place : place + 2]], before(lines, place))
        assert found is not None and found.first == place + 1, place


@pytest.mark.parametrize("place", [0, 1, 499, 998, 999])
def test_a_whole_file_with_one_change_tells_one_problem(lines: list[str], place: int) -> None:
    touched = [*lines[:place], changed(lines[place], "at"), *lines[place + 1 :]]
    assert [p.first for p in audit.problems(touched)] == [place + 1]
    removed = [*lines[:place], *lines[place + 1 :]]
    head = audit.head_of(json.loads(lines[-1]))
    assert [(p.first, p.last) for p in audit.problems(removed, [head])] == [(place + 1, place + 1)]


def test_what_is_cut_off_at_the_end_is_found_by_a_head(lines: list[str]) -> None:
    head = audit.head_of(json.loads(lines[-1]))
    assert first(lines[:900]) is None  # a chain alone cannot know what came after it
    found = first(lines[:900], audit.EMPTY, head)
    assert found is not None and (found.first, found.last) == (901, RECORDS)


def test_a_chain_that_was_written_anew_is_found_by_a_head_that_was_kept(lines: list[str]) -> None:
    kept, last, forged = audit.head_of(json.loads(lines[499])), audit.EMPTY, []
    for line in lines:
        body = {k: v for k, v in json.loads(line).items() if k not in ("hash", "seq", "previous")}
        record = audit.sealed({**body, "who": {"name": "somebody else"}}, last)
        last = audit.head_of(record)
        forged.append(audit.line_of(record))
    assert first(forged) is None
    found = first(forged, audit.EMPTY, kept)
    assert found is not None and found.first == 500


@pytest.mark.parametrize("text", ["", "[]", "{", '{"seq":1,"seq":1}', '{"seq": 1}', '{"seq":true}'])
def test_a_line_that_is_no_record_is_told(text: str) -> None:
    found = first([text])
    assert found is not None and "line 1" in found.text


@pytest.mark.parametrize("text", ["", "1", "x:" + "0" * 64, "1:abc", "1:" + "G" * 64])
def test_a_head_has_one_form(text: str) -> None:
    with pytest.raises(ValueError, match="NUMBER:HASH"):
        audit.Head.parse(text)
    head = audit.Head(7, "ab" * 32)
    assert audit.Head.parse(str(head)) == head


@pytest.mark.parametrize(
    "statement",
    [
        "update audit set record = '{}' where seq = 1",
        "update audit set seq = 5000 where seq = 1",
        "delete from audit where seq = 1000",
        "delete from audit",
        "delete from audit_heads",
        "update audit_heads set seq = 1",
        "update audit_heads set hash = 'x'",
    ],
)
def test_the_database_refuses_to_change_a_record(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        with pytest.raises(sqlite3.IntegrityError, match="audit records are kept as written"):
            connection.execute(statement)
        assert connection.execute("select count(*) from audit").fetchone() == (RECORDS,)
