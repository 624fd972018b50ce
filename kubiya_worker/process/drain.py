"""This module ends polling: running steps get unlimited time (drain), the grace period (stop), or none (forced)."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import structlog

from kubiya_worker.errors import EX_OK, EX_TEMPFAIL
from kubiya_worker.process.counters import ActivityCounters
from kubiya_worker.process.grace_expiry import GraceExpiry, unfinished
from kubiya_worker.process.stop import Stop
from kubiya_worker.process.worker_pair import WorkerPair
from kubiya_worker.process.worker_state import WorkerState

log = structlog.get_logger()

CANCEL_GRACE: Final = 5.0  # seconds that cancelled steps have to end their processes
POLLS_END_WITHIN: Final = 5.0  # seconds after the last step's end in which a reachable Temporal server ends the polls
REPORT_EVERY: Final = 1.0  # seconds between counts of the steps that a drain still waits for


async def finish(
    worker: WorkerPair,
    running: asyncio.Task[None],
    stop: Stop,
    counters: ActivityCounters,
    expiry: GraceExpiry,
    state: WorkerState,
) -> int:
    """Stop polling and wait until all steps are over; return the exit code: 0, or 75 when the end was forced."""
    began = time.monotonic()
    shutdown = asyncio.create_task(worker.shutdown())
    hurried, forced = (asyncio.create_task(event.wait()) for event in (stop.hurried, stop.forced))
    reporting = asyncio.create_task(_report_progress(stop, counters, state))
    only_polls = asyncio.create_task(_only_polls(worker))
    try:
        if not stop.hurried.is_set():
            await asyncio.wait({shutdown, hurried, only_polls}, return_when=asyncio.FIRST_COMPLETED)
            if not shutdown.done() and not only_polls.done():
                active = counters.counts().active
                log.info("worker.drain_limited", reason=stop.reason, active=active, grace=f"{stop.grace:g}s")
        ended = {shutdown, forced, only_polls}
        done, _ = await asyncio.wait(ended, timeout=stop.grace, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            expiry.cancel_steps(worker)
            log.warning("worker.cut_off", steps=expiry.steps, active=counters.counts().active)
            await asyncio.wait(ended, timeout=CANCEL_GRACE, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (hurried, forced, reporting, only_polls):
            task.cancel()
    seconds = time.monotonic() - began
    if shutdown.done():
        shutdown.result()
        await asyncio.wait({running}, timeout=CANCEL_GRACE)
        log.info("worker.drained", cut=expiry.steps, seconds=seconds)
        return EX_OK
    if only_polls.done() and not stop.forced.is_set():
        log.warning("worker.drained_without_temporal", cut=expiry.steps, seconds=seconds)
        return EX_OK
    active = counters.counts().active
    expiry.steps = max(expiry.steps, active)
    log.warning("worker.forced", active=active, seconds=seconds)
    return EX_TEMPFAIL


async def _only_polls(worker: WorkerPair) -> None:
    """Return once no step has run for POLLS_END_WITHIN seconds.

    A server can end the polls of a worker that leaves (its capability `worker_poll_complete_on_shutdown`), so that no
    task is lost in them. The library waits for that however long the server is away, and a drain would never end.
    """
    since = time.monotonic()
    while time.monotonic() - since < POLLS_END_WITHIN:
        await asyncio.sleep(0.5)
        if unfinished(worker) != 0:
            since = time.monotonic()


async def _report_progress(stop: Stop, counters: ActivityCounters, state: WorkerState) -> None:
    """Report, until cancelled, how many steps are left, and when a stop replaces a drain."""
    reported = (stop.hurried.is_set(), counters.counts().active)
    while True:
        await asyncio.sleep(REPORT_EVERY)
        progress = (stop.hurried.is_set(), counters.counts().active)
        if progress != reported:
            state.draining(progress[1], hurried=progress[0])
            reported = progress
