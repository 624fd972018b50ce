"""The Temporal Schedules of cron jobs, as Temporal has them."""

from __future__ import annotations

import asyncio
from datetime import datetime

from temporalio.client import Client, ScheduleDescription, ScheduleOverlapPolicy
from temporalio.service import RPCError

from tests.support.stack import Stack


def schedule(stack: Stack, job_id: str) -> ScheduleDescription | None:
    """Return the schedule that Temporal has, or None."""

    async def describe() -> ScheduleDescription | None:
        client = await Client.connect(stack.temporal_address)
        try:
            return await client.get_schedule_handle(f"job-{job_id}").describe()
        except RPCError:
            return None

    return asyncio.run(describe())


def due(stack: Stack, job_id: str) -> datetime | None:
    """Return the time when Temporal runs the job next."""
    found = schedule(stack, job_id)
    return found.info.next_action_times[0] if found and found.info.next_action_times else None


def tick(stack: Stack, job_id: str) -> str:
    """The schedule's own action, now. The id of the wrapper's workflow: the one that was not there before."""

    async def trigger() -> str:
        client = await Client.connect(stack.temporal_address)
        handle = client.get_schedule_handle(f"job-{job_id}")

        async def runs() -> set[str]:
            return {getattr(a.action, "workflow_id", "") for a in (await handle.describe()).info.recent_actions}

        before = await runs()
        if before:
            await asyncio.sleep(1.1)  # ids end in the second of the run: two in one second are one
        await handle.trigger(overlap=ScheduleOverlapPolicy.ALLOW_ALL)
        for _ in range(600):
            for workflow_id in await runs() - before:
                return workflow_id
            await asyncio.sleep(0.05)
        raise AssertionError("the schedule has started nothing")

    return asyncio.run(trigger())
