"""Old audit records are removed with a record of it, and a check of the rest finds whatever else was removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from kubiya_worker.cli import audit as command
from kubiya_worker.protocol import audit as chain
from kubiya_worker.server.retention import Retention
from kubiya_worker.server.store import journal, schema
from kubiya_worker.server.store.removals import KeepLimits
from tests.support.api import Api

NOW = datetime.now(UTC)
DAYS = 30


def at_day(patch: pytest.MonkeyPatch, days: float) -> None:
    patch.setattr(journal, "now", lambda: (NOW - timedelta(days=days)).isoformat())


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A control plane that was made 100 days ago, with a record 40, 35, 29 and 2 days old."""
    at_day(monkeypatch, 100)
    with Api(tmp_path) as running:
        for days in (40, 35, 29, 2):
            at_day(monkeypatch, days)
            running.agent(name=f"of-day-{days}")
        at_day(monkeypatch, 0)
        yield running


def look(api: Api, days: float = DAYS, at: datetime = NOW) -> None:
    api.plane.limits = KeepLimits(audit=days)

    async def run() -> None:
        await Retention(api.plane, at).look()

    api.run(run())


def rows(api: Api) -> list[int]:
    """Return the numbers of the records that are stored."""
    query = text("select seq from audit where organization_id = 'local' order by seq")
    return [row[0] for row in api.plane.database.execute(query)]


def names(api: Api) -> list[str]:
    return [record["object"]["name"] for record in api.call("GET", "/audit?limit=500")]


def wrong(api: Api) -> list[tuple[int, int]]:
    return [(each["first"], each["last"]) for each in api.call("GET", "/audit/verify")["problems"]]


def lines(api: Api) -> list[str]:
    return api.ask("GET", "/audit/export").text.splitlines()


def begin(api: Api) -> chain.Head:
    return chain.Head.parse(api.call("GET", "/audit/head")["begins"])


def tamper(api: Api, *statements: str) -> None:
    """Change the database as somebody with the rights of its owner can, past the triggers."""
    database = api.plane.database
    with database.transaction():
        for trigger, (what, _) in schema.TRIGGERS.items():
            where = f" on {what.rpartition(' ')[2]}" if database.shared else ""
            database.execute(text(f"drop trigger if exists {trigger}{where}"))
        for statement in statements:
            database.execute(text(statement))


def test_what_is_too_old_goes_and_a_record_tells_it(api: Api) -> None:
    before, head = rows(api), api.call("GET", "/audit/head")
    assert head["begins"] == ""
    look(api)
    cut = begin(api)
    assert cut.seq == before[-1] - 2, "the two that are younger stay"
    assert rows(api) == [before[-1] - 1, before[-1], before[-1] + 1]
    assert names(api) == [f"records up to {cut.seq}", "of-day-2", "of-day-29"]
    told = json.loads(lines(api)[-1])
    assert (told["action"], told["cut"]) == ("audit.cut", str(cut))
    assert "--keep-audit 30" in told["detail"] and told["who"]["id"] == "control-plane"
    assert wrong(api) == []


def test_a_cut_waits_until_it_is_worth_a_record(api: Api) -> None:
    look(api)
    kept = rows(api)
    # From the second look on the record of day 29 is too old; at the last one the first record is, by a day.
    for hours in (1, 25, 47):
        look(api, at=NOW + timedelta(hours=hours))
        assert rows(api) == kept, hours
    look(api, at=NOW + timedelta(hours=49))
    assert rows(api) == [*kept[1:], kept[-1] + 1] and wrong(api) == []


def test_without_the_limit_nothing_goes(api: Api) -> None:
    kept = rows(api)
    api.plane.limits = KeepLimits(days=1, count=1)

    async def run() -> None:
        await Retention(api.plane, NOW).look()

    api.run(run())
    assert rows(api) == kept


def test_what_was_begun_is_finished(api: Api) -> None:
    look(api)
    cut = begin(api)
    later = json.loads(lines(api)[0])
    api.plane.stores.audit.cut("local", chain.head_of(later), "--keep-audit 30")  # and killed here
    assert names(api)[-1] == "of-day-2" and cut.seq + 1 in rows(api), "nobody sees what goes"
    look(api)
    assert later["seq"] not in rows(api) and wrong(api) == []


def test_only_what_was_cut_can_be_deleted_and_a_cut_moves_forward(api: Api) -> None:
    look(api)
    cut = begin(api)
    for statement in (
        "delete from audit",
        f"delete from audit where seq = {cut.seq + 1}",
        "delete from audit_cuts",
        f"update audit_cuts set seq = {cut.seq}",
        f"update audit_cuts set seq = {cut.seq - 1}",
    ):
        with pytest.raises(DatabaseError), api.plane.database.transaction():
            api.plane.database.execute(text(statement))


def test_a_removal_that_nobody_told_of_is_found(api: Api) -> None:
    look(api)
    cut, (first, *_) = begin(api), lines(api)
    assert wrong(api) == []
    next_one = chain.head_of(json.loads(first))
    tamper(
        api,
        f"update audit_cuts set seq = {next_one.seq}, hash = '{next_one.hash}'",
        f"delete from audit where seq = {next_one.seq}",
    )
    assert wrong(api) == [(1, next_one.seq)]
    tamper(api, f"update audit_cuts set seq = {cut.seq}, hash = '{cut.hash}'")
    assert wrong(api) == [(next_one.seq, next_one.seq)]


@pytest.mark.parametrize("change", ["replace(record, 'of-day-29', 'of-day-28')", "replace(record, 'done', 'refused')"])
def test_a_changed_record_after_the_cut_is_found(api: Api, change: str) -> None:
    look(api)
    first = begin(api).seq + 1
    tamper(api, f"update audit set record = {change} where seq = {first}")
    assert wrong(api) == [(first, first)]


def test_what_does_not_hold_is_kept_as_evidence(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    changed = rows(api)[2]
    tamper(api, f"update audit set record = replace(record, 'done', 'refused') where seq = {changed}")
    look(api)
    assert rows(api)[0] == changed and begin(api).seq == changed - 1
    assert wrong(api) == [(changed, changed)] and "audit.broken" in caplog.text


def test_an_export_and_a_kept_head_are_checked_from_the_cut_on(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, kept = (chain.head_of(json.loads(lines(api)[number])) for number in (0, -1))
    look(api)
    file = tmp_path / "audit.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines(api)))
    assert command.verify.callback is not None
    assert command.verify.callback(file, (str(kept), str(begin(api))), None) == 0
    assert command.verify.callback(file, (str(old),), None) == 0
    assert f"Record {old.seq} was removed" in capsys.readouterr().err
    forged = chain.Head(begin(api).seq, "0" * 64)
    assert command.verify.callback(file, (str(forged),), None) == 1
    file.write_text("".join(f"{line}\n" for line in lines(api)[1:]))
    assert command.verify.callback(file, (), None) == 1
    assert f"record {begin(api).seq + 1} is missing" in capsys.readouterr().out
