"""A worker reads from Temporal whether it polls: these tests check the pure decisions and the loop around them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from temporalio.service import RPCError, RPCStatusCode

from kubiya_worker.process import pollers
from kubiya_worker.process.pollers import ACTIVITY, STALE, WORKFLOW, PollTracker, watch

BOTH = {WORKFLOW: 1000.0, ACTIVITY: 1000.0}


def test_both_kinds_of_pollers_make_it_polling() -> None:
    sight = PollTracker()
    assert not sight.update({}, 0, slots_full=False)
    assert not sight.update({WORKFLOW: 1000.0}, 1, slots_full=False)
    assert sight.update(BOTH, 2, slots_full=False)


def test_a_poller_that_temporal_has_not_heard_for_long_does_not_count() -> None:
    sight = PollTracker()
    assert sight.update(BOTH, 0, slots_full=False)
    assert sight.update(BOTH, STALE, slots_full=False)
    assert not sight.update(BOTH, STALE + 1, slots_full=False)
    assert sight.update({WORKFLOW: 1001.0, ACTIVITY: 1001.0}, STALE + 2, slots_full=False)


def test_with_all_slots_taken_activities_need_not_be_asked_for() -> None:
    sight = PollTracker()
    assert sight.update(BOTH, 0, slots_full=False)
    later = {WORKFLOW: 1200.0, ACTIVITY: 1000.0}
    assert sight.update(later, STALE + 1, slots_full=True)
    assert not sight.update(later, STALE + 2, slots_full=False)


def test_after_a_loss_an_old_entry_in_the_list_does_not_count() -> None:
    sight = PollTracker()
    assert sight.update(BOTH, 0, slots_full=False)
    sight.forget()
    assert not sight.update(BOTH, 1, slots_full=False)
    assert sight.update({WORKFLOW: 1000.5, ACTIVITY: 1000.5}, 2, slots_full=False)


class Listener:
    def __init__(self) -> None:
        self.told: list[str] = []

    def ready(self) -> None:
        self.told.append("ready")

    def lost(self, reason: str, *, stuck: bool) -> None:
        self.told.append(f"lost stuck={stuck}")


async def told(
    monkeypatch: pytest.MonkeyPatch, answers: list[Any], clock: Callable[[], float] = lambda: 0.0
) -> list[str]:
    """Return what the listener hears when Temporal gives these answers, one after the other."""
    for name in ("FIRST_EVERY", "EVERY", "NOT_READY_EVERY"):
        monkeypatch.setattr(pollers, name, 0)
    over = asyncio.Event()
    waiting = iter(answers)

    async def polls() -> dict[str, float]:
        answer = next(waiting, None)
        if answer is None:
            over.set()
            await asyncio.Event().wait()
        if isinstance(answer, RPCError):
            raise answer
        assert answer is not None
        return dict(answer)

    listener = Listener()
    task = asyncio.ensure_future(watch(lambda: asyncio.ensure_future(polls()), lambda: False, listener, clock))
    await over.wait()
    task.cancel()
    return listener.told


AWAY = RPCError("tcp connect error", RPCStatusCode.UNAVAILABLE, b"")
LATER = {WORKFLOW: 1100.0, ACTIVITY: 1100.0}


async def test_one_question_without_an_answer_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await told(monkeypatch, [BOTH, AWAY, BOTH]) == ["ready"]


async def test_two_in_a_row_are_a_loss_and_new_polls_the_return(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [BOTH, AWAY, AWAY, AWAY, BOTH, LATER]
    assert await told(monkeypatch, answers) == ["ready", "lost stuck=False", "ready"]


async def test_a_worker_that_stops_polling_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, STALE + 1, STALE + 2])
    found = await told(monkeypatch, [BOTH, BOTH, LATER], lambda: next(times, STALE + 3))
    assert found == ["ready", "lost stuck=True", "ready"]
