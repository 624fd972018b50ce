"""`AgentExecutionWorkflow`: an agent without members; whom its skills let it ask works as a member does (team.py)."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

from kubiya_worker.protocol import names
from kubiya_worker.workflows.team import TeamLoop


@workflow.defn(name=names.AGENT_WORKFLOW)
class AgentExecutionWorkflow(TeamLoop):
    @workflow.run
    async def run(self, raw: dict[str, Any]) -> dict[str, Any]:
        return await self.execute(raw)
