"""The database file: made, brought up to date, or refused in one line."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from kubiya_worker.errors import ConfigurationError, Unavailable
from kubiya_worker.server.store import database as store
from kubiya_worker.server.store import sqlite_file
from kubiya_worker.server.store.database import HEAD, MIGRATIONS, Database

NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = {head!r}


def upgrade():
    with op.batch_alter_table("executions") as table:
        table.add_column(sa.Column("colour", sa.String(), nullable=False, server_default="red"))
        table.alter_column("environment", nullable=True)
{more}

def downgrade():
    pass
"""


def schema_of(path: Path) -> dict[str, str]:
    """Each table and index, as SQLite keeps it, without regard to blanks, quotes and the order of columns."""
    connection = sqlite3.connect(path)
    rows = connection.execute("select name, sql from sqlite_master where name not like 'sqlite_%'").fetchall()
    connection.close()
    normal = {}
    for name, sql in rows:
        if name != "alembic_version" and sql:
            head, _, body = sql.partition("(")
            normal[name] = " ".join(head.replace('"', "").split()) + str(
                sorted(" ".join(line.split(", ")) for line in lines_of(body))
            )
    return normal


def lines_of(body: str) -> list[str]:
    return [" ".join(line.strip().rstrip(",").split()) for line in body.splitlines() if line.strip()]


def test_migrations_make_what_the_tables_say(tmp_path: Path) -> None:
    fresh = Database(tmp_path / "fresh.db")
    fresh.close()
    migrated = Database(tmp_path / "migrated.db")
    migrated.connection.exec_driver_sql("PRAGMA foreign_keys=OFF")  # tables refer to one another, and all of them go
    migrated.connection.commit()
    with migrated.transaction():
        migrated.execute(text("drop table execution_text"))  # with its own tables; the next opening makes it
        tables = migrated.execute(
            text("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'")
        )
        for (name,) in tables.all():
            migrated.execute(text(f"drop table {name}"))
    migrated.upgrade()
    version = migrated.execute(text("select version_num from alembic_version")).scalar()
    migrated.close()
    Database(tmp_path / "migrated.db").close()
    assert version == HEAD
    assert schema_of(tmp_path / "migrated.db") == schema_of(tmp_path / "fresh.db")
    assert len(schema_of(tmp_path / "fresh.db")) > 20


def test_head_names_the_newest_migration() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def filled(path: Path) -> None:
    """A database with an execution and one event of it."""
    database = Database(path)
    with database.transaction():
        database.execute(
            text(
                "insert into executions values "
                "('e1', 'o', 'agent', 'a', 'q', 'running', null, '{}', '{}', '2026', '2026', null, null)"
            )
        )
        database.execute(text("insert into events values ('e1', 1, 'x', 'message', null, '{}', '2026', 1)"))
    database.close()


def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str = "") -> None:
    """A version of this package that is one migration ahead."""
    scripts = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, scripts)
    (scripts / "versions" / "next.py").write_text(NEXT.format(head=HEAD, more=more))
    monkeypatch.setattr(store, "MIGRATIONS", scripts)
    monkeypatch.setattr(store, "HEAD", "next")


def test_a_database_that_is_one_revision_behind_is_upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cp.db"
    filled(path)
    newer(tmp_path, monkeypatch)
    database = Database(path)
    assert database.execute(text("select colour from executions")).scalar() == "red"
    assert database.execute(text("select count(*) from events")).scalar() == 1  # rows that refer to it are still there
    assert database.execute(text("select version_num from alembic_version")).scalar() == "next"
    assert database.execute(text("pragma foreign_keys")).scalar() == 1
    database.close()


def test_executions_of_an_older_version_are_found_by_person_and_text(tmp_path: Path) -> None:
    path = tmp_path / "cp.db"
    filled(path)
    told = '{"requested_by": {"id": "Ada@acme.example"}, "entity_name": "Ops", "prompt": "LOOK at /var"}'
    old = sqlite3.connect(path)
    hooks = ("hook_replies", "hook_deliveries", "hook_threads", "hooks")
    for trigger in ("audit_no_delete", "execution_text_added", "execution_text_changed", "execution_text_removed"):
        old.execute(f"drop trigger {trigger}")
    old.execute("create trigger audit_no_delete before delete on audit begin select raise(abort, ''); end")
    later = (
        "leases",
        "run_files",
        "removed_executions",
        "audit_cuts",
        "agreed",
        "skills",
        "mcp_servers",
        "models",
        "answer_tokens",
        "notification_deliveries",
        "notifications",
    )
    for table in (*later, *hooks):
        old.execute(f"drop table {table}")
    for index in ("all", "status", "entity_id", "queue_id", "requester"):
        old.execute(f"drop index executions_{index}")
    for column in ("requester", "words"):
        old.execute(f"alter table executions drop column {column}")
    for column in ("queue_id", "created_at"):
        old.execute(f"create index ix_executions_{column} on executions ({column})")
    old.execute("update executions set data = ?", (told,))
    old.execute("update alembic_version set version_num = '2026_11_browser_sessions'")
    old.commit()
    old.close()
    database = Database(path)
    row = database.execute(text("select requester, words from executions")).one()
    database.close()
    assert tuple(row) == ("ada@acme.example", "ops\nlook at /var")
    assert "executions_requester" in schema_of(path) and "ix_executions_queue_id" not in schema_of(path)


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cp.db"
    filled(path)
    before = schema_of(path)
    with monkeypatch.context() as patch:
        newer(tmp_path, patch, more="    op.drop_table('nowhere')")
        with pytest.raises(Unavailable):
            Database(path, exclusive=False)
    assert schema_of(path) == before
    database = Database(path, exclusive=False)
    assert database.execute(text("select count(*) from events")).scalar() == 1
    database.close()


def test_a_database_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cp.db"
    filled(path)
    connection = sqlite3.connect(path)
    connection.execute("update alembic_version set version_num = '2031_01_far'")
    connection.commit()
    connection.close()
    for _ in range(2):  # what was refused keeps neither the file nor its lock
        with pytest.raises(ConfigurationError) as refused:
            Database(path)
    assert str(path) not in {file.path for file in psutil.Process().open_files()}
    line = refused.value.line()
    assert "another version of kubiya-worker" in line and "2031_01_far" in line and "\n" not in line


@pytest.mark.parametrize("content", [b"this is no database, whatever its name says" * 50, b"\x00\xff" * 600])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cp.db"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as refused:
        Database(path)
    assert str(path) in refused.value.line() and "\n" not in refused.value.line()
    assert path.read_bytes() == content


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("create table songs (title text)")
    connection.commit()
    connection.close()
    with pytest.raises(ConfigurationError, match="not of this control plane"):
        Database(path)


def test_a_second_server_on_the_same_database_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "LOCK_SECONDS", 0.1)
    first = Database(tmp_path / "cp.db")
    with pytest.raises(Unavailable, match="Another control plane uses the database"):
        Database(tmp_path / "cp.db")
    first.close()
    Database(tmp_path / "cp.db").close()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be opened"):
        Database(tmp_path / "file" / "cp.db")


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    database = Database(tmp_path / "state" / "cp.db")
    with database.transaction():
        database.execute(text("insert into api_keys (hash, organization_id, created_at) values ('h', 'o', '2026')"))
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
    database.close()
    assert set(modes.values()) == {0o600} and "cp.db-wal" in modes
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
