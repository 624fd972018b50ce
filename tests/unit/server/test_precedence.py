"""Events that have to come after others, and the end of waiting for what never comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kubiya_worker.server.precedence import PATIENCE, Precedence


class World:
    def __init__(self, *stored: str) -> None:
        self.stored, self.now = set(stored), 0.0
        self.turns = Precedence(self._known, lambda: self.now)

    def _known(self, _: str, ids: Sequence[str]) -> set[str]:
        return self.stored & set(ids)

    def ready(self, *events: dict[str, Any]) -> int:
        return self.turns.ready("e", events)


def test_what_names_nothing_is_never_held() -> None:
    assert World().ready({"event_id": "a"}, {"event_id": "b"}) == 2


def test_what_comes_before_the_one_that_waits_is_taken() -> None:
    world = World()
    events = ({"event_id": "a"}, {"event_id": "c", "after": ["b"]}, {"event_id": "d"})
    assert world.ready(*events) == 1
    world.stored |= {"a", "b"}
    assert world.ready(*events) == 3


def test_an_event_of_the_same_request_counts_when_it_comes_first() -> None:
    assert World().ready({"event_id": "a"}, {"event_id": "b", "after": ["a"]}) == 2
    assert World().ready({"event_id": "b", "after": ["a"]}, {"event_id": "a"}) == 0


def test_all_that_are_named_have_to_be_there() -> None:
    world = World("a")
    assert world.ready({"event_id": "c", "after": ["a", "b"]}) == 0


def test_what_never_comes_is_waited_for_only_so_long() -> None:
    world = World()
    event = {"event_id": "b", "after": ["a"]}
    assert world.ready(event) == 0
    world.now = PATIENCE - 1
    assert world.ready(event) == 0
    world.now = PATIENCE
    assert world.ready(event) == 1
    assert world.ready(event) == 1
