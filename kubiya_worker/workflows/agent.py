"""`AgentExecutionWorkflow`: an agent on its own. A team adds members to the same loop (team.py)."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

from kubiya_worker.protocol import names
from kubiya_worker.workflows.loop import Loop


@workflow.defn(name=names.AGENT_WORKFLOW)
class AgentExecutionWorkflow(Loop):
    @workflow.run
    async def run(self, raw: dict[str, Any]) -> dict[str, Any]:
        return await self.execute(raw)
