"""A part of a list far from its first row is read from the nearer end, and is the same from both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Select, insert, select, text

from kubiya_worker.server.store import far_part, schema
from kubiya_worker.server.store.database import Database
from kubiya_worker.server.store.far_part import is_nearer_from_the_end, read_part
from kubiya_worker.server.store.opened import open_database
from tests.support import databases, postgres
from tests.unit.server.test_execution_lists import rows

T = schema.executions
ORDER = (T.c.created_at, T.c.id)
COMPLETED = select(*ORDER).where(T.c.organization_id == "local", T.c.status == "completed")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def many(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    if request.param == "postgresql" and postgres.programs() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    database = open_database(
        databases.server().fresh() if request.param == "postgresql" else tmp_path_factory.mktemp("far") / "cp.db"
    )
    with database.transaction():
        database.execute(insert(schema.executions), rows())
    database.execute(text("analyze executions"))
    yield database
    database.close()


class Told:
    """A reader that is told how many rows to expect, and keeps what it is asked."""

    def __init__(self, database: Database, expected: int | None) -> None:
        self.database, self.expected, self.asked = database, expected, list[str]()

    def execute(self, statement: Any, values: Any = None) -> Any:
        self.asked.append(str(statement))
        return self.database.execute(statement, values)

    def expects(self, statement: Select[Any]) -> int | None:
        return self.expected


@pytest.mark.parametrize("oldest", [False, True])
def test_a_part_is_the_same_from_either_end(many: Database, oldest: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(far_part, "FAR", 0)
    whole = [tuple(row) for row in read_part(many, COMPLETED, ORDER, oldest, 0, len(rows()))]
    assert whole == sorted(whole, reverse=not oldest)
    # In the middle, at the very end, over it by some, by all, and far behind it.
    for skip in (1, len(whole) // 2, len(whole) - 20, len(whole) - 5, len(whole) - 1, len(whole), len(whole) + 500):
        for expected in (None, 1, len(whole), 10 * len(whole)):
            reader = Told(many, expected)
            part = read_part(reader, COMPLETED, ORDER, oldest, skip, 20)
            assert [tuple(row) for row in part] == whole[skip : skip + 20], (skip, expected)
            assert any("count(" in asked for asked in reader.asked) is is_nearer_from_the_end(skip, expected)


def test_near_parts_ask_nothing_else(many: Database) -> None:
    reader = Told(many, 1)
    read_part(reader, COMPLETED, ORDER, False, far_part.FAR, 20)
    assert len(reader.asked) == 1


def test_postgresql_expects_about_as_many_as_there_are(many: Database) -> None:
    expected = many.expects(COMPLETED)
    if not many.shared:
        assert expected is None
        return
    there = len(many.execute(COMPLETED).all())
    assert expected is not None and 0.9 * there <= expected <= 1.1 * there
