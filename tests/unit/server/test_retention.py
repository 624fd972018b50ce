"""A server with limits removes the oldest executions first, keeps what others need, and explains what went."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text

from kubiya_worker.errors import UsageError
from kubiya_worker.server import command_line, retention
from kubiya_worker.server.retention import Retention
from kubiya_worker.server.store import run_files
from kubiya_worker.server.store.database import Database
from kubiya_worker.server.store.removals import NOBODY, REMEMBERED, KeepLimits
from tests.support import databases
from tests.support.api import Api

NOW = datetime.now(UTC)
TABLES = ("events", "turns", "tool_calls", "approvals", "run_files", "sessions", "session_parts", "job_runs", "outbox")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with Api(tmp_path) as running:
        yield running


def aged(api: Api, days: float, status: str = "completed", *, changed: float | None = None, **fields: Any) -> str:
    """Make an execution that was asked for so many days ago, and return its id."""
    execution = api.execute(**fields)
    api.call("PATCH", f"/executions/{execution}", {"status": status})
    set_age(api, execution, days, days if changed is None else changed)
    return execution


def set_age(api: Api, execution: str, days: float, changed: float) -> None:
    asked, at = ((NOW - timedelta(days=each)).isoformat() for each in (days, changed))
    with api.plane.database.transaction():
        query = "update executions set created_at = :asked, updated_at = :at where id = :id"
        api.plane.database.execute(text(query), {"asked": asked, "at": at, "id": execution})
        api.plane.database.execute(text("delete from outbox where execution_id = :id"), {"id": execution})


def look(api: Api, at: datetime = NOW, **limits: Any) -> Retention:
    api.plane.limits = KeepLimits(**limits)
    made = Retention(api.plane, at)

    async def run() -> None:
        await made.look()

    api.run(run())
    return made


def left(api: Api) -> set[str]:
    return {row[0] for row in api.plane.database.execute(text("select id from executions"))}


def rows_of(api: Api, execution: str) -> int:
    counts = (f"select count(*) from {table} where execution_id = :id" for table in TABLES)
    return sum(int(api.plane.database.execute(text(query), {"id": execution}).scalar()) for query in counts)


def test_without_limits_everything_stays(api: Api) -> None:
    old = aged(api, 4000)
    assert look(api).removed == 0 and left(api) == {old}


def test_by_age_only_what_ended_and_did_not_change(api: Api) -> None:
    old, talked, waits, new = aged(api, 40), aged(api, 40, changed=2), aged(api, 40, "waiting_for_input"), aged(api, 2)
    assert look(api, days=30).removed == 1
    assert left(api) == {talked, waits, new} and old not in left(api)
    fresh = aged(api, 40, changed=0.5 / 24)
    assert look(api, days=0.01).removed == 2 and left(api) == {waits, fresh}, "what ended within the hour stays"


def test_by_count_the_newest_of_each_organization_stay(api: Api) -> None:
    kept = [aged(api, days) for days in (5, 6)]
    gone = [aged(api, days) for days in (7, 8, 9)]
    other = aged(api, 30)
    with api.plane.database.transaction():
        change = {"id": other, "name": "other"}
        api.plane.database.execute(text("update executions set organization_id = :name where id = :id"), change)
        api.plane.stores.keys.create("other")
    assert look(api, count=2).removed == 3 and left(api) == {*kept, other}
    assert all(api.ask("GET", f"/executions/{each}").status_code == 410 for each in gone)


def test_all_that_belongs_to_it_goes_with_it(api: Api, tmp_path: Path) -> None:
    execution = api.execute()
    body = {"path": "a", "content": base64.b64encode(b"text").decode()}
    api.call("POST", f"/executions/{execution}/files", body)
    api.plane.runs.publish(execution, [{"event_type": "notice", "data": {"text": str(n)}} for n in range(3000)])
    messages = [{"role": "user", "content": "Look.", "message_id": str(n)} for n in range(20)]
    api.plane.stores.results.save_session(execution, {"session_id": execution, "messages": messages})
    api.call("PATCH", f"/executions/{execution}", {"status": "failed"})
    set_age(api, execution, 40, 40)
    assert rows_of(api, execution) > 3000 and list((tmp_path / run_files.FOLDER).iterdir())
    assert look(api, days=30).removed == 1
    assert rows_of(api, execution) == 0 and not list((tmp_path / run_files.FOLDER).iterdir())
    record = api.call("GET", f"/audit?object={execution}")[0]
    assert record["action"] == "execution.delete" and "--keep-executions 30" in record["detail"]
    assert record["who"]["id"] == "control-plane"


def test_what_went_is_explained_to_who_could_read_it(api: Api) -> None:
    queue = api.call("GET", "/worker-queues/default")["id"]
    execution = aged(api, 40)
    look(api, days=30)
    for path in ("", "/events", "/session", "/stream", "/files"):
        answer = api.ask("GET", f"/executions/{execution}{path}")
        assert answer.status_code == 410, path
        told = answer.json()["detail"]
        assert execution in told and "'ops'" in told and "(completed)" in told and "--keep-executions 30" in told
    assert api.ask("PATCH", f"/executions/{execution}", {"status": "failed"}).status_code == 410
    assert api.ask("GET", "/executions/nothing").status_code == 404
    inside = api.key("viewer", queues=[queue])["headers"]
    assert api.ask("GET", f"/executions/{execution}", headers=inside).status_code == 410
    other = api.agent()["id"]
    outside = api.key("viewer", "Bo", agents=[other])["headers"]
    assert api.ask("GET", f"/executions/{execution}", headers=outside).status_code == 404
    look(api, NOW + timedelta(seconds=REMEMBERED + 60), days=30)
    assert api.ask("GET", f"/executions/{execution}").status_code == 404


def test_those_of_an_open_family_stay(api: Api) -> None:
    first = aged(api, 50)
    second = aged(api, 45, parent_execution_id=first)
    child = aged(api, 40, "running", parent_execution_id=second)
    done = aged(api, 39, parent_execution_id=child)
    assert look(api, days=30).removed == 0
    api.call("PATCH", f"/executions/{child}", {"status": "completed"})
    set_age(api, child, 40, 40)
    assert look(api, days=30).removed == 4 and left(api) == set() and done not in left(api)


def test_what_must_still_be_told_stays(api: Api) -> None:
    execution = aged(api, 40)
    with api.plane.database.transaction():
        api.plane.stores.outbox.add(execution, "cancel")
    assert look(api, days=30).removed == 0
    api.plane.stores.outbox.withdraw_start(execution)
    set_age(api, execution, 40, 40)
    assert look(api, days=30).removed == 1


def test_a_jobs_last_run_stays(api: Api) -> None:
    job = {"name": "nightly", "trigger_type": "manual", "planning_mode": "predefined_agent", "entity_type": "agent"}
    agent = api.call("GET", "/agents/ops")["id"]
    queue = {"executor_type": "specific_queue", "worker_queue_name": "default"}
    made = api.call("POST", "/jobs", {**job, **queue, "entity_id": agent, "prompt_template": "Look."})
    found = api.plane.stores.jobs.find("local", made["id"])
    runs = [aged(api, days) for days in (60, 50, 40)]
    for each in runs:
        assert found is not None
        api.plane.stores.jobs.add_run(found, each, "manual")
    assert look(api, days=30).removed == 2 and left(api) == {runs[2]}
    assert api.call("GET", f"/jobs/{made['id']}")["last_execution_id"] == runs[2]
    api.call("DELETE", f"/jobs/{made['id']}")
    assert look(api, days=30).removed == 1


def test_a_hooks_thread_and_a_waiting_answer_stay(api: Api) -> None:
    thread, reply = aged(api, 40), aged(api, 41)
    hook = {"id": "h", "o": "local", "name": "h", "data": "{}", "at": NOW.isoformat(), "t": thread, "r": reply}
    with api.plane.database.transaction():
        for query in (
            "insert into hooks (id, organization_id, name, data, created_at, updated_at) "
            "values (:id, :o, :name, :data, :at, :at)",
            "insert into hook_threads (hook_id, thing, execution_id, starts, started_at, status, state) "
            "values (:id, 'x', :t, 1, 1, 'firing', 'firing')",
        ):
            api.plane.database.execute(text(query), hook)
        api.plane.stores.replies.add(reply, "h")
    assert look(api, days=30).removed == 0
    api.plane.stores.replies.record_try(reply, "sent", 1, 0, {})
    with api.plane.database.transaction():
        api.plane.database.execute(text("delete from hook_threads"))
    assert look(api, days=30).removed == 2


def test_who_is_killed_in_the_middle_goes_on(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = aged(api, 40)
    api.plane.runs.publish(execution, [{"event_type": "notice", "data": {"text": str(n)}} for n in range(100)])

    def killed(*_: Any) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(api.plane.stores.removals, "drop_part", killed)
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(_look_of(api, KeepLimits(days=30)))
    assert api.ask("GET", f"/executions/{execution}").status_code == 410 and rows_of(api, execution) >= 100
    assert api.plane.stores.executions.owner(execution) == NOBODY
    look(api)
    assert rows_of(api, execution) == 0 and left(api) == set()


def test_executions_of_an_organization_without_a_name_are_not_taken_for_removed(api: Api) -> None:
    execution = aged(api, 2)
    with api.plane.database.transaction():
        api.plane.database.execute(text("update executions set organization_id = ''"))
    assert look(api, days=30).removed == 0 and left(api) == {execution}
    set_age(api, execution, 40, 40)
    with api.plane.database.transaction():
        api.plane.stores.keys.create("")
    assert look(api, days=30).removed == 1 and left(api) == set()


async def _look_of(api: Api, limits: KeepLimits) -> int:
    api.plane.limits = limits
    return await Retention(api.plane, NOW).look()


def test_who_goes_on_meanwhile_stays(api: Api) -> None:
    execution = aged(api, 40)
    candidate = next(api.plane.stores.removals.oldest("local"))
    api.call("PATCH", f"/executions/{execution}", {"response": "Late."})
    assert not Retention(api.plane, NOW)._hide(candidate, "x") and left(api) == {execution}


@databases.sqlite_only("the size of the file")
def test_by_bytes_the_oldest_go_and_the_file_gets_smaller(api: Api, tmp_path: Path) -> None:
    padding = [{"event_type": "notice", "data": {"text": "x" * 2000}} for _ in range(500)]
    made = []
    for days in (9, 8, 7, 6):
        made.append(aged(api, days))
        api.plane.runs.publish(made[-1], padding)
    database, used = api.plane.database, api.plane.stores.removals.used_bytes()
    assert used > 4_000_000
    database.connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    before = (tmp_path / "cp.db").stat().st_size
    assert look(api, bytes=used - 3_000_000).removed == 2 and left(api) == set(made[2:])
    database.connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert (tmp_path / "cp.db").stat().st_size < before - 3_000_000


@databases.sqlite_only("the file of an older version")
def test_a_file_of_before_gets_smaller_after_one_vacuum(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "old.db"
    Database(path).close()
    with sqlite3.connect(path) as old:  # as older versions made it
        for statement in ("PRAGMA journal_mode=DELETE", "PRAGMA auto_vacuum=0", "VACUUM"):
            old.execute(statement)
    old.close()
    database = Database(path)
    assert database._pragma("auto_vacuum") == 0 and not database.give_back(10)
    database.compact()
    assert database._pragma("auto_vacuum") == 2
    database.close()


@pytest.mark.slow
def test_a_step_is_short_where_there_is_much(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    # The processor's time: a busy machine makes a step no longer.
    monkeypatch.setattr(retention, "time", SimpleNamespace(perf_counter=time.thread_time))
    for days in range(31, 36):
        execution = aged(api, days)
        for _ in range(10):
            api.plane.runs.publish(
                execution, [{"event_type": "notice", "data": {"text": "x" * 500}} for _ in range(1000)]
            )
        set_age(api, execution, days, days)
    found = look(api, days=30)
    assert found.removed == 5
    assert found.rows.longest < 0.5 and found.rows.most <= retention.MOST, "a step does not grow with what is there"


def test_a_pace_is_more_after_short_steps_and_less_after_long_ones() -> None:
    pace, seen = retention.Pace(), []

    def work(most: int) -> bool:
        seen.append(most)
        if len(seen) > 5:
            threading.Event().wait(retention.BRIEF * 2)
        return False

    async def run() -> None:
        for _ in range(8):
            await pace.step(work)

    asyncio.run(run())
    assert seen[:4] == [8, 16, 32, 64] and seen[7] < seen[6] < seen[5] and pace.longest >= retention.BRIEF * 2


@pytest.mark.parametrize(
    ("argv", "environ", "limits"),
    [
        ([], {}, (None, None, None, None)),
        (["--keep-executions", "0.5", "--keep-count", "10", "--keep-bytes", "2g"], {}, (0.5, 10, 2 << 30, None)),
        (["--keep-count", "7"], {"KUBIYA_KEEP_COUNT": "9", "KUBIYA_KEEP_EXECUTIONS": "30"}, (30, 7, None, None)),
        ([], {"KUBIYA_KEEP_BYTES": "512m", "KUBIYA_KEEP_COUNT": " "}, (None, None, 512 << 20, None)),
        (["--keep-audit", "365"], {"KUBIYA_KEEP_AUDIT": "30"}, (None, None, None, 365)),
        ([], {"KUBIYA_KEEP_AUDIT": "30"}, (None, None, None, 30)),
    ],
)
def test_limits_come_from_flags_or_variables(
    argv: list[str], environ: dict[str, str], limits: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    options = command_line.parse(["--database", str(tmp_path / "cp.db"), *argv])
    kept = (options.keep_executions, options.keep_count, options.keep_bytes, options.keep_audit)
    assert kept == limits


@pytest.mark.parametrize(
    ("argv", "environ", "told"),
    [
        (["--keep-executions", "0"], {}, "--keep-executions"),
        (["--keep-executions", "nan"], {}, "--keep-executions: 'nan' is not a number of days"),
        (["--keep-executions", "1e300"], {}, "--keep-executions"),
        (["--keep-executions", "ever"], {}, "'ever' is not a number of days"),
        (["--keep-count", "0"], {}, "--keep-count"),
        (["--keep-count", "1.5"], {}, "'1.5' is not a number from 1"),
        (["--keep-bytes", "5"], {}, "--keep-bytes"),
        (["--keep-bytes", "2 apples"], {}, "--keep-bytes"),
        ([], {"KUBIYA_KEEP_COUNT": "many"}, "KUBIYA_KEEP_COUNT: 'many' is not a number"),
        ([], {"KUBIYA_KEEP_BYTES": "-1"}, "KUBIYA_KEEP_BYTES"),
        (["--keep-audit", "0.5"], {}, "--keep-audit: '0.5' is less than a day"),
        (["--keep-audit", "always"], {}, "--keep-audit: 'always' is not a number of days"),
        ([], {"KUBIYA_KEEP_AUDIT": "0"}, "KUBIYA_KEEP_AUDIT: '0' is not a number of days"),
    ],
)
def test_wrong_limits_are_refused_by_name(
    argv: list[str], environ: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=told):
        command_line.parse(argv)


def test_postgresql_tells_no_used_bytes(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("x")
    argv = ["--database", "postgresql://u@h/n", "--secrets-key-file", str(key)]
    with pytest.raises(UsageError, match="--keep-bytes is for SQLite"):
        command_line.parse([*argv, "--keep-bytes", "1g"])
    assert command_line.parse([*argv, "--keep-count", "5"]).keep_count == 5
