"""`AgentExecutionWorkflow` runs an agent without members. An agent that it asks by a skill works as a member does."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

from kubiya_worker.protocol import names
from kubiya_worker.workflows.execution import Execution


@workflow.defn(name=names.AGENT_WORKFLOW)
class AgentExecutionWorkflow(Execution):
    @workflow.run
    async def run(self, raw: dict[str, Any]) -> dict[str, Any]:
        return await self.execute(raw)
