"""This module sets the schedules of jobs in Temporal, and tells what Temporal knows of their times."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from kubiya_worker.protocol import names
from kubiya_worker.server.firings import Timetable
from kubiya_worker.server.store.schedules import Wanted
from kubiya_worker.server.temporal import LOOK, QUERY, TIMEOUT, RefusedByTemporal, Temporal, TemporalDown

if TYPE_CHECKING:
    from temporalio.client import Client, Schedule

SETTLED: Final = timedelta(seconds=5)  # until a time of a schedule has started its run, or was left out
NEXT: Final = 5  # coming runs of a schedule that are told
LOOK_BACK: Final = timedelta(days=2)  # in which times of a schedule are looked through for those without a run


class TemporalSchedules:
    """The schedules of one control plane's jobs, by the id of the job."""

    def __init__(self, temporal: Temporal) -> None:
        self._temporal = temporal
        self.outage = temporal.outage

    async def set(self, job_id: str, wanted: Wanted) -> None:
        """Create or change the schedule; raise TemporalDown or RefusedByTemporal."""
        client = await self._temporal.client()
        from temporalio.client import ScheduleAlreadyRunningError, ScheduleUpdate
        from temporalio.service import RPCError, RPCStatusCode

        schedule = _schedule(job_id, wanted)
        try:
            await client.create_schedule(names.schedule_id(job_id), schedule, rpc_timeout=TIMEOUT)
        except ScheduleAlreadyRunningError:
            handle = client.get_schedule_handle(names.schedule_id(job_id))
            try:
                await self._temporal.ask(handle.update(lambda _: ScheduleUpdate(schedule), rpc_timeout=TIMEOUT))
            except LookupError as error:
                raise TemporalDown("the schedule went away meanwhile") from error
        except RPCError as error:
            if error.status == RPCStatusCode.INVALID_ARGUMENT:
                raise RefusedByTemporal(error.message) from error
            raise self._temporal.down(error) from error

    async def remove(self, job_id: str) -> None:
        """Delete the schedule; one that is already gone is no error."""
        handle = (await self._temporal.client()).get_schedule_handle(names.schedule_id(job_id))
        with contextlib.suppress(LookupError):
            await self._temporal.ask(handle.delete(rpc_timeout=TIMEOUT))

    async def timetable(self, job_id: str, since: datetime) -> Timetable | None:
        """Return the coming runs of a job, and which times since then started one; None when Temporal does not say."""
        try:
            async with asyncio.timeout(LOOK):
                client = await self._temporal.client()
                times = await self._temporal.ask(
                    client.get_schedule_handle(names.schedule_id(job_id)).describe(rpc_timeout=QUERY)
                )
                info = times.info
                # Temporal keeps the latest ten actions: what was before them may have started a run.
                first = min((one.scheduled_at for one in info.recent_actions), default=since)
                first = max(first, datetime.now(UTC) - LOOK_BACK)
                paused = times.schedule.state.paused
                passed = [] if paused else await self._passed(client, job_id, max(since, first))
        except (LookupError, TemporalDown, TimeoutError):
            return None
        return Timetable(
            following=() if paused else info.next_action_times[:NEXT],
            skipped=info.num_actions_skipped_overlap,
            missed=info.num_actions_missed_catchup_window,
            waiting=times.raw_description.info.buffer_size,
            running=bool(info.running_actions),
            passed=passed,
            started={one.scheduled_at for one in info.recent_actions},
        )

    async def _passed(self, client: Client, job_id: str, since: datetime) -> list[datetime]:
        """Return the latest times of a schedule that are over; one of this moment may still be at work."""
        from temporalio.api.workflowservice.v1 import ListScheduleMatchingTimesRequest

        until = datetime.now(UTC) - SETTLED
        if until <= since:
            return []
        request = ListScheduleMatchingTimesRequest(
            namespace=self._temporal.access.namespace, schedule_id=names.schedule_id(job_id)
        )
        request.start_time.FromDatetime(since)
        request.end_time.FromDatetime(until)
        answer = await self._temporal.ask(client.workflow_service.list_schedule_matching_times(request, timeout=QUERY))
        return [time.ToDatetime(UTC) for time in answer.start_time]

    async def next_runs(self) -> dict[str, str]:
        """Return the next run of every schedule by schedule id, in one request.

        The answer may miss changes of the last second.
        """
        from temporalio.service import RPCError

        by_job: dict[str, str] = {}
        try:
            async with asyncio.timeout(LOOK):
                client = await self._temporal.client()
                async for entry in await client.list_schedules(page_size=1000, rpc_timeout=QUERY):
                    times = entry.info.next_action_times if entry.info else []
                    if times and entry.schedule and not entry.schedule.state.paused:
                        by_job[entry.id] = times[0].isoformat()
        except (RPCError, TemporalDown, TimeoutError):
            return {}
        return by_job


def _schedule(job_id: str, wanted: Wanted) -> Schedule:
    """Return the schedule of a job."""
    from temporalio.client import (
        Schedule,
        ScheduleActionStartWorkflow,
        ScheduleOverlapPolicy,
        SchedulePolicy,
        ScheduleSpec,
        ScheduleState,
    )

    return Schedule(
        action=ScheduleActionStartWorkflow(
            names.SCHEDULED_WORKFLOW,
            wanted.argument,
            id=names.schedule_id(job_id),  # Temporal adds the time of the run
            task_queue=wanted.queue_id,
        ),
        spec=ScheduleSpec(cron_expressions=wanted.cron, time_zone_name=wanted.timezone),
        policy=SchedulePolicy(
            overlap=ScheduleOverlapPolicy[wanted.overlap.upper()],
            catchup_window=timedelta(seconds=wanted.catch_up),
        ),
        state=ScheduleState(paused=wanted.paused),
    )
