"""A control plane on a real PostgreSQL server: its schema, its writers, its outages, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from kubiya_worker.errors import ConfigurationError, Unavailable, UsageError
from kubiya_worker.server import __main__ as program
from kubiya_worker.server import command_line
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.sealing import KeyInMemory, Seal
from kubiya_worker.server.store.address import PostgresAddress, place_of
from kubiya_worker.server.store.database import HEAD, Database, Stale, run_migrations
from kubiya_worker.server.store.events import Events
from kubiya_worker.server.store.executions import TURN, Executions
from kubiya_worker.server.store.opened import open_database
from kubiya_worker.server.store.outbox import START, Outbox
from kubiya_worker.server.store.statement import Prepared
from tests.support import databases, postgres
from tests.support.api import Api
from tests.support.certificates import Certificates
from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.skipif(
    postgres.programs() is None, reason="PostgreSQL is not installed (apt-get install postgresql)"
)
EXECUTION = {"id": "e1", "organization_id": "o", "execution_type": "agent", "entity_id": "a", "queue_id": "q"}
SCHEMA = """
select table_name, column_name, data_type, is_nullable, column_default, collation_name, ''
from information_schema.columns
where table_schema = current_schema() and table_name != 'alembic_version' union all
select tablename, indexname, replace(indexdef, current_schema(), ''), '', '', '', '' from pg_indexes
where schemaname = current_schema() and tablename != 'alembic_version' union all
select conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '', '', '' from pg_constraint
where connamespace = current_schema()::regnamespace and conname !~ 'alembic' union all
select event_object_table, trigger_name, event_manipulation, action_statement, action_condition, '', ''
from information_schema.triggers where trigger_schema = current_schema() order by 1, 2, 3
"""


@pytest.fixture
def server() -> PostgresServer:
    return databases.server()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may stop."""
    with postgres.postgres_server() as made:
        yield made


def shape(database: Database) -> list[tuple[object, ...]]:
    return [tuple(row) for row in database.execute(text(SCHEMA)).all()]


def key_file(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(base64.b64encode(name.encode().ljust(32, b".")))
    path.chmod(0o600)
    return path


# -- the address


def test_an_address_is_never_taken_for_a_files_name() -> None:
    for given in ("postgresql://u@h/db", "postgres://u@h/db?sslmode=require", "postgresql:///db?host=/run"):
        assert isinstance(place_of(given), PostgresAddress)
    assert place_of("./cp.db") == Path("cp.db") and place_of(":memory:") == Path(":memory:")
    for wrong, why in {
        "mysql://u@h/db": "mysql:// is not supported",
        "sqlite:///x.db": "named by its file alone",
        "postgresql://h": "names no database",
        "postgresql://[h/db": "cannot be read",
    }.items():
        with pytest.raises(ValueError, match=why):
            place_of(wrong)


def test_a_password_is_neither_shown_nor_taken_from_a_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key"
    key.touch()
    for url in ("postgresql://u:hunter22@h:5/db", "postgresql://u@h:5/db?password=hunter22&sslmode=require"):
        address = place_of(url)
        assert str(address) == "postgresql://u@h:5/db" and "hunter22" not in repr(address)
        with pytest.raises(UsageError, match="read a command line") as told:
            command_line.parse(["--database", url, "--secrets-key-file", str(key)])
        assert "hunter22" not in told.value.line()
        (tmp_path / "url").write_text(f"{url}\n")
        monkeypatch.setenv("KUBIYA_DATABASE_FILE", str(tmp_path / "url"))
        found = command_line.parse(["--secrets-key-file", str(key)]).database
        assert found == PostgresAddress(url) and found.password == "hunter22"
        with pytest.raises(SystemExit):
            command_line.parse(["--help"])
        assert "hunter22" not in capfd.readouterr().out


def test_the_key_of_a_shared_database_must_be_there(tmp_path: Path) -> None:
    """A server that makes one of its own would seal what the others cannot open."""
    with pytest.raises(UsageError, match="needs --secrets-key-file"):
        command_line.parse(["--database", "postgresql://u@h/db"])
    with pytest.raises(UsageError, match="There is no file"):
        command_line.parse(["--database", "postgresql://u@h/db", "--secrets-key-file", str(tmp_path / "no")])
    assert command_line.parse(["--database", "postgresql://u@h/db", "--secrets-key-command", "cat key"])


# -- what is refused


def test_servers_with_different_keys_are_refused_at_the_start(server: PostgresServer, tmp_path: Path) -> None:
    address = server.fresh().url

    def start(name: str, *more: str) -> Plane:
        argv = ["--database", address, "--key-file", str(tmp_path / "key")]
        plane = program.open_plane(
            command_line.parse([*argv, "--secrets-key-file", str(key_file(tmp_path, name)), *more])
        )
        plane.database.close()
        return plane

    start("ours")
    start("ours")
    with pytest.raises(ConfigurationError, match="is not the one that the database") as told:
        start("theirs")
    assert "theirs" in told.value.line() and "--replace-secrets-key" in told.value.line()
    start("ours")
    start("theirs", "--replace-secrets-key")
    start("theirs")
    with pytest.raises(ConfigurationError):
        start("ours")


def test_a_lost_key_is_replaced_only_where_servers_share_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--replace-secrets-key is for PostgreSQL"):
        command_line.parse(["--database", str(tmp_path / "cp.db"), "--replace-secrets-key"])


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubiya_worker.server.store.postgres", None)
    with pytest.raises(ConfigurationError) as told:
        open_database(PostgresAddress("postgresql://u@h/db"))
    assert "kubiya-worker[server,postgres]" in told.value.line()


def test_a_server_that_cannot_be_reached_is_named_without_the_password(server: PostgresServer) -> None:
    with pytest.raises(Unavailable) as told:
        open_database(PostgresAddress("postgresql://u:hunter22@127.0.0.1:1/db"))
    assert "127.0.0.1:1/db" in told.value.line() and "hunter22" not in told.value.line()
    with pytest.raises(Unavailable, match='database "nothing" does not exist'):
        open_database(PostgresAddress(server.address().url.replace("/postgres", "/nothing")))
    server.want_passwords()
    with pytest.raises(ConfigurationError, match="asks for a password"):
        open_database(PostgresAddress(server.address().url.replace("kubiya@", "guarded@")))
    with pytest.raises(Unavailable, match='authentication failed for user "guarded"') as told:
        open_database(PostgresAddress(server.address().url.replace("kubiya@", "guarded:hunter22@")))
    assert "hunter22" not in told.value.line()
    with pytest.raises(ConfigurationError, match="is wrong"):
        open_database(PostgresAddress("postgresql://u@h/db?sslmodus=x"))


def test_faults_of_tls_are_told_apart(server: PostgresServer, tmp_path: Path, own_server: PostgresServer) -> None:
    with pytest.raises(ConfigurationError, match="the server speaks none"):
        open_database(PostgresAddress(f"{server.address().url}?sslmode=require"))
    certificates = Certificates(tmp_path)
    own_server.use_tls(tmp_path / "server.pem", tmp_path / "server.key")
    base = own_server.address().url
    with pytest.raises(ConfigurationError, match="by nobody known here"):
        open_database(PostgresAddress(f"{base}?sslmode=verify-full&sslrootcert={tmp_path / 'client.pem'}"))
    with pytest.raises(ConfigurationError, match="is not a file of certificates"):
        open_database(PostgresAddress(f"{base}?sslmode=verify-ca&sslrootcert={tmp_path / 'nothing'}"))
    other = base.replace("127.0.0.1", "127.0.0.2")  # the certificate is not for that
    with pytest.raises(ConfigurationError, match=r"is not for 127\.0\.0\.2") as told:
        open_database(PostgresAddress(f"{other}?sslmode=verify-full&sslrootcert={certificates.ca}"))
    assert "sslmode=verify-ca" in told.value.line()
    database = open_database(PostgresAddress(f"{base}?sslmode=verify-full&sslrootcert={certificates.ca}"))
    encrypted = text("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
    assert database.execute(encrypted).scalar() is True
    assert asyncio.run(database.aside(Prepared(encrypted))) == [(True,)]  # of the pool too
    database.close()


def test_another_programs_database_is_left_alone(server: PostgresServer) -> None:
    import psycopg

    address = server.fresh()
    with psycopg.connect(address.url, autocommit=True) as connection:
        connection.execute("create table theirs (x int)")
    with pytest.raises(ConfigurationError, match="not of this control plane"):
        open_database(address)


# -- the schema


def test_migrations_make_what_the_tables_say(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from kubiya_worker.server.store.postgres import PostgresDatabase

    fresh = open_database(server.fresh())
    monkeypatch.setattr(PostgresDatabase, "_make", PostgresDatabase.upgrade)
    migrated = open_database(server.fresh())
    assert shape(migrated) == shape(fresh) and len(shape(fresh)) > 300
    assert {row[5] for row in shape(fresh)} <= {None, "C", ""}  # ordered as SQLite orders
    assert migrated.execute(text("select version_num from alembic_version")).scalar() == HEAD
    fresh.close()
    migrated.close()


def test_a_busy_host_may_stand_still_between_two_steps_of_a_migration(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other transactions are ended when nothing comes for some seconds; reading all migrations can take longer."""
    from kubiya_worker.server.store import postgres as store
    from kubiya_worker.server.store import postgres_connection

    def slowly(*given: Any) -> None:
        time.sleep(1)
        run_migrations(*given)

    monkeypatch.setattr(postgres_connection, "LOCK_WAIT", 0.1)
    monkeypatch.setattr(store, "run_migrations", slowly)
    monkeypatch.setattr(store.PostgresDatabase, "_make", store.PostgresDatabase.upgrade)
    migrated = open_database(server.fresh())
    assert migrated.execute(text("select version_num from alembic_version")).scalar() == HEAD
    assert migrated.execute(text("show idle_in_transaction_session_timeout")).scalar() == "200ms"
    migrated.close()


def test_servers_that_begin_together_make_the_schema_once(server: PostgresServer) -> None:
    address, faults = server.fresh(), []

    def begin() -> None:
        try:
            open_database(address).close()
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert faults == []


# -- several writers


def two(server: PostgresServer) -> tuple[Database, Database]:
    address = server.fresh()
    return open_database(address), open_database(address)


def executions(database: Database) -> Executions:
    return Executions(database, Seal(KeyInMemory()))


def at_once(write: Callable[[Database, int], None], *databases: Database) -> None:
    """Let each database be written to in a thread of its own, with its number."""
    threads = [threading.Thread(target=write, args=(each, n)) for n, each in enumerate(databases)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(120)


def assert_numbered(database: Database, count: int) -> None:
    """Assert that there are so many events, each once, numbered without gaps."""
    rows = database.execute(text("select sequence, event_id from events order by sequence")).all()
    assert [row[0] for row in rows] == list(range(1, count + 1))
    assert len({row[1] for row in rows}) == count


def test_events_of_several_writers_have_numbers_without_gaps_and_each_once(server: PostgresServer) -> None:
    first, second = two(server)
    executions(first).create(dict(EXECUTION), own={})

    def write(database: Database, mine: int) -> None:
        events = Events(database)
        for number in range(100):
            shared = {"event_id": f"both-{number}", "event_type": "notice", "data": {}}
            own = {"event_id": f"{mine}-{number}", "event_type": "notice", "data": {}}
            with database.transaction():
                events.append("e1", [shared, own])

    at_once(write, first, second)
    assert_numbered(first, 300)
    first.close()
    second.close()


def test_writers_that_hold_the_row_by_its_change_have_numbers_without_gaps_too(server: PostgresServer) -> None:
    first, second = two(server)
    executions(first).create(dict(EXECUTION), own={})

    def write(database: Database, mine: int) -> None:
        store, events = executions(database), Events(database)
        for number in range(50):
            told = [{"event_id": f"{mine}-{number}-{n}", "event_type": "notice", "data": {}} for n in range(2)]
            while True:
                found = store.get("o", "e1")
                assert found is not None
                with contextlib.suppress(Stale), database.transaction():
                    store.save({**found, "response": f"{mine}-{number}"})
                    events.append("e1", told[:1])
                    events.append("e1", told)
                    break

    at_once(write, first, second)
    assert_numbered(first, 200)
    first.close()
    second.close()


def asked(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list to which each statement is added that the database runs from now on."""
    found: list[str] = []
    execute = database.execute

    def noted(statement: object, values: object = None) -> object:
        found.append(statement.sql if isinstance(statement, Prepared) else str(statement))
        return execute(statement, values)

    monkeypatch.setattr(database, "execute", noted)
    return found


def test_a_transaction_takes_its_turn_and_asks_for_the_last_number_once(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, other = two(server)
    store, events = executions(database), Events(database)
    told = [{"event_id": name, "event_type": "notice", "data": {}} for name in "abcd"]
    found = asked(database, monkeypatch)
    with database.transaction():
        store.create(dict(EXECUTION), own={})
        Outbox(database).add("e1", START)
    assert TURN.sql not in found  # nobody else sees a new row
    found.clear()
    with database.transaction():
        assert (events.append("e1", told[:1]), events.append("e1", told[:2]), events.last("e1")) == (1, 1, 2)
    assert (found.count(TURN.sql), len(found)) == (1, 5)
    found.clear()
    with pytest.raises(RuntimeError), database.transaction():
        events.append("e1", told[2:3])
        raise RuntimeError
    with other.transaction():
        Events(other).append("e1", told[3:])
    with database.transaction():  # what was held and known before counts no more
        events.append("e1", told[2:3])
    assert found.count(TURN.sql) == 2
    rows = other.execute(text("select sequence, event_id from events order by sequence")).all()
    assert [tuple(row) for row in rows] == [(1, "a"), (2, "b"), (3, "d"), (4, "c")]
    database.close()
    other.close()


def test_what_another_server_has_changed_is_not_overwritten(server: PostgresServer) -> None:
    first, second = two(server)
    one, other = executions(first), executions(second)
    one.create(dict(EXECUTION), own={})
    mine, theirs = one.get("o", "e1"), other.get("o", "e1")
    assert mine is not None and theirs is not None
    other.save({**theirs, "status": "running"})
    with pytest.raises(Stale):
        one.save({**mine, "response": "lost?"})
    found = one.get("o", "e1")
    assert found is not None and found["status"] == "running" and "response" not in found
    one.delete(found)
    assert other.owner("e1") is None  # nothing is remembered
    first.close()
    second.close()


# -- requests


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_server: PostgresServer) -> Iterator[Api]:
    monkeypatch.setattr(databases, "place", lambda folder: own_server.fresh())
    with Api(tmp_path) as running:
        yield running


def test_an_outage_is_answered_with_503_and_the_server_goes_on(api: Api, own_server: PostgresServer) -> None:
    execution = api.execute()
    own_server.stop()
    for path in ("/agents", f"/executions/{execution}"):
        answer = api.ask("GET", path)
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1", answer.text
        assert "cannot be reached" in answer.json()["detail"]
    asked = api.ask("POST", "/agents/ops/execute", {"prompt": "x", "worker_queue_id": "default"})
    assert asked.status_code == 503
    own_server.start()

    async def found_again() -> None:
        while api.plane.database._fresh is None:  # type: ignore[attr-defined]
            await asyncio.sleep(0.05)

    api.run(asyncio.wait_for(found_again(), 60))
    assert api.call("GET", f"/executions/{execution}")["status"] == "pending"
    assert api.execute()


def test_a_character_that_no_text_can_hold_is_refused_by_name(api: Api) -> None:
    """The escape of it in JSON can be stored, and searches go on with it there."""
    agent = {"name": "a\0b", "model_id": "demo"}
    assert api.ask("POST", "/agents", agent).status_code == 422
    execution = api.execute(prompt="what is \0 here?")
    assert api.call("GET", f"/executions/{execution}")["prompt"] == "what is \0 here?"
    arguments = {"x": "\0", "y": r"\u0000", "z": "\U0001f600"}
    request = {
        "execution_id": execution,
        "tool_name": "t",
        "tool_args": arguments,
        "requester_email": "ann@example.org",
    }
    made = api.call("POST", "/approvals", request, 201)
    (found,) = api.call("GET", "/approvals?requester_email=ann@example.org")
    assert (found["id"], found["tool_args"]) == (made["id"], arguments)
    assert api.call("GET", "/audit?object=no-such-thing&person=ann@example.org") is not None
