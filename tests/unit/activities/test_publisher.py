"""Events that the control plane does not take go to disk, else to the workflow, else they are counted as lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from kubiya_worker.activities.event_handover import HANDED_BACK, EventOutcome
from kubiya_worker.control_plane import errors
from kubiya_worker.control_plane.spool import Spool
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol.execution import Member
from tests.support.publisher import publisher_to

MEMBER = Member("team", "logs", ["triage", "logs"], "m", "c", "w", "w")


class Plane:
    def __init__(self, away: bool = False) -> None:
        self.away = away
        self.got: list[ev.Event] = []

    async def publish(self, _: str, events: list[ev.Event]) -> None:
        if self.away:
            raise errors.Unreachable("away")
        self.got += events


def chunk(size: int = 1) -> ev.Event:
    return ev.event("chunk:1", ev.MESSAGE_CHUNK, {"message_id": "m", "content": "x" * size})


def message(size: int = 1) -> ev.Event:
    return ev.event("message:m", ev.MESSAGE, {"message_id": "m", "content": "x" * size})


async def published(plane: Plane, *events: ev.Event, fails: bool = False, **options: Any) -> EventOutcome:
    async def step() -> EventOutcome:
        publisher = publisher_to(plane, **options)
        try:
            async with publisher as out:
                for event in events:
                    out.emit(event)
                if fails:
                    raise ValueError
        except ValueError:
            pass
        return publisher.outcome

    return await ActivityEnvironment().run(step)


async def test_what_is_taken_is_kept_nowhere(tmp_path: Path) -> None:
    plane = Plane()
    outcome = await published(plane, chunk(), message(), spool=Spool(tmp_path), behind=["before"])
    assert (outcome.undelivered, outcome.spooled) == ([], [])
    assert [event.get("after") for event in plane.got] == [["before"], None]
    assert list(tmp_path.iterdir()) == []
    assert (await published(plane)).spooled is None  # nothing was said: what it comes after is as before


async def test_what_is_not_taken_waits_on_disk_and_later_steps_come_after_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    outcome = await published(Plane(away=True), chunk(), message(), spool=spool)
    assert (outcome.undelivered, outcome.spooled) == ([], ["message:m"])
    assert [event["event_id"] for event in spool.first("e")[1]] == ["chunk:1", "message:m"]


async def test_a_members_events_wait_as_those_of_its_teams_stream(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    outcome = await published(Plane(away=True), message(), spool=spool, member=MEMBER, behind=["leader"])
    assert outcome.spooled == ["e:message:m"]
    [event] = spool.first("team")[1]
    assert (event["event_id"], event["after"], event["data"]["member_name"]) == ("e:message:m", ["leader"], "logs")


async def test_nothing_overtakes_what_waits_on_disk(tmp_path: Path) -> None:
    spool, plane = Spool(tmp_path), Plane()
    spool.add("e", [ev.event("old", ev.NOTICE, {})])
    await published(plane, message(), spool=spool)
    assert plane.got == []
    assert [event["event_id"] for event in spool.first("e")[1]] == ["old", "message:m"]


async def test_without_a_disk_the_workflow_keeps_them() -> None:
    outcome = await published(Plane(away=True), chunk(), message())
    assert ([event["event_id"] for event in outcome.undelivered], outcome.spooled) == (
        ["chunk:1", "message:m"],
        None,
    )


async def test_what_the_workflow_holds_already_stays_together(tmp_path: Path) -> None:
    outcome = await published(Plane(), message(), spool=Spool(tmp_path), hold=True)
    assert len(outcome.undelivered) == 1 and outcome.spooled is None and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("size", "kept", "lost"), [(HANDED_BACK // 2, ["message:m"], 1), (HANDED_BACK, [], 2)])
async def test_a_history_takes_only_so_much_and_the_rest_is_counted(size: int, kept: list[str], lost: int) -> None:
    spool = Spool()
    outcome = await published(Plane(away=True), chunk(size), message(size), spool=spool)
    assert [event["event_id"] for event in outcome.undelivered] == kept
    assert spool.lost == lost


async def test_the_text_of_an_attempt_that_failed_is_not_kept(tmp_path: Path) -> None:
    """The next attempt streams it anew, perhaps from another host: the old pieces would come after the new ones."""
    spool = Spool(tmp_path)
    notice = ev.event("notice:1", ev.NOTICE, {"message": "again"})
    await published(Plane(away=True), chunk(), notice, spool=spool, fails=True)
    assert [event["event_id"] for event in spool.first("e")[1]] == ["notice:1"]
