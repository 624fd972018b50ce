"""`TeamExecutionWorkflow` runs a team in each of its modes, which protocol/team.py describes."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

from kubiya_worker.protocol import names
from kubiya_worker.workflows import team_strategies
from kubiya_worker.workflows.execution import Execution


@workflow.defn(name=names.TEAM_WORKFLOW)
class TeamExecutionWorkflow(Execution):
    def __init__(self) -> None:
        super().__init__(team_strategies.BY_MODE)

    @workflow.run
    async def run(self, raw: dict[str, Any]) -> dict[str, Any]:
        return await self.execute(raw)
