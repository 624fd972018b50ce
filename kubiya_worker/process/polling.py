"""This module polls Temporal until the worker is asked to end or to drain, and finishes what runs then."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import structlog
from temporalio.client import Client

from kubiya_worker.errors import EX_TEMPFAIL, WorkerError
from kubiya_worker.process.drain import finish
from kubiya_worker.process.late_steps import LateSteps
from kubiya_worker.process.live_worker import LiveWorker
from kubiya_worker.process.long_commands import LongCommands
from kubiya_worker.process.places import long_commands_of
from kubiya_worker.process.pollers import Pollers, watch
from kubiya_worker.process.temporal import open_executions
from kubiya_worker.process.worker_pair import WorkerPair
from kubiya_worker.protocol import names

log = structlog.get_logger()

CLOSE_WITHIN: Final = 1.0  # seconds that the steps have to close what they hold
PACKAGES_CHANGED: Final = "its packages were changed"  # why a worker ends that its supervisor starts again


class Polling:
    """One time of polling: from its begin to a stop or a drain. After a drain that was lifted there is another one."""

    def __init__(self, live: LiveWorker, client: Client, worker: WorkerPair, steps: LateSteps) -> None:
        self._live, self._client, self._worker, self._steps = live, client, worker, steps
        self._queue = live.registration.task_queue_name
        self._long_commands = LongCommands(
            long_commands_of(live.settings, live.registration),
            client,
            lambda place: worker.poll_host(names.host_queue(self._queue, place)),
        )
        live.state.long_commands = lambda: self._long_commands.running

    async def run(self) -> int:
        """Poll, then finish what runs; return the exit code. Raise the error that ended the polling by itself."""
        stop, wishes = self._live.stop, self._live.wishes
        running = asyncio.create_task(self._worker.run())
        asked = {asyncio.create_task(event.wait()) for event in (stop.asked, wishes.drain_asked)}
        loading = asyncio.create_task(self._steps.hold(self._live.state.polled))
        sweeping = asyncio.create_task(self._long_commands.watch())
        watching = self._watch_pollers()
        try:
            await asyncio.wait({running, watching, loading, *asked}, return_when=asyncio.FIRST_COMPLETED)
            for endless in (loading, watching):
                if endless.done():
                    endless.result()  # it never ends by itself, so its end is a bug: raise its error
            watching.cancel()
            return await self._finish(running)
        finally:
            for task in (watching, sweeping, loading, *asked):
                task.cancel()
            with contextlib.suppress(Exception):  # a client that does not close cleanly changes nothing now
                await asyncio.wait_for(self._steps.close(), CLOSE_WITHIN)

    def _watch_pollers(self) -> asyncio.Task[None]:
        live, pollers = self._live, Pollers(self._client, self._queue, self._live.identity)
        most, counters = live.settings.max_concurrent_activities, live.gauges.counters
        watching = watch(lambda: asyncio.ensure_future(pollers()), lambda: counters.slots_taken() >= most, live.state)
        return asyncio.create_task(watching)

    async def _finish(self, running: asyncio.Task[None]) -> int:
        """Take no new steps, let those that run finish or cut them off, and return the exit code."""
        live, stop, wishes = self._live, self._live.stop, self._live.wishes
        counters, before = live.gauges.counters, live.gauges.counters.counts()
        then = wishes.restart or ("" if stop.asked.is_set() else f"it stays, drained {wishes.why}")
        live.state.draining(before.active, hurried=stop.hurried.is_set(), then=then)
        if running.done():
            running.result()  # raise the error that ended the worker
            raise WorkerError(
                "Temporal's worker ended without an error and without being asked to",
                remedy="Its last lines in the log above say more; a supervisor starts it again",
            )
        drains = stop.drains
        reason = stop.reason if stop.asked.is_set() else f"asked {wishes.why}"
        limit = f"{live.settings.grace_period:g}s" if stop.hurried.is_set() else "none"
        log.info("worker.draining", reason=reason, active=before.active, grace=limit)
        code = await finish(self._worker, running, stop, counters, live.gauges.grace_expiry, live.state)
        if stop.asked.is_set() and not wishes.restart and not live.settings.keep_long_commands:
            await self._long_commands.end_own()
        if drains:  # a drain may have become a stop meanwhile, which has no time for this query
            now = counters.counts()
            finished = now.completed + now.failed - before.completed - before.failed
            left = await open_executions(self._client, self._queue) if stop.drains else None
            live.state.record_drain(finished, left)
        # A supervisor starts it again; 0 would say that it has finished.
        return EX_TEMPFAIL if stop.reason == PACKAGES_CHANGED or wishes.restart else code
