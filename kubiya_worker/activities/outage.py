"""The wait for a control plane that is away: one probe for all, no activity slot, no growth of the history.

A write that fails in an outage is followed by `await_control_plane`. That is an activity which this process completes
from outside (Temporal's asynchronous completion), so it takes no slot, and its heartbeats are in no history: an outage
of days adds what one of a second adds. One probe, at random intervals below a second, serves all who wait. A worker
that dies while they wait is noticed by missing heartbeats, and the next one waits on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from temporalio import activity
from temporalio.client import AsyncActivityCancelledError, AsyncActivityHandle, Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from kubiya_worker.control_plane.answers import PROBE_TIMEOUT
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.control_plane.spool import Spool
from kubiya_worker.protocol import calls, names

log = logging.getLogger(__name__)

LOOK_EVERY: Final = (0.4, 0.8)  # seconds between two probes, at random
LOOK_AGAIN: Final = 0.1  # seconds, while the control plane is there and older events are on their way
PATIENT_TIMEOUT: Final = (5.0, 20.0)  # for every tenth probe, so that a slow control plane counts as there
PATIENT: Final = 10
AT_ONCE: Final = 6  # probes that may be under way, when none is answered
ASKED_TO_WAIT: Final = 30.0  # seconds at most that a `Retry-After` keeps the next probe back
BEAT_EVERY: Final = 3.0  # seconds; options.OUTAGE_WAIT gives a worker up after 12
TOGETHER: Final = 16  # waits that are ended at the same time
QUICK: Final = 3  # failures in a row after which the next try is not made at once
LONGEST: Final = 60.0  # seconds between tries of a write that fails although the control plane is there
CLOSE_WITHIN: Final = 2.0  # seconds


def delay_of(failures: int, *, away: bool) -> float:
    """Return the least seconds that a wait takes. Does no I/O.

    `failures`: how often the write has failed so far; `away`: the control plane was away during this wait. A write that
    fails while the control plane is there (it is not its turn) waits longer each time.
    """
    if away and failures <= QUICK:
        return 0.0
    return float(min(LONGEST, 0.25 * 2 ** min(failures - (QUICK if away else 0), 20)))


@dataclass(eq=False)
class _Waiter:
    asked: calls.Outage
    handle: AsyncActivityHandle
    began: float
    beaten: float
    away: bool = False

    def due(self, now: float) -> bool:
        return now - self.began >= delay_of(self.asked.failures, away=self.away)


@dataclass
class Waiting:
    """The waiting activities of this process. They share one event loop; while none waits, nothing runs."""

    control_plane: ControlPlane
    spool: Spool
    temporal: Client
    clock: Callable[[], float] = time.monotonic
    _waiters: list[_Waiter] = field(default_factory=list)
    _there: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None
    _probes: set[asyncio.Task[None]] = field(default_factory=set)
    _threads: ThreadPoolExecutor | None = None  # separate: unanswered writes take up the loop's threads
    _looks: int = 0
    _not_before: float = 0.0

    def add(self, token: bytes, asked: calls.Outage) -> None:
        """Complete the activity with this token when a write may be tried again."""
        now = self.clock()
        handle = self.temporal.get_async_activity_handle(task_token=token)
        self._waiters.append(_Waiter(asked, handle, now, now))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Hand the waiting activities over to another worker."""
        if self._task is not None:
            self._task.cancel()
        left, self._waiters = self._waiters, []
        error = ApplicationError("The worker that waited for the control plane ends", type="WorkerEnds")
        if left:
            ending = [asyncio.create_task(waiter.handle.fail(error)) for waiter in left]
            await asyncio.wait(ending, timeout=CLOSE_WITHIN)
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    # -- the loop

    async def _run(self) -> None:
        began, logged = self.clock(), False
        while self._waiters:
            tick = random.uniform(*LOOK_EVERY)  # noqa: S311 - spreads workers, hides nothing
            looked = self.clock()
            answers = await self._look(tick)
            if not answers:
                for waiter in self._waiters:
                    waiter.away = True
                if not logged:
                    log.warning("control_plane.away waiting=%d", len(self._waiters))
                logged = True
            else:
                self.spool.hurry()
                await self._end_due()
            await self._beat()
            older = answers and any(self._held(waiter) for waiter in self._waiters)
            pause = LOOK_AGAIN if older else tick - (self.clock() - looked)
            if self._waiters and pause > 0:
                await asyncio.sleep(pause)
        if logged:
            log.info("control_plane.back after=%.1fs", self.clock() - began)

    async def _look(self, within: float) -> bool:
        """Probe the control plane. Return True if it answers this probe or an earlier one within so many seconds."""
        if self.clock() < self._not_before:
            return False
        self._there.clear()
        if len(self._probes) < AT_ONCE:
            self._looks += 1
            timeout = PATIENT_TIMEOUT if self._looks % PATIENT == 0 else PROBE_TIMEOUT
            probe = asyncio.create_task(self._probe(self._waiters[0].asked.execution_id, timeout))
            self._probes.add(probe)
            probe.add_done_callback(self._probes.discard)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._there.wait(), within)
        return self._there.is_set()

    async def _probe(self, execution_id: str, timeout: tuple[float, float]) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(AT_ONCE, "outage")
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, self.control_plane.get_execution, execution_id, timeout)
        except ControlPlaneError as error:
            if error.retryable or error.status is None:
                if error.retry_after:
                    self._not_before = self.clock() + min(error.retry_after, ASKED_TO_WAIT)
                return
        self._there.set()  # an answer, if only that there is no such row, or that the key is wrong

    # -- those who wait

    def _held(self, waiter: _Waiter) -> bool:
        """Return True when older events of the same stream have to be sent first."""
        return self.spool.holds(waiter.asked.stream or waiter.asked.execution_id)

    async def _end_due(self) -> None:
        now = self.clock()
        due = [waiter for waiter in self._waiters if waiter.due(now) and not self._held(waiter)]
        for start in range(0, len(due), TOGETHER):
            await asyncio.gather(*(self._tell(w, w.handle.complete) for w in due[start : start + TOGETHER]))

    async def _beat(self) -> None:
        now = self.clock()
        late = [waiter for waiter in self._waiters if now - waiter.beaten >= BEAT_EVERY]
        for waiter in late:
            waiter.beaten = now
        for start in range(0, len(late), TOGETHER):
            await asyncio.gather(
                *(self._tell(w, w.handle.heartbeat, over=False) for w in late[start : start + TOGETHER])
            )

    async def _tell(self, waiter: _Waiter, call: Callable[[], Any], *, over: bool = True) -> None:
        """Report a waiting activity to Temporal. Drop it if it was cancelled or Temporal does not know it any more."""
        try:
            await call()
        except AsyncActivityCancelledError:
            with contextlib.suppress(RPCError):
                await waiter.handle.report_cancellation()
            over = True
        except RPCError as error:
            over = error.status == RPCStatusCode.NOT_FOUND
        if over and waiter in self._waiters:
            self._waiters.remove(waiter)


class OutageActivities:
    def __init__(self, waiting: Callable[[], Waiting]) -> None:
        self._waiting = waiting

    @activity.defn(name=names.AWAIT_CONTROL_PLANE)
    async def await_control_plane(self, asked: calls.Outage) -> None:
        """Return when a failed write may be tried again: the control plane is there and has the earlier events."""
        self._waiting().add(activity.info().task_token, asked)
        activity.raise_complete_async()
