"""The activities: all side effects of an execution. `build` binds them to the objects of the worker process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubiya_worker.activities.approval import ApprovalActivities
from kubiya_worker.activities.begin import BeginActivities
from kubiya_worker.activities.call_prices import CallPrices
from kubiya_worker.activities.execution import ExecutionActivities
from kubiya_worker.activities.fallback import Fallback
from kubiya_worker.activities.host import find_host
from kubiya_worker.activities.job import JobActivities
from kubiya_worker.activities.mcp_start import ServerActivities
from kubiya_worker.activities.model import ModelActivities
from kubiya_worker.activities.outage import OutageActivities
from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.activities.session import SessionActivities
from kubiya_worker.activities.state_packing import PackingActivities
from kubiya_worker.activities.summary import SummaryActivities
from kubiya_worker.activities.tool import ToolActivities
from kubiya_worker.activities.trial import TrialActivities


def build(runtime: Runtime) -> list[Callable[..., Any]]:
    """Return all activities of a worker, ready for `temporalio.worker.Worker(activities=…)`."""
    prices, tool = CallPrices(runtime), ToolActivities(runtime)
    fallback = Fallback(runtime, prices)
    session, execution = SessionActivities(runtime), ExecutionActivities(runtime)
    job, approval = JobActivities(runtime), ApprovalActivities(runtime)
    return [
        ModelActivities(runtime, fallback, prices).call_model,
        SummaryActivities(runtime, fallback, prices).compact_conversation,
        tool.call_tool,
        ServerActivities(runtime).start_server,
        PackingActivities(runtime).pack_state,
        BeginActivities(runtime).begin_execution,
        session.store_session,
        session.end_turn,
        approval.request_approval,
        approval.check_approval,
        approval.await_approval,
        execution.report,
        execution.end_execution,
        execution.end_member,
        OutageActivities(lambda: runtime.waiting).await_control_plane,
        job.create_job_execution,
        job.end_job_execution,
        TrialActivities(runtime).try_out,
        find_host,
    ]


__all__ = ["Runtime", "build"]
