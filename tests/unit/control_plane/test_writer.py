"""The writer sends some writes together, and each of them still gets its own answer."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Sequence
from typing import Any

import pytest

from kubiya_worker.control_plane import errors, gathering, writer
from kubiya_worker.control_plane.write_requests import Outcome
from kubiya_worker.control_plane.writer import Writer
from kubiya_worker.control_plane.writes import Write
from kubiya_worker.protocol import names

ALL = frozenset({names.FEATURE_BATCH, names.FEATURE_BATCH_GROUPS})


class Plane:
    """A control plane whose requests wait until the test lets them go."""

    def __init__(self, features: frozenset[str] = ALL, *, free: bool = False) -> None:
        self.features, self.event_lag, self.free = features, 0.0, free
        self.requests: list[list[list[str]]] = []
        self.begun: asyncio.Queue[int] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self.write_requests = self
        self._gates: queue.Queue[Exception | None] = queue.Queue()

    def go(self, failure: Exception | None = None) -> None:
        self._gates.put(failure)

    def groups(self, groups: Sequence[Sequence[Write]]) -> list[Outcome]:
        self.requests.append([[write.path for write in group] for group in groups])
        self._loop.call_soon_threadsafe(self.begun.put_nowait, len(self.requests))
        failure = None if self.free else self._gates.get(timeout=30)
        if failure is not None:
            raise failure
        return [self._outcome(group) for group in groups]

    def _outcome(self, group: Sequence[Write]) -> Outcome:
        if group[0].path == "/bad":
            return errors.Refused("bad")
        return [{"made": write.path} for write in group]


def at(path: str) -> Write:
    return Write("POST", path, {})


def of(execution: int) -> str:
    return f"/executions/{execution}/events/batch"


def written(made: Writer, *paths: str) -> asyncio.Task[list[dict[str, Any]]]:
    return asyncio.create_task(made.write(*map(at, paths)))


def writer_of(plane: Plane) -> Writer:
    return Writer(plane)  # type: ignore[arg-type]


async def busy(plane: Plane) -> tuple[Writer, asyncio.Task[list[dict[str, Any]]]]:
    """A writer, and its first write, which is under way."""
    made = writer_of(plane)
    first = written(made, "/1")
    await plane.begun.get()
    return made, first


async def test_the_first_goes_at_once_and_what_comes_meanwhile_goes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SLOW_AFTER", 60.0)
    plane = Plane()
    made, first = await busy(plane)
    rest = [written(made, "/2"), written(made, "/3a", "/3b"), written(made, "/bad")]
    await asyncio.sleep(0)  # they run up to where they wait
    plane.go()
    assert await first == [{"made": "/1"}]
    await plane.begun.get()
    plane.go()
    assert await rest[0] == [{"made": "/2"}]
    assert await rest[1] == [{"made": "/3a"}, {"made": "/3b"}]
    with pytest.raises(errors.Refused):
        await rest[2]
    assert plane.requests == [[["/1"]], [["/2"], ["/3a", "/3b"], ["/bad"]]]


async def test_nothing_waits_for_a_request_that_is_slow() -> None:
    plane = Plane()
    made, first = await busy(plane)
    second = written(made, "/2")
    await asyncio.wait_for(plane.begun.get(), 30)  # although nothing has answered the first
    plane.go()
    plane.go()
    assert [await first, await second] == [[{"made": "/1"}], [{"made": "/2"}]]


async def test_no_more_than_so_many_travel_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SLOW_AFTER", 60.0)
    plane = Plane()
    made = writer_of(plane)
    tasks = [written(made, "/0")]
    await plane.begun.get()
    tasks += [written(made, f"/{n}") for n in range(1, writer.GROUPS_PER_REQUEST + 3)]
    await asyncio.sleep(0)
    plane.free = True
    plane.go()
    await asyncio.gather(*tasks)
    assert sum(map(len, plane.requests)) == len(tasks)
    assert max(map(len, plane.requests)) == writer.GROUPS_PER_REQUEST


async def test_a_fault_of_the_request_is_everybodys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SLOW_AFTER", 60.0)
    plane = Plane()
    made, first = await busy(plane)
    rest = [written(made, "/2"), written(made, "/3")]
    await asyncio.sleep(0)
    plane.go(KeyError("groups"))
    with pytest.raises(KeyError):
        await first
    await plane.begun.get()
    plane.go(KeyError("groups"))
    assert [type(fault) for fault in await asyncio.gather(*rest, return_exceptions=True)] == [KeyError, KeyError]
    plane.go()
    assert await made.write(at("/4")) == [{"made": "/4"}], "and the next one goes"


async def test_who_gives_up_takes_nothing_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SLOW_AFTER", 60.0)
    plane = Plane()
    made, first = await busy(plane)
    gone, stays = written(made, "/2"), written(made, "/3")
    await asyncio.sleep(0)
    gone.cancel()
    plane.go()
    plane.go()
    assert await stays == [{"made": "/3"}]
    assert await first == [{"made": "/1"}]
    assert gone.cancelled() or gone.done()
    assert plane.requests[1] == [["/2"], ["/3"]], "what was handed over is written"


@pytest.mark.parametrize("features", [frozenset(), frozenset({names.FEATURE_BATCH})])
async def test_a_control_plane_without_groups_gets_each_for_itself(features: frozenset[str]) -> None:
    plane = Plane(features, free=True)
    made = writer_of(plane)
    await asyncio.gather(*(made.write(at(f"/{n}")) for n in range(3)))
    assert sorted(plane.requests) == [[["/0"]], [["/1"]], [["/2"]]]


async def test_writes_of_many_executions_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "EACH", 60.0)
    monkeypatch.setattr(gathering, "LONGEST", 60.0)
    plane = Plane(free=True)
    made = writer_of(plane)
    for execution in range(gathering.FEW):
        await made.write(at(of(execution)))
    alone = len(plane.requests)
    gathered = [written(made, of(gathering.FEW + n)) for n in range(writer.GROUPS_PER_REQUEST)]
    await asyncio.wait_for(asyncio.gather(*gathered), 30)  # as many as a request holds wait no longer
    assert alone == gathering.FEW, "few executions wait for nothing"
    assert [len(groups) for groups in plane.requests[alone:]] == [writer.GROUPS_PER_REQUEST]


async def test_what_gathers_goes_after_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "LONGEST", 0.01)
    plane = Plane(free=True)
    made = writer_of(plane)
    tasks = [written(made, of(execution)) for execution in range(gathering.FEW + 3)]
    await asyncio.wait_for(asyncio.gather(*tasks), 30)
    assert sum(map(len, plane.requests)) == len(tasks)


async def test_an_execution_that_is_over_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "EACH", 60.0)
    monkeypatch.setattr(gathering, "LONGEST", 60.0)
    plane = Plane(free=True)
    made = writer_of(plane)
    for execution in range(3 * gathering.FEW):  # one after the other
        await asyncio.wait_for(made.write(at(of(execution))), 30)
        made.forget(str(execution))
    assert len(plane.requests) == 3 * gathering.FEW


async def test_what_came_during_a_request_gathers_only_as_long_as_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SLOW_AFTER", 60.0)
    monkeypatch.setattr(gathering, "EACH", 0.001)
    plane = Plane()
    made = writer_of(plane)
    first = written(made, of(0))
    await plane.begun.get()
    rest = [written(made, of(execution)) for execution in range(1, gathering.FEW + 3)]
    await asyncio.sleep(0)  # they run up to where they wait, and one has set the timer of slow requests
    plane.free = True
    plane.go()
    await asyncio.wait_for(asyncio.gather(first, *rest), 30)
    assert [len(groups) for groups in plane.requests] == [1, len(rest)]


@pytest.mark.parametrize(
    ("executions", "seconds"), [(0, 0.0), (1, 0.0), (4, 0.0), (5, 0.001), (10, 0.006), (54, 0.05), (500, 0.05)]
)
def test_the_more_executions_write_the_longer_a_write_waits(executions: int, seconds: float) -> None:
    assert gathering.gathering_time(executions) == pytest.approx(seconds)


def test_an_execution_counts_for_a_second_after_its_write() -> None:
    executions = gathering.WritingExecutions()
    executions.note("a", 10.0)
    executions.note("b", 10.4)
    executions.note("a", 10.8)
    assert [executions.count(now) for now in (10.8, 11.3, 11.5, 12.0)] == [2, 2, 1, 0]
