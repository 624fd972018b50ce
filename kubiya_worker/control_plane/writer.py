"""Writes of many executions in few requests: writes that wait at the same time share a request.

A write that comes while no request runs goes at once, to its own route; where many executions write it waits a moment
for others (gathering.py). Writes that come while a request runs go together in the next one, as databases group their
commits: the busier a worker is, the fewer requests a write costs, here and at the control plane. Groups stay separate:
each is done as a whole or not at all, and has its own answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.control_plane import writes
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.direct import DirectConnections
from kubiya_worker.control_plane.gathering import WritingExecutions, gathering_time
from kubiya_worker.control_plane.reduced_writes import execution_of
from kubiya_worker.control_plane.write_requests import Outcome
from kubiya_worker.control_plane.writes import Write
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import names
from kubiya_worker.protocol.events import Event

SLOW_AFTER: Final = 0.05  # seconds that what waits lets a request take before it goes beside it
PARALLEL_REQUESTS: Final = 8  # requests at a time, when they are slow
GROUPS_PER_REQUEST: Final = 16  # groups in one request


@dataclass
class _Waiting:
    group: Sequence[Write]
    outcome: asyncio.Future[Outcome | Exception]


class Writer:
    """The writer groups the writes of one event loop. Its methods raise ControlPlaneError."""

    def __init__(self, control_plane: ControlPlane, direct: DirectConnections | None = None) -> None:
        """Set up the writer. `direct` makes small writes without a thread."""
        self._control_plane, self._direct = control_plane, direct
        self._waiting: deque[_Waiting] = deque()
        self._requests: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._executions = WritingExecutions()

    async def publish(self, execution_id: str, events: list[Event], after: Sequence[str] = ()) -> None:
        """Append events in order; see `ControlPlane.publish`."""
        try:
            await self.write(writes.events(execution_id, events, after))
        finally:
            if events:
                self._control_plane.event_lag = ev.age(events[0])

    async def write(self, *group: Write) -> list[dict[str, Any]]:
        """Make writes, all or none, and return the answers. Several writes need the feature `batch`."""
        if names.FEATURE_BATCH_GROUPS not in self._control_plane.features:
            (outcome,) = await asyncio.to_thread(self._control_plane.write_requests.groups, [group])
            return _answers(outcome)
        loop = asyncio.get_running_loop()
        execution_id = execution_of(group[0])
        if execution_id is not None:
            self._executions.note(execution_id, loop.time())
        waiting = _Waiting(group, loop.create_future())
        self._waiting.append(waiting)
        self._schedule()
        return _answers(await waiting.outcome)

    def forget(self, execution_id: str) -> None:
        """Let no write wait any longer for those of an execution that is over."""
        self._executions.forget(execution_id)

    def _schedule(self) -> None:
        """Have a request begin with what waits: now, when enough has gathered, or beside requests that are slow."""
        gathering = self._gathering()
        if not self._requests and (not gathering or len(self._waiting) >= GROUPS_PER_REQUEST):
            self._start()
        elif self._timer is None:
            seconds = SLOW_AFTER if self._requests else gathering
            self._timer = asyncio.get_running_loop().call_later(seconds, self._start)

    def _gathering(self) -> float:
        return gathering_time(self._executions.count(asyncio.get_running_loop().time()))

    def _start(self) -> None:
        """Start another request with the waiting writes, unless enough requests run already."""
        self._stop_timer()
        if self._waiting and len(self._requests) < PARALLEL_REQUESTS:
            self._requests.add(asyncio.create_task(self._send()))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _send(self) -> None:
        """Send until nothing waits, or writes gather. A write is sent even if its caller has given up meanwhile."""
        task = asyncio.current_task()
        assert task is not None
        try:
            while self._waiting:
                await self._request(
                    [self._waiting.popleft() for _ in range(min(GROUPS_PER_REQUEST, len(self._waiting)))]
                )
                if self._gathering():
                    break
        finally:  # before anybody else writes
            self._requests.discard(task)
        if self._waiting:
            if not self._requests:
                self._stop_timer()  # it was set for a request that is slow
            self._schedule()

    async def _request(self, taken: list[_Waiting]) -> None:
        outcomes: Sequence[Outcome | Exception]
        try:
            outcomes = await self._outcomes([one.group for one in taken])
        except Exception as error:  # a bug, or an answer of an unknown shape
            outcomes = [error] * len(taken)
        except asyncio.CancelledError:  # the event loop ends
            for waiting in taken:
                waiting.outcome.cancel()
            raise
        for waiting, outcome in zip(taken, outcomes, strict=True):
            if not waiting.outcome.done():
                waiting.outcome.set_result(outcome)

    async def _outcomes(self, groups: list[Sequence[Write]]) -> Sequence[Outcome]:
        requests = self._control_plane.write_requests
        made = await requests.directly(self._direct, groups) if self._direct else None
        return made if made is not None else await asyncio.to_thread(requests.groups, groups)

    def close(self) -> None:
        if self._direct is not None:
            self._direct.close()


def _answers(outcome: Outcome | Exception) -> list[dict[str, Any]]:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
