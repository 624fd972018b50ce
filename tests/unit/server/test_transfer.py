"""A control plane's data moves from its SQLite file to PostgreSQL: all of it, or nothing."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Table, select, text

from kubiya_worker.cli.server import server as command
from kubiya_worker.errors import ConfigurationError, Unavailable
from kubiya_worker.server.store.address import PostgresAddress
from kubiya_worker.server.store.database import Database
from kubiya_worker.server.store.opened import open_database
from tests.support import databases, postgres
from tests.support.api import Api

transfer = pytest.importorskip("kubiya_worker.server.store.transfer")
pytestmark = pytest.mark.skipif(
    postgres.programs() is None, reason="PostgreSQL is not installed (apt-get install postgresql)"
)


@pytest.fixture
def target() -> PostgresAddress:
    return databases.server().fresh()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of a control plane with something in most tables; no server uses it."""
    monkeypatch.setattr(databases, "place", lambda folder: folder / "cp.db")
    with Api(tmp_path) as api:
        execution = api.execute(prompt="with \0 and an emoji \U0001f600")
        events = [{"event_id": f"e{n}", "event_type": "notice", "data": {"text": "\0"}} for n in range(5_000)]
        api.plane.runs.publish(execution, events)
        request = {"execution_id": execution, "tool_name": "t", "tool_args": {"x": 1}, "requester_email": "a@b.example"}
        api.call("POST", "/approvals", request, 201)
        api.call("POST", "/skills", {"name": "files", "type": "file_system"}, 201)
        api.call("POST", "/mcp-servers", {"name": "tickets", "command": "x", "env": {"TOKEN": "{{.secret.NAME}}"}}, 201)
        job = {
            "name": "j",
            "trigger_type": "cron",
            "cron_schedule": "1 2 3 4 *",
            "entity_type": "agent",
            "entity_id": "ops",
        }
        job |= {"prompt_template": "x", "worker_queue_name": "default", "executor_type": "specific_queue"}
        api.call("POST", "/jobs", job, 201)
        api.call("PUT", "/secrets/NAME", {"value": "a value"})
        gone = api.execute()  # its number in the outbox must not come again
        with api.plane.database.transaction():
            api.plane.database.execute(text("delete from outbox where execution_id = :key"), {"key": gone})
    yield tmp_path / "cp.db"


def rows(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    found = {}
    for table in transfer.TABLES:
        found[table.name] = sorted((tuple(row) for row in database.execute(select(table))), key=repr)
    return found


def test_all_rows_move_and_numbers_go_on(source: Path, target: PostgresAddress) -> None:
    told: dict[str, int] = {}
    without_index = transfer.transfer(source, target, told.__setitem__)
    old, new = Database(source), open_database(target)
    assert without_index or new.texts.ids(new, "emoji", 9) == [told_of(old, "emoji")]  # pg_trgm may be missing
    before, after = rows(old), rows(new)
    assert not any("\0" in str(value) for row in after["executions"] for value in row)
    last = old.execute(text("select seq from sqlite_sequence where name = 'outbox'")).scalar()
    assert after == before and told["events"] == 5_000 and told["audit"] > 5
    assert {name: len(found) for name, found in after.items()} == told
    execution = before["outbox"][0][1]
    insert = "insert into outbox (execution_id, action, argument) values (:key, 'cancel', '{}') returning id"
    assert new.execute(text(insert), {"key": execution}).scalar() == last + 1
    old.close()
    new.close()


def told_of(database: Database, words: str) -> str:
    """Return the id of the one execution whose texts have these words."""
    query = text("select id from executions where words like :pattern")
    return str(database.execute(query, {"pattern": f"%{words}%"}).scalar())


def filled(table: Table, database: Database) -> dict[str, Any]:
    """Return a row for a table that has none: what it refers to is there."""
    values: dict[str, Any] = {}
    for column in table.columns:
        if column.foreign_keys:
            parent = next(iter(column.foreign_keys)).column
            values[column.name] = database.execute(select(parent).limit(1)).scalar()
        elif column.name == "id" and table.name in transfer.NUMBERED:
            values[column.name] = 41
        else:
            kind = column.type.python_type
            values[column.name] = {bool: True, int: 7, float: 1.5, bytes: b"\0\xff"}.get(kind, f"{table.name} é")
    return values


def test_rows_of_every_table_move(source: Path, target: PostgresAddress) -> None:
    old = Database(source)
    with old.transaction():
        for table in transfer.TABLES:
            if old.execute(select(table).limit(1)).first() is None:
                old.execute(table.insert(), filled(table, old))
    before = rows(old)
    old.close()
    assert all(before.values()), "no table is without a row"
    transfer.transfer(source, target, lambda name, count: None)
    new = open_database(target)
    assert rows(new) == before
    new.close()


def test_what_cannot_move_is_refused_and_leaves_nothing(
    source: Path, target: PostgresAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="There is no file"):
        transfer.transfer(tmp_path / "nothing.db", target, lambda *_: None)
    monkeypatch.setattr("kubiya_worker.server.store.sqlite_file.LOCK_SECONDS", 0.1)
    used = Database(source)
    with pytest.raises(Unavailable, match="Another control plane uses the database"):
        transfer.transfer(source, target, lambda *_: None)
    with used.transaction():
        used.execute(text("update executions set requester = :nul"), {"nul": "a" + chr(0)})
    used.close()
    with pytest.raises(Unavailable, match="Nothing was moved"):
        transfer.transfer(source, target, lambda *_: None)
    new = open_database(target)
    assert not any(rows(new).values())
    with new.transaction():
        new.execute(text("insert into stops values ('o', '{}')"))
    with pytest.raises(ConfigurationError, match="has data already, in the table stops"):
        transfer.transfer(source, target, lambda *_: None)
    new.close()


def test_the_command_moves_and_the_server_goes_on(
    source: Path, target: PostgresAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secrets.key").unlink(missing_ok=True)
    (tmp_path / "secrets.key").write_bytes(base64.b64encode(os.urandom(32)))
    done = CliRunner().invoke(command, ["migrate", "--from", str(source), "--to", target.url], catch_exceptions=False)
    assert done.exit_code == 0 and "events: 5000" in done.output and "secrets.key" in done.output, done.output
    monkeypatch.setattr(databases, "place", lambda folder: target)
    with Api(tmp_path) as api:
        assert len(api.call("GET", "/executions")) == 2
        assert api.call("GET", "/audit/verify")["problems"] == []
        api.execute()
