"""A step may end before its last events have arrived, where its result has them and all before them have arrived."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from kubiya_worker.activities.event_handover import EventOutcome
from kubiya_worker.activities.event_queue import BATCH
from kubiya_worker.activities.in_flight import InFlight
from kubiya_worker.control_plane import errors
from kubiya_worker.control_plane.spool import Spool
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import unconfirmed
from kubiya_worker.protocol.execution import Member
from tests.support.publisher import publisher_to

ANSWER = "The disk of db-1 is full, since its logs are kept for ever."
MESSAGE = {"role": "assistant", "content": ANSWER, "message_id": "m"}
MEMBER = Member("team", "logs", ["triage", "logs"], "m", "c", "w", "w")


class SlowPlane:
    """A control plane that answers when `gate` is set."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.away = False
        self.got: list[ev.Event] = []

    async def publish(self, _: str, events: list[ev.Event]) -> None:
        await self.gate.wait()
        if self.away:
            raise errors.Unreachable("away")
        if any(set(event.get("after") or ()) - {e["event_id"] for e in self.got} for event in events[:1]):
            raise errors.from_status(425, "too early", None)
        self.got += events


def chunk(text: str = ANSWER) -> ev.Event:
    return ev.event("chunk:1", ev.MESSAGE_CHUNK, {"message_id": "m", "content": text})


def message(number: int = 1, **data: Any) -> ev.Event:
    return ev.event(f"message:{number}", ev.MESSAGE, {**MESSAGE, **data})


async def step(plane: SlowPlane, flight: InFlight, *events: ev.Event, **options: Any) -> EventOutcome:
    async def run() -> EventOutcome:
        publisher = publisher_to(plane, in_flight=flight, **options)
        async with publisher as out:
            for event in events:
                out.emit(event)
            out.leave_behind(MESSAGE)
        return publisher.outcome

    return await ActivityEnvironment().run(run)


async def test_the_result_does_not_wait_and_has_the_events() -> None:
    plane, flight = SlowPlane(), InFlight()
    outcome = await step(plane, flight, chunk(), message())
    assert (outcome.spooled, outcome.undelivered, plane.got) == (["message:1"], [], [])
    assert ANSWER not in str(outcome.unconfirmed)  # the message of the result has it
    plane.gate.set()
    assert await flight.stored("e", ["message:1"])
    assert plane.got == unconfirmed.unpacked(outcome.unconfirmed, MESSAGE)
    assert [event["event_id"] for event in plane.got] == ["chunk:1", "message:1"]


async def test_only_one_step_is_ahead_of_the_control_plane() -> None:
    """A step ends when all before its own events has arrived, so a history need not hold more than these."""
    plane, flight = SlowPlane(), InFlight()
    await step(plane, flight, message(1))
    second = asyncio.create_task(step(plane, flight, message(2), behind=["message:1"]))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not second.done()
    plane.gate.set()
    assert (await second).spooled == ["message:2"]
    assert await flight.stored("e", ["message:1", "message:2"])
    assert [(e["event_id"], e.get("after")) for e in plane.got] == [("message:1", None), ("message:2", ["message:1"])]


async def test_a_step_waits_when_it_cannot_know_what_has_arrived() -> None:
    plane, flight = SlowPlane(), InFlight()
    plane.gate.set()
    plane.got.append(ev.event("of another worker", ev.NOTICE, {}))
    outcome = await step(plane, flight, message(), behind=["of another worker"])
    assert (outcome.spooled, outcome.unconfirmed) == ([], [])


@pytest.mark.parametrize(
    "events",
    [
        [message(note="x" * unconfirmed.MOST)],
        [ev.event(f"notice:{n}", ev.NOTICE, {}) for n in range(BATCH + 1)],
        [],
    ],
    ids=["large", "many", "none"],
)
async def test_a_step_with_much_or_nothing_to_say_leaves_nothing(events: list[ev.Event]) -> None:
    plane, flight = SlowPlane(), InFlight()
    plane.gate.set()
    outcome = await step(plane, flight, *events)
    assert outcome.unconfirmed == [] and len(plane.got) == len(events)


async def test_what_needs_two_requests_is_not_left() -> None:
    """The requests would join its text in another way than the result does."""
    plane, flight = SlowPlane(), InFlight()
    plane.gate.set()
    outcome = await step(plane, flight, *[chunk("x")] * (BATCH + 1))
    assert outcome.unconfirmed == [] and len(plane.got) == 2


async def test_nothing_is_left_while_the_workflow_has_older_events() -> None:
    outcome = await step(SlowPlane(), InFlight(), message(), hold=True)
    assert (len(outcome.undelivered), outcome.unconfirmed) == (1, [])


async def test_nothing_is_left_while_older_events_wait_on_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.add("e", [ev.event("old", ev.NOTICE, {})])
    outcome = await step(SlowPlane(), InFlight(), message(), spool=spool)
    assert (outcome.spooled, outcome.unconfirmed) == (["message:1"], [])


async def test_what_is_not_taken_after_the_step_waits_on_disk(tmp_path: Path) -> None:
    spool, plane, flight = Spool(tmp_path), SlowPlane(), InFlight()
    plane.away = True
    outcome = await step(plane, flight, message(), spool=spool, member=MEMBER)
    assert outcome.spooled == ["e:message:1"]
    plane.gate.set()
    assert not await flight.stored("team", ["e:message:1"])
    assert [event["event_id"] for event in spool.first("team")[1]] == ["e:message:1"]


async def test_a_step_that_comes_too_early_has_the_missing_events_sent() -> None:
    plane = SlowPlane()
    plane.gate.set()
    asked = 0

    async def send_missing() -> None:
        nonlocal asked
        asked += 1
        plane.got.append(message(1))

    outcome = await step(plane, InFlight(), message(2), behind=["message:1"], send_missing=send_missing)
    assert (outcome.spooled, asked) == ([], 1)
    assert [event["event_id"] for event in plane.got] == ["message:1", "message:2"]


async def test_the_missing_events_are_asked_for_again_when_that_failed() -> None:
    plane, asked = SlowPlane(), 0
    plane.gate.set()
    found = asyncio.Event()

    async def send_missing() -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise RuntimeError
        plane.got.append(message(1))
        found.set()

    async def run() -> EventOutcome:
        publisher = publisher_to(plane, behind=["message:1"], send_missing=send_missing)
        async with publisher as out:
            out.emit(message(2))
            await found.wait()
        return publisher.outcome

    outcome = await ActivityEnvironment().run(run)
    assert (outcome.spooled, asked) == ([], 2)
    assert [event["event_id"] for event in plane.got] == ["message:1", "message:2"]


async def test_missing_events_are_sent_once_and_then_waited_for() -> None:
    plane, asked = SlowPlane(), 0
    plane.gate.set()

    async def send_missing() -> None:
        nonlocal asked
        asked += 1

    outcome = await step(plane, InFlight(), message(2), behind=["lost"], send_missing=send_missing)
    assert (len(outcome.undelivered), asked) == (1, 1)


async def test_a_missing_event_that_cannot_be_found_is_waited_for_on_disk(tmp_path: Path) -> None:
    async def send_missing() -> None:
        raise RuntimeError

    plane, spool = SlowPlane(), Spool(tmp_path)
    plane.gate.set()
    outcome = await step(plane, InFlight(), message(2), behind=["lost"], spool=spool, send_missing=send_missing)
    assert outcome.spooled == ["message:2"] and plane.got == []
    assert [event["after"] for event in spool.first("e")[1]] == [["lost"]]
