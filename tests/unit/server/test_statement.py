"""Prepared statements find, write and refuse what SQLAlchemy does with the same statements."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, event, insert, select
from sqlalchemy.exc import IntegrityError, OperationalError, StatementError

from kubiya_worker.protocol import execution as ex
from kubiya_worker.server.sealing import KeyInMemory, Seal
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import LARGEST_JOURNAL, Database
from kubiya_worker.server.store.executions import OPEN, Executions
from kubiya_worker.server.store.statement import Prepared

T = schema.environments
ADD = insert(T)
ALL = select(T).order_by(T.c.name)
NAMED = select(T.c.id, T.c.data).where(T.c.name == bindparam("name"))
FIRST = select(T.c.name).order_by(T.c.name).limit(1)


def environment(name: str) -> dict[str, Any]:
    return {"id": name, "organization_id": "o", "name": name, "data": "{}", "created_at": "1", "updated_at": "2"}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "cp.db")
    yield database
    database.close()


def test_rows_are_those_of_sqlalchemy(database: Database) -> None:
    with database.transaction():
        database.execute(Prepared(ADD), [environment("b"), environment("a")])
        database.execute(Prepared(ADD), environment("c"))
    for statement, values in ((ALL, None), (NAMED, {"name": "b"}), (NAMED, {"name": "z"}), (FIRST, None)):
        ours = database.execute(Prepared(statement), values).all()
        theirs = database.execute(statement, values).all()
        assert [row._asdict() for row in ours] == [dict(row._mapping) for row in theirs]
        assert database.execute(Prepared(statement), values).first() == (ours[0] if ours else None)
        assert database.execute(Prepared(statement), values).scalar() == (ours[0][0] if ours else None)


def test_a_transaction_of_prepared_statements_alone_is_committed(tmp_path: Path) -> None:
    path = tmp_path / "cp.db"
    database = Database(path)
    with database.transaction():
        database.execute(Prepared(ADD), environment("a"))
    reader = Database(path, exclusive=False)  # another connection sees only what is committed
    assert reader.execute(Prepared(FIRST)).scalar() == "a"
    reader.close()
    database.close()


def test_a_transaction_that_fails_is_undone_as_a_whole(database: Database) -> None:
    with pytest.raises(RuntimeError), database.transaction():
        database.execute(Prepared(ADD), environment("a"))
        with database.transaction():
            database.execute(ADD, environment("b"))
        raise RuntimeError
    assert database.execute(Prepared(ALL)).all() == []
    assert database.rollbacks == 1


def test_errors_are_those_of_sqlalchemy(database: Database) -> None:
    with database.transaction():
        database.execute(Prepared(ADD), environment("a"))
    with pytest.raises(IntegrityError), database.transaction():
        database.execute(Prepared(ADD), environment("a"))
    with pytest.raises(StatementError):
        database.execute(Prepared(NAMED), {})
    with database.transaction():
        database.connection.exec_driver_sql("drop table environments")
    with pytest.raises(OperationalError, match="no such table"):
        database.execute(Prepared(FIRST))


def test_open_executions_are_found_by_the_index_of_their_status(database: Database) -> None:
    seen: list[tuple[str, Any]] = []
    event.listen(database.connection, "before_cursor_execute", lambda *given: seen.append((given[2], given[3])))
    assert Executions(database, Seal(KeyInMemory())).open("2026") == []
    plan = " ".join(
        str(row[-1]) for row in database.connection.exec_driver_sql(f"explain query plan {seen[0][0]}", seen[0][1])
    )
    assert "USING INDEX ix_executions_status" in plan
    assert {ex.RUNNING, ex.WAITING, ex.PENDING, ex.PAUSED} <= set(OPEN) and not ex.FINAL & set(OPEN)


def test_a_journal_that_has_grown_is_cut_again(tmp_path: Path) -> None:
    path = tmp_path / "cp.db"
    database, reader = Database(path), Database(path, exclusive=False)
    reader.connection.exec_driver_sql("begin")
    reader.execute(Prepared(FIRST)).scalar()  # while this reads, nothing can go from the journal to the database
    for number in range(80):
        with database.transaction():
            database.execute(Prepared(ADD), {**environment(str(number)), "data": "x" * (1 << 20)})
    journal = tmp_path / "cp.db-wal"
    assert journal.stat().st_size > LARGEST_JOURNAL
    reader.close()
    for number in range(80, 83):
        with database.transaction():
            database.execute(Prepared(ADD), environment(str(number)))
    assert journal.stat().st_size <= LARGEST_JOURNAL
    database.close()
