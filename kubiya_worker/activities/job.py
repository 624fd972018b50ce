"""Scheduled jobs: the row of one run, and how it went (PROTOCOL A.5, B.3)."""

from __future__ import annotations

from temporalio import activity

from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.activities.session import ask
from kubiya_worker.control_plane.errors import Refused
from kubiya_worker.protocol import calls, names

GONE = (404, 410)  # the job, or the agent or team that it is for


class JobActivities:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @activity.defn(name=names.CREATE_JOB_EXECUTION)
    async def create_job_execution(self, job: calls.JobExecution) -> calls.JobExecutionResult:
        """Creating the same execution again is creating it once. That the job is gone is an answer, not an error."""
        body = {
            "execution_id": job.execution_id,
            "job_id": job.job_id,
            "organization_id": job.organization_id,
            "entity_type": job.entity_type,
            "entity_id": job.entity_id,
            "prompt": job.prompt,
            "trigger_type": job.trigger_type,
            "trigger_metadata": job.trigger_metadata,
            "worker_queue_id": job.queue_id,
        }

        def create() -> str:
            try:
                self._runtime.control_plane.create_job_execution(body)
            except Refused as error:
                if error.status in GONE:
                    return error.message
                raise
            return ""

        return calls.JobExecutionResult(gone=await ask(create))

    @activity.defn(name=names.END_JOB_EXECUTION)
    async def end_job_execution(self, end: calls.JobEnd) -> None:
        """A job that was deleted meanwhile needs no word."""
        body = {"status": end.status, "duration_ms": end.duration_ms, "error_message": end.error}

        def tell() -> None:
            try:
                self._runtime.control_plane.end_job_execution(end.execution_id, end.job_id, body)
            except Refused as error:
                if error.status not in GONE:
                    raise

        await ask(tell)
