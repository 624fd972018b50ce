"""Single-execution mode ends when the executions of its queue are over."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from kubiya_worker.control_plane.errors import Refused, Unreachable
from kubiya_worker.control_plane.queue_routes import QueueRoutes
from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.process import single_execution
from kubiya_worker.process.single_execution import Sightings, SingleExecution
from kubiya_worker.process.stop import Stop


def row(status: str, id: str = "1") -> dict[str, Any]:
    return {"id": id, "status": status}


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "COMPLETED", "interrupted", "terminated"])
def test_what_is_over_twice_in_a_row_is_over(status: str) -> None:
    sightings = Sightings()
    assert not sightings.update([row(status)])
    assert sightings.update([row(status)])


@pytest.mark.parametrize("status", ["pending", "queued", "running", "waiting_for_input", "paused", "", None])
def test_everything_else_is_not_over_and_begins_the_count_anew(status: Any) -> None:
    sightings = Sightings()
    assert not sightings.update([row("completed"), row(status, "2")])
    assert sightings.open == 1
    assert not sightings.update([row("completed")])
    assert not sightings.update([row("completed"), row(status, "2")])
    assert not sightings.update([row("completed")])
    assert sightings.update([row("completed")])


def test_an_empty_queue_and_a_look_that_failed_say_nothing() -> None:
    sightings = Sightings()
    for _ in range(5):
        assert not sightings.update([])
    assert not sightings.update([row("completed")])
    sightings.forget()
    assert not sightings.update([row("completed")])
    assert sightings.update([row("completed")])


def test_what_was_over_before_does_not_count_and_what_ran_then_does() -> None:
    sightings = Sightings([row("completed", "old"), row("running", "mine")])
    for _ in range(3):
        assert not sightings.update([row("completed", "old")])
    assert not sightings.update([row("completed", "old"), row("failed", "mine")])
    assert sightings.update([row("completed", "old"), row("failed", "mine")])


class Routes:
    def __init__(self, *answers: Any) -> None:
        self.answers, self.deleted = list(answers), 0

    def executions(self, queue_id: str) -> list[dict[str, Any]]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    def delete(self, queue_id: str) -> None:
        assert queue_id == "q"
        self.deleted += 1
        if self.deleted > 1:
            raise Refused("DELETE answered 404: gone")


async def watched(queues: Routes, *, ephemeral: bool = True) -> tuple[Stop, SingleExecution]:
    registration = Registration(worker_id="w", task_queue_name="q", queue_id="q", queue_ephemeral=ephemeral)
    watcher, stop = SingleExecution(cast(QueueRoutes, queues), registration), Stop(asyncio.get_running_loop(), 30.0)
    await watcher.begin()
    await asyncio.wait_for(watcher.watch(stop), 30)
    return stop, watcher


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST", "EVERY", "SETTLE"):
        monkeypatch.setattr(single_execution, name, 0.01)


async def test_the_worker_is_asked_to_end_and_an_ephemeral_queue_goes_with_it() -> None:
    queues = Routes([], [row("running")], Unreachable("nobody"), [row("completed")])
    stop, watcher = await watched(queues)
    assert (stop.reason, stop.drains) == (single_execution.OVER, True)
    watcher.delete_queue_if_done()
    watcher.delete_queue_if_done()  # gone already: said, and no more
    assert queues.deleted == 2


async def test_a_queue_that_is_not_ephemeral_stays() -> None:
    queues = Routes([], [row("failed")])
    _, watcher = await watched(queues, ephemeral=False)
    watcher.delete_queue_if_done()
    assert queues.deleted == 0


@pytest.mark.parametrize(("rows", "deleted"), [([], 1), ([row("waiting_for_input")], 0)])
async def test_after_the_longest_time_it_ends_all_the_same(
    rows: list[Any], deleted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue on which something waits for a person is not deleted under it."""
    monkeypatch.setattr(single_execution, "LONGEST", 1.5)
    queues = Routes(rows)
    stop, watcher = await watched(queues)
    assert (stop.reason, stop.hurried.is_set()) == (single_execution.TIME_UP, True)
    watcher.delete_queue_if_done()
    assert queues.deleted == deleted
