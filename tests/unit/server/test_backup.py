"""Copies of the database: whole, while it is in use, and put back in its place."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from kubiya_worker.cli.server import server
from kubiya_worker.errors import ConfigurationError, Unavailable
from kubiya_worker.server.store import sqlite_file
from kubiya_worker.server.store.backup import back_up, contents, put_back
from kubiya_worker.server.store.database import Database
from tests.support.rights import as_nobody, reachable
from tests.unit.server.test_database import filled, newer


def events_in(path: Path) -> int:
    return contents(path).events


def add_event(database: Database, number: int) -> None:
    database.execute(
        text(f"insert into events values ('e1', {number}, 'x{number}', 'message', null, '{{}}', '2026', 1)")
    )


def test_a_copy_holds_what_was_committed_and_nothing_of_an_open_transaction(tmp_path: Path) -> None:
    filled(tmp_path / "cp.db")
    database = Database(tmp_path / "cp.db")
    with database.transaction():
        add_event(database, 2)
    with database.transaction():
        add_event(database, 3)
        made = back_up(tmp_path / "cp.db", tmp_path / "copy.db")
    assert (made.executions, made.events) == (1, 2)
    assert contents(tmp_path / "cp.db").events == 3
    assert [path.name for path in tmp_path.glob("copy*")] == ["copy.db"]  # one file
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    database.close()


def test_a_copy_is_put_back_and_the_old_database_is_kept(tmp_path: Path) -> None:
    path, copy = tmp_path / "cp.db", tmp_path / "copy.db"
    filled(path)
    back_up(path, copy)
    database = Database(path)
    with database.transaction():
        add_event(database, 2)
    with pytest.raises(Unavailable, match="Another control plane uses"):
        put_back(copy, path)
    database.close()
    found, old = put_back(copy, path)
    assert found.events == 1 and events_in(path) == 1
    assert old is not None and events_in(old) == 2
    Database(path).close()


def test_a_broken_database_is_replaced_too(tmp_path: Path) -> None:
    path, copy = tmp_path / "cp.db", tmp_path / "copy.db"
    filled(path)
    back_up(path, copy)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ConfigurationError, match=r"cp\.db"):
        back_up(path, tmp_path / "other.db")
    _, old = put_back(copy, path)
    assert events_in(path) == 1 and old is not None and old.stat().st_size == 5000


def songs(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("create table songs (title text)")
    connection.close()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_text("no database"), "not a database"),
        (
            lambda path: sqlite3.connect(path).execute("create table songs (title text)").connection.close(),
            "not a data",
        ),
        (lambda path: None, "There is no file"),
    ],
)
def test_other_files_are_not_put_back(tmp_path: Path, make: Callable[[Path], object], said: str) -> None:
    filled(tmp_path / "cp.db")
    make(tmp_path / "given.db")
    with pytest.raises(ConfigurationError, match=said):
        put_back(tmp_path / "given.db", tmp_path / "cp.db")
    assert events_in(tmp_path / "cp.db") == 1


def test_a_backup_of_a_newer_version_is_not_put_back(tmp_path: Path) -> None:
    filled(tmp_path / "given.db")
    connection = sqlite3.connect(tmp_path / "given.db")
    connection.execute("update alembic_version set version_num = 'of_next_year'")
    connection.commit()
    connection.close()
    with pytest.raises(ConfigurationError, match="of_next_year"):
        put_back(tmp_path / "given.db", tmp_path / "cp.db")
    assert not (tmp_path / "cp.db").exists()


def test_a_backup_does_not_replace_the_database_itself(tmp_path: Path) -> None:
    filled(tmp_path / "cp.db")
    for target in (tmp_path / "cp.db", tmp_path):
        with pytest.raises(ConfigurationError, match=r"is the database itself|is a folder"):
            back_up(tmp_path / "cp.db", target)


def test_a_migration_keeps_a_copy_of_the_database_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path / "cp.db")
    before = contents(tmp_path / "cp.db").version
    newer(tmp_path, monkeypatch)
    Database(tmp_path / "cp.db").close()
    assert contents(tmp_path / f"cp.db.{before}.old").version == before
    assert contents(tmp_path / "cp.db").version == "next"


def test_without_room_for_the_copy_nothing_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path / "cp.db")
    before = contents(tmp_path / "cp.db").version
    newer(tmp_path, monkeypatch)

    def full(part: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sqlite_file, "put_in_place", full)
    with pytest.raises(Unavailable, match="before the upgrade"):
        Database(tmp_path / "cp.db")
    assert contents(tmp_path / "cp.db").version == before


def test_the_commands_say_what_they_did(tmp_path: Path) -> None:
    path, copy = tmp_path / "cp.db", tmp_path / "copy.db"
    filled(path)
    (tmp_path / "secrets.key").write_text("k")
    done = CliRunner().invoke(server, ["backup", str(copy), "--database", str(path)], catch_exceptions=False)
    assert "1 executions, 1 events" in done.output and "secrets.key" in done.output
    done = CliRunner().invoke(server, ["restore", str(copy), "--database", str(path)], catch_exceptions=False)
    assert "restored:" in done.output and ".old" in done.output


def test_a_file_that_this_user_may_not_read_is_told_as_such(tmp_path: Path) -> None:
    filled(tmp_path / "cp.db")
    tmp_path.chmod(0o755)
    (tmp_path / "cp.db").chmod(0)
    with (
        reachable(tmp_path),
        as_nobody(),
        pytest.raises(Unavailable, match=r"cp\.db cannot be read: Permission denied$"),
    ):
        contents(tmp_path / "cp.db")


def test_a_backup_into_a_folder_that_is_not_there_is_told_without_a_temporary_name(tmp_path: Path) -> None:
    filled(tmp_path / "cp.db")
    with pytest.raises(Unavailable, match=r"copy\.db cannot be written: No such file or directory$"):
        back_up(tmp_path / "cp.db", tmp_path / "none" / "copy.db")
