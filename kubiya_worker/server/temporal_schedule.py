"""This module makes Temporal's schedule of a job. Temporal's library is imported when the first one is made."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from kubiya_worker.protocol import names
from kubiya_worker.server.store.schedules import Wanted

if TYPE_CHECKING:
    from temporalio.client import Schedule


def made(job_id: str, wanted: Wanted) -> Schedule:
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
