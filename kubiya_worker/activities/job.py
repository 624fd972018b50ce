"""Activities of scheduled jobs: the row of one run, and its outcome (docs/protocol.md#a5, #b3)."""

from __future__ import annotations

from temporalio import activity
from temporalio.exceptions import ApplicationError

from kubiya_worker.activities.control_plane_calls import as_fault
from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.control_plane import writes
from kubiya_worker.control_plane.errors import ControlPlaneError, Refused
from kubiya_worker.protocol import calls, names

GONE = (404, 410)  # the job, or the agent or team that it is for


class JobActivities:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @activity.defn(name=names.CREATE_JOB_EXECUTION)
    async def create_job_execution(self, job: calls.JobExecution) -> calls.JobExecutionResult:
        """Create the row of a run; a repeat creates nothing. A deleted job is an answer, not an error."""
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

        try:
            await as_fault(self._runtime.delivery.required(writes.job_row(body), must=True))
        except ApplicationError as error:
            cause = error.__cause__
            if isinstance(cause, Refused) and cause.status in GONE:
                return calls.JobExecutionResult(gone=cause.message)
            if isinstance(cause, ControlPlaneError) and not cause.outage:
                raise ApplicationError(error.message, type="Refused", non_retryable=True) from cause
            raise
        return calls.JobExecutionResult()

    @activity.defn(name=names.END_JOB_EXECUTION)
    async def end_job_execution(self, end: calls.JobEnd) -> None:
        """Report the outcome of a job's run. A job that was deleted meanwhile gets no report."""
        fields = {"status": end.status, "duration_ms": end.duration_ms, "error_message": end.error}
        body = {name: value for name, value in fields.items() if value is not None}
        status = writes.job_status(end.execution_id, end.job_id, **body)
        await as_fault(self._runtime.delivery.required(status))
