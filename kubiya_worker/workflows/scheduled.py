"""`ScheduledJobWrapperWorkflow` is one run of a cron job: it creates the row, runs the execution, reports the end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ChildWorkflowError, is_cancelled_exception
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

from kubiya_worker.protocol import calls, names
from kubiya_worker.protocol import execution as ex
from kubiya_worker.workflows import activity_failures, durable_calls

# Without its row the run cannot be shown, so the control plane is waited for.
CREATE: Final[dict[str, Any]] = {
    "start_to_close_timeout": timedelta(seconds=60),
    "retry_policy": RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=60)),
}


@workflow.defn(name=names.SCHEDULED_WORKFLOW)
class ScheduledJobWrapperWorkflow:
    @workflow.run
    async def run(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return the result of the execution, or {status: cancelled, reason} when the job was deleted."""
        metadata = raw.get("user_metadata") or {}
        kind = "team" if raw.get("team_id") else "agent"
        execution_id = str(raw.get("execution_id") or workflow.uuid4())  # the same in every replay
        job_id = str(metadata.get("job_id") or "")
        began = workflow.now()
        row: calls.JobExecutionResult = await workflow.execute_activity(
            names.CREATE_JOB_EXECUTION,
            calls.JobExecution(
                execution_id=execution_id,
                job_id=job_id,
                organization_id=str(raw.get("organization_id") or ""),
                entity_type=kind,
                entity_id=str(raw.get(f"{kind}_id") or ""),
                prompt=str(raw.get("prompt") or ""),
                trigger_type=str(metadata.get("trigger_type") or "cron"),
                trigger_metadata={key: metadata[key] for key in ("job_name", "user_id") if metadata.get(key)},
                queue_id=workflow.info().task_queue,
            ),
            result_type=calls.JobExecutionResult,
            **CREATE,
        )
        if row.gone:
            ids = {"execution_id": execution_id, "job_id": job_id}
            return {"status": ex.CANCELLED, "reason": "job_deleted", "message": row.gone, **ids}
        try:
            result: dict[str, Any] = await workflow.execute_child_workflow(
                names.TEAM_WORKFLOW if kind == "team" else names.AGENT_WORKFLOW,
                {k: v for k, v in raw.items() if k not in ("api_key", "control_plane_url")}
                | {"execution_id": execution_id},
                id=names.workflow_id(kind, execution_id),
                cancellation_type=ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
                parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
                result_type=dict,
            )
        except ChildWorkflowError as error:
            cancelled = is_cancelled_exception(error) or activity_failures.kind_of(error) == names.BY_USER
            status = ex.CANCELLED if cancelled else ex.FAILED
            await self._report_end(job_id, execution_id, status, began, activity_failures.cause_of(error))
            raise
        await self._report_end(job_id, execution_id, str(result.get("status")), began, result.get("error"))
        return result

    async def _report_end(self, job_id: str, execution_id: str, status: str, began: Any, error: str | None) -> None:
        if job_id:
            duration = round((workflow.now() - began).total_seconds() * 1000)
            end = calls.JobEnd(job_id, execution_id, status, duration, error)
            await durable_calls.call(names.END_JOB_EXECUTION, end, execution_id)
