"""The requests in which the events of a step go out: what is joined, what is tried again, and what a wait ends."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from kubiya_worker.activities import event_sender
from kubiya_worker.activities.event_handover import HANDED_BACK
from kubiya_worker.activities.event_queue import BATCH, MERGED_BYTES, EventQueue
from kubiya_worker.activities.event_sender import FIRST, WINDOW
from kubiya_worker.activities.pacing import EventPacing
from kubiya_worker.activities.publisher import Publisher
from kubiya_worker.control_plane import errors
from kubiya_worker.control_plane.spool import Spool
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol.execution import Member
from tests.support.publisher import publisher_to

QUIET = Member("team", "logs", ["triage", "logs"], "m", "c", "w", "w", quiet=True)


class Plane:
    """A control plane that answers its first requests with `faults`, and stores the events of all later ones."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = deque(faults)
        self._answered = asyncio.Event()
        self.requests: list[list[ev.Event]] = []

    async def publish(self, _: str, events: list[ev.Event]) -> None:
        self.requests.append(list(events))
        self._answered.set()
        if self.faults:
            raise self.faults.popleft()

    async def answered(self, requests: int) -> None:
        """Wait until so many requests were made."""
        async with asyncio.timeout(60):
            while len(self.requests) < requests:
                self._answered.clear()
                await self._answered.wait()

    @property
    def ids(self) -> list[list[str]]:
        return [[event["event_id"] for event in request] for request in self.requests]


class WatchedSpool(Spool):
    hurries = 0

    def hurry(self) -> None:
        self.hurries += 1


def chunk(number: int, text: str = "x", message: str = "m") -> ev.Event:
    return ev.event(f"chunk:{number}", ev.MESSAGE_CHUNK, {"message_id": message, "content": text})


def notice(number: int, text: str = "") -> ev.Event:
    return ev.event(f"notice:{number}", ev.NOTICE, {"message": text})


def away(retry_after: float | None = 0.001) -> errors.ControlPlaneError:
    return errors.Unreachable("away", retry_after=retry_after)


async def publish(
    plane: Plane,
    work: Callable[[Publisher], Awaitable[None]],
    environment: ActivityEnvironment | None = None,
    **options: Any,
) -> Publisher:
    async def step() -> Publisher:
        publisher = publisher_to(plane, **options)
        async with publisher:
            await work(publisher)
        return publisher

    return await (environment or ActivityEnvironment()).run(step)


def emitting(*events: ev.Event) -> Callable[[Publisher], Awaitable[None]]:
    async def work(out: Publisher) -> None:
        for event in events:
            out.emit(event)

    return work


async def test_what_comes_together_goes_in_one_request_with_the_text_of_a_message_joined() -> None:
    plane = Plane()
    await publish(plane, emitting(chunk(1, "a"), chunk(2, "b"), chunk(3, "c"), chunk(4, "d", "n"), notice(1)))
    assert plane.ids == [["chunk:1", "chunk:4", "notice:1"]]
    joined = plane.requests[0][0]["data"]
    assert joined["content"] == "abc"
    assert joined["batch_info"] == {"is_batched": True, "batch_size": 3}


@pytest.mark.parametrize(("second", "chunks"), [("b", 2), ("", 1)], ids=["larger", "as large"])
async def test_a_joined_chunk_grows_only_so_large(second: str, chunks: int) -> None:
    plane = Plane()
    await publish(plane, emitting(chunk(1, "a" * MERGED_BYTES), chunk(2, second)))
    assert [len(request) for request in plane.requests] == [chunks]


async def test_a_request_has_only_so_many_events() -> None:
    plane = Plane()
    await publish(plane, emitting(*map(notice, range(BATCH + 1))))
    assert [len(request) for request in plane.requests] == [BATCH, 1]


async def test_a_second_try_repeats_the_request_and_what_came_meanwhile_follows() -> None:
    plane = Plane(away(), away())

    async def work(out: Publisher) -> None:
        out.emit(chunk(1, "a"))
        await plane.answered(1)
        out.emit(chunk(2, "b"))
        await plane.answered(4)

    await publish(plane, work)
    assert plane.requests[0] == plane.requests[1] == plane.requests[2]
    assert plane.ids == [["chunk:1"]] * 3 + [["chunk:2"]]


async def test_tries_come_less_and_less_often_until_one_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def pause(self: EventQueue, seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(EventQueue, "pause", pause)
    plane = Plane(*[away(None)] * 7, away(9.0))

    async def work(out: Publisher) -> None:
        out.emit(notice(1))
        await plane.answered(9)
        plane.faults.append(away(None))
        out.emit(notice(2))
        await plane.answered(11)

    await publish(plane, work)
    assert pauses == [FIRST, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 9.0, WINDOW, 0.1, WINDOW]


async def test_what_is_refused_is_counted_as_lost_and_the_rest_is_sent() -> None:
    plane, spool = Plane(errors.Refused("no", status=400)), Spool()

    async def work(out: Publisher) -> None:
        out.emit(notice(1))
        out.emit(notice(2))
        await plane.answered(1)
        out.emit(notice(3))

    published = await publish(plane, work, spool=spool)
    assert plane.ids == [["notice:1", "notice:2"], ["notice:3"]]
    assert (spool.lost, published.outcome.undelivered) == (2, [])


async def test_the_end_of_a_step_ends_the_wait_for_the_next_try() -> None:
    plane = Plane(away(3600.0))

    async def work(out: Publisher) -> None:
        out.emit(notice(1))
        await plane.answered(1)

    published = await publish(plane, work)
    assert (len(plane.requests), published.outcome.undelivered) == (2, [])


async def test_a_step_that_is_over_tries_once() -> None:
    plane = Plane(away(), away())
    published = await publish(plane, emitting(notice(1)))
    assert (len(plane.requests), len(published.outcome.undelivered)) == (1, 1)


async def test_a_step_that_is_over_waits_only_so_long_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_sender, "CLOSE_TIMEOUT", 0.05)
    ended: list[str] = []

    class Hanging(Plane):
        async def publish(self, _: str, events: list[ev.Event]) -> None:
            await super().publish(_, events)
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")

    plane = Hanging()

    async def work(out: Publisher) -> None:
        out.emit(notice(1))
        await plane.answered(1)
        out.emit(chunk(2, "a"))
        out.emit(chunk(3, "b"))

    published = await publish(plane, work)
    assert [event["event_id"] for event in published.outcome.undelivered] == ["notice:1", "chunk:2"]
    assert ended == ["cancelled"]


async def test_each_event_is_a_request_of_its_own_where_their_number_is_limited() -> None:
    """A published control plane keeps a second copy of an event: only the one that failed may be sent again."""

    class Second(Plane):
        async def publish(self, _: str, events: list[ev.Event]) -> None:
            await super().publish(_, events)
            if len(self.requests) == 2:
                raise away()

    plane = Second()

    async def work(out: Publisher) -> None:
        for event in (chunk(1, "a"), chunk(2, "b"), notice(1), notice(2)):
            out.emit(event)
        await plane.answered(4)

    published = await publish(plane, work, pace=EventPacing(10, 0))
    assert plane.ids == [["chunk:1"], ["notice:1"], ["notice:1"], ["notice:2"]]
    assert published.sent == 3


async def test_text_gathers_until_something_else_is_said_where_events_are_limited() -> None:
    plane = Plane()

    async def work(out: Publisher) -> None:
        out.emit(chunk(1, "a"))
        await asyncio.sleep(2 * FIRST)
        out.emit(chunk(2, "b"))
        await asyncio.sleep(2 * FIRST)
        assert plane.requests == []
        out.emit(notice(1))
        await plane.answered(2)
        out.emit(chunk(3, "c"))

    await publish(plane, work, pace=EventPacing(10, 0, clock=lambda: 0.0))  # a clock that stands: it is never time
    assert plane.ids == [["chunk:1"], ["notice:1"], ["chunk:3"]]  # the end of the step stops the wait too
    assert plane.requests[0][0]["data"]["content"] == "ab"


async def test_thoughts_are_left_out_where_few_events_may_be_sent() -> None:
    plane = Plane()
    thought = ev.event("thinking:1", ev.THINKING_DELTA, {"message_id": "m", "index": 0, "thinking": "hm"})
    published = await publish(plane, emitting(thought, notice(1)), pace=EventPacing(5, 0))
    assert (plane.ids, published.sent) == ([["notice:1"]], 1)


async def test_a_quiet_member_shows_no_pieces_of_its_text() -> None:
    plane = Plane()
    await publish(plane, emitting(chunk(1), notice(1)), member=QUIET, behind=["leader"])
    assert plane.ids == [["e:notice:1"]]
    assert plane.requests[0][0]["after"] == ["leader"]  # it is the first that goes out


async def test_the_first_event_goes_when_all_older_ones_have_left_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_sender, "SPOOL_LOOKS_EVERY", 0.001)
    plane, spool = Plane(), Spool(tmp_path)
    spool.add("e", [notice(0)])

    async def work(out: Publisher) -> None:
        out.emit(notice(1))
        await asyncio.sleep(4 * FIRST)
        assert plane.requests == []
        spool.delivered(spool.first("e")[0])
        await plane.answered(1)

    assert (await publish(plane, work, spool=spool)).outcome.spooled == []


async def test_an_answer_of_the_control_plane_wakes_whoever_sends_what_is_on_disk() -> None:
    spool = WatchedSpool()
    await publish(Plane(), emitting(notice(1)), spool=spool)
    assert spool.hurries == 1
    await publish(Plane(away()), emitting(notice(2)), spool=spool)
    assert spool.hurries == 1


@pytest.mark.parametrize(
    ("text", "undelivered", "on_disk"),
    [("", ["notice:1"], []), ("x" * HANDED_BACK, [], ["notice:1"])],
    ids=["little", "much"],
)
@pytest.mark.parametrize("reason", ["the workflow has older ones", "the worker ends"])
async def test_the_workflow_keeps_a_little_and_the_disk_much(
    text: str, undelivered: list[str], on_disk: list[str], reason: str, tmp_path: Path
) -> None:
    environment, spool = ActivityEnvironment(), Spool(tmp_path)
    hold = reason == "the workflow has older ones"
    if not hold:
        environment.worker_shutdown()
    published = await publish(Plane(away()), emitting(notice(1, text)), environment, hold=hold, spool=spool)
    assert [event["event_id"] for event in published.outcome.undelivered] == undelivered
    assert [event["event_id"] for event in spool.first("e")[1]] == on_disk


async def test_a_worker_that_ends_waits_for_its_last_events() -> None:
    environment, plane = ActivityEnvironment(), Plane()
    environment.worker_shutdown()

    async def work(out: Publisher) -> None:
        out.emit(notice(1))
        out.leave_behind({"content": ""})

    published = await publish(plane, work, environment)
    assert (published.outcome.unconfirmed, published.outcome.spooled, plane.ids) == ([], [], [["notice:1"]])


async def test_an_attempt_that_failed_waits_for_its_last_events() -> None:
    plane = Plane()
    publishers: list[Publisher] = []

    async def work(out: Publisher) -> None:
        publishers.append(out)
        out.emit(notice(1))
        out.leave_behind({"content": ""})
        raise LookupError

    with pytest.raises(LookupError):
        await publish(plane, work)
    assert (publishers[0].outcome.unconfirmed, publishers[0].outcome.spooled, plane.ids) == ([], [], [["notice:1"]])
