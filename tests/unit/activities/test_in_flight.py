"""Publications that go on after their step: waited for, sent again when they are lost, and never sent twice."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from kubiya_worker.activities.in_flight import InFlight
from kubiya_worker.control_plane import errors
from kubiya_worker.control_plane.writer import Writer
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol.execution import Member
from kubiya_worker.protocol.streams import RunStream

MEMBER = Member("team", "logs", ["triage", "logs"], "m", "c", "w", "w")
MESSAGE = ev.event("message:m", ev.MESSAGE, {"message_id": "m"})


class Plane:
    """It answers 425 while an event of `after` is not stored; `arrives_after`: looks until another worker's is."""

    def __init__(self, *stored: str, arrives_after: int | None = None, fault: Exception | None = None) -> None:
        self.ids, self.got, self.looks = set(stored), [], 0  # type: tuple[set[str], list[tuple[str, str]], int]
        self._arrives_after, self._fault = arrives_after, fault

    async def publish(self, stream: str, events: list[ev.Event], after: Any = ()) -> None:
        if self._fault is not None:
            raise self._fault
        if after and not events:
            self.looks += 1
            if self.looks == self._arrives_after:
                self.ids.update(after)
        if not self.ids.issuperset(after):
            raise errors.from_status(425, "too early", None)
        self.got += [(stream, event["event_id"]) for event in events]
        self.ids |= {event["event_id"] for event in events}


async def confirm(flight: InFlight, plane: Plane, member: Member | None = None, *behind: str) -> list[str]:
    event_id = "run:message:m" if member else "message:m"
    return await flight.confirm(cast(Writer, plane), RunStream("run", member), {event_id: [MESSAGE]}, behind)


async def test_a_publication_is_waited_for() -> None:
    flight, gate = InFlight(), asyncio.Event()

    async def publication() -> bool:
        await gate.wait()
        return True

    flight.add("run", "message:m", publication())
    waiting = asyncio.create_task(flight.stored("run", ["message:m"]))
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.set()
    assert await waiting
    assert not await flight.stored("run", ["message:m", "of another worker"])
    plane = Plane()
    assert await confirm(flight, plane, None, "message:m") == []
    assert (plane.got, plane.looks) == ([], 0)


@pytest.mark.parametrize("breaks", [False, True])
async def test_one_that_failed_is_sent_by_whoever_has_the_events(breaks: bool) -> None:
    flight, plane = InFlight(), Plane()

    async def publication() -> bool:
        if breaks:
            raise RuntimeError
        return False

    flight.add("run", "message:m", publication())
    assert not await flight.stored("run", ["message:m"])
    assert await confirm(flight, plane, None, "message:m", "on a disk") == ["on a disk"]
    assert plane.got == [("run", "message:m")]
    assert await flight.stored("run", ["message:m"])


async def test_what_another_worker_is_sending_is_waited_for() -> None:
    """It is sent all the same, and dropped there by its id: a control plane goes on without what it misses for long."""
    plane = Plane(arrives_after=2)
    await confirm(InFlight(), plane)
    assert (plane.got, plane.looks) == ([("run", "message:m")], 2)


async def test_a_members_events_go_to_its_teams_stream() -> None:
    plane = Plane()
    await confirm(InFlight(), plane, MEMBER)
    assert plane.got == [("team", "run:message:m")]


async def test_a_fault_is_told_and_the_events_are_sent_later() -> None:
    flight = InFlight()
    with pytest.raises(errors.Unreachable):
        await confirm(flight, Plane(fault=errors.Unreachable("away")))
    plane = Plane()
    await confirm(flight, plane)
    assert plane.got == [("run", "message:m")]


async def test_executions_may_have_events_of_the_same_id() -> None:
    """Some models number their tool calls anew in each answer, so the event of a tool's end is `tool_completed:0`."""
    flight, gate = InFlight(), asyncio.Event()
    errors_told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, told: errors_told.append(told))

    async def publication(succeeds: bool) -> bool:
        await gate.wait()
        return succeeds

    flight.add("run", "message:m", publication(False))
    flight.add("another run", "message:m", publication(True))
    gate.set()
    assert await flight.stored("another run", ["message:m"])
    assert not await flight.stored("run", ["message:m"])
    plane = Plane()
    await confirm(flight, plane)
    assert plane.got == [("run", "message:m")], "what the other execution has sent is not this one's"
    assert not errors_told


async def test_attempts_of_one_step_may_publish_the_same_event() -> None:
    flight, gates = InFlight(), [asyncio.Event(), asyncio.Event()]
    errors_told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, told: errors_told.append(told))

    async def publication(number: int) -> bool:
        await gates[number].wait()
        return number == 1

    for number in range(2):
        flight.add("run", "message:m", publication(number))
    gates[0].set()
    waiting = asyncio.create_task(flight.stored("run", ["message:m"]))
    await asyncio.sleep(0)
    assert not waiting.done(), "the newest attempt is waited for"
    gates[1].set()
    assert await waiting
    assert not errors_told


async def test_closing_waits_for_all() -> None:
    flight, ended = InFlight(), []
    await flight.close()

    async def publication(number: int) -> bool:
        await asyncio.sleep(0)
        ended.append(number)
        return True

    for number in range(3):
        flight.add("run", str(number), publication(number))
    await flight.close()
    assert sorted(ended) == [0, 1, 2]


async def test_it_knows_what_it_sends_and_has_sent_on_the_same_stream() -> None:
    flight, gate = InFlight(), asyncio.Event()

    async def publication() -> bool:
        return await gate.wait()

    assert flight.knows("run", [])
    assert not flight.knows("run", ["message:m"])
    flight.add("run", "message:m", publication())
    assert flight.knows("run", ["message:m"])
    assert not flight.knows("another run", ["message:m"])
    assert not flight.knows("run", ["message:m", "of another worker"])
    gate.set()
    await flight.stored("run", ["message:m"])
    assert flight.knows("run", ["message:m"])
