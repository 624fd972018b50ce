"""Authorities ask rarely, answer all executions of an agent alike, and are never more permissive in an outage."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

import pytest
from temporalio.testing import ActivityEnvironment

from kubiya_worker.activities.authority import FRESH, Authorities, Authority
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.errors import Unreachable
from kubiya_worker.protocol import calls

DENY = {"id": "r-1", "name": "no", "scope_type": "all", "action": "deny"}


class Plane:
    """A control plane that answers with `told`, or fails with it."""

    def __init__(self, told: dict[str, Any] | Exception) -> None:
        self.told, self.asked = told, list[tuple[str, str]]()
        self.contexts = self
        self.gate = threading.Event()
        self.gate.set()

    def authority(self, kind: str, entity_id: str) -> dict[str, Any]:
        self.asked.append((kind, entity_id))
        self.gate.wait(60)
        if isinstance(self.told, Exception):
            raise self.told
        return self.told


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def made(told: dict[str, Any] | Exception) -> tuple[Authorities, Plane, Clock]:
    plane, clock = Plane(told), Clock()
    return Authorities(cast(ControlPlane, plane), clock), plane, clock


async def of(authorities: Authorities, **fields: Any) -> Authority:
    return await ActivityEnvironment().run(authorities.of, calls.Context("a-1", **fields))


async def test_an_answer_counts_for_a_while_and_is_then_asked_for_again() -> None:
    authorities, plane, clock = made({"rules": [], "skills": None})
    first = await of(authorities)
    clock.now += FRESH
    assert await of(authorities) is first and len(plane.asked) == 1
    plane.told = {"rules": [DENY], "skills": None}
    clock.now += 0.1
    second = await of(authorities)
    assert second.rules == [DENY] and second.version != first.version
    assert plane.asked == [("agent", "a-1"), ("agent", "a-1")]


async def test_many_calls_at_once_share_one_request() -> None:
    authorities, plane, _ = made({"rules": [DENY]})
    plane.gate.clear()
    waiting = [asyncio.create_task(of(authorities)) for _ in range(20)]
    while not plane.asked:
        await asyncio.sleep(0)
    waiting[0].cancel()  # the one that asked: the others get their answer all the same
    plane.gate.set()
    found = await asyncio.gather(*waiting[1:])
    assert len(plane.asked) == 1 and all(each.rules == [DENY] for each in found)


async def test_in_an_outage_the_last_known_rules_hold_and_it_is_not_asked_at_each_call() -> None:
    authorities, plane, clock = made({"rules": [DENY], "skills": []})
    await of(authorities)
    plane.told = Unreachable("away")
    clock.now += 3600
    for _ in range(5):
        held = await of(authorities, rules=[])
        assert held.rules == [DENY] and held.removed("s-1")
    assert held.age(clock.now) == 3600
    assert len(plane.asked) == 2
    clock.now += FRESH
    await of(authorities)
    assert len(plane.asked) == 3


async def test_skills_that_cannot_be_read_stay_as_they_were_last_while_the_rules_are_those_of_now() -> None:
    authorities, plane, clock = made({"rules": [], "skills": []})
    assert (await of(authorities)).removed("s-1")
    plane.told = {"rules": [DENY], "skills": None}
    clock.now += FRESH + 0.1
    held = await of(authorities)
    assert held.rules == [DENY] and held.removed("s-1")


async def test_a_worker_that_never_got_an_answer_uses_the_rules_that_the_execution_began_with() -> None:
    authorities, _, _ = made(Unreachable("away"))
    held = await of(authorities, rules=[DENY])
    assert held.rules == [DENY] and held.skills is None and not held.removed("s-1")
    assert held.about() == {"rules_version": "start of the execution"}


async def test_what_an_execution_begins_with_costs_its_first_steps_no_request() -> None:
    authorities, plane, clock = made({"rules": []})
    authorities.learn(calls.Context("a-1", rules=[DENY]), clock.now)
    assert (await of(authorities)).rules == [DENY] and plane.asked == []


async def test_a_stop_is_not_forgotten_because_an_execution_began_with_older_facts() -> None:
    stopped = {"stopped": True, "by": {"name": "Ann"}, "reason": "test"}
    authorities, _, clock = made({"rules": [], "stopped": stopped})
    await of(authorities)
    authorities.learn(calls.Context("a-1"), clock.now + 1)
    assert (await of(authorities)).stopped == stopped


@pytest.mark.parametrize(("source", "command"), [("agent", "uptime"), ("definition", "date")])
def test_a_skill_is_used_with_the_configuration_that_it_has_now(source: str, command: str) -> None:
    began = {"id": "s-1", "source": source, "configuration": {"allowed_commands": ["date"]}}
    now = {"id": "s-1", "configuration": {"allowed_commands": ["uptime"]}}
    (used,) = Authority([], [now]).current([began])
    assert used["configuration"]["allowed_commands"] == [command]  # a dynamic agent's own skill is nobody else's
