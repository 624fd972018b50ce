"""`TrialWorkflow` tries an agent's model, or an MCP server, on a worker, without an execution."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import RetryPolicy

from kubiya_worker.protocol import calls, names
from kubiya_worker.workflows import options

# A person waits for the answer, so nothing is tried again.
TRY: Final[dict[str, Any]] = {
    "schedule_to_start_timeout": timedelta(seconds=20),
    "start_to_close_timeout": timedelta(seconds=90),
    "heartbeat_timeout": options.HEARTBEAT_TIMEOUT,
    "retry_policy": RetryPolicy(maximum_attempts=1),
}


@workflow.defn(name=names.TRIAL_WORKFLOW)
class TrialWorkflow:
    @workflow.run
    async def run(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return {ok, error, …} as `kubiya mcp test` and `kubiya models test` print it."""
        kind = str(raw.get("kind") or "agent")
        server, model = str(raw.get("server") or ""), str(raw.get("model") or "")
        asked = calls.Trial(str(raw["trial_id"]), str(raw["agent_id"]), server, kind, model)
        result: calls.TrialResult = await workflow.execute_activity(
            names.TRY_OUT, asked, result_type=calls.TrialResult, **TRY
        )
        return result.outcome
