"""`DynamicAgentExecutionWorkflow` runs an agent or a team that exists only in its input (docs/protocol.md#b3)."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

from kubiya_worker.protocol import dynamic, names
from kubiya_worker.workflows import team_strategies
from kubiya_worker.workflows.execution import Execution


@workflow.defn(name=names.DYNAMIC_WORKFLOW)
class DynamicAgentExecutionWorkflow(Execution):
    def __init__(self) -> None:
        super().__init__(team_strategies.BY_MODE)

    @workflow.run
    async def run(self, raw: dict[str, Any]) -> dict[str, Any]:
        # An input that is carried on (continue-as-new) has been translated already.
        result = await self.execute(raw if "definition" in raw else dynamic.loop_input(raw))
        return dynamic.result_of(result)
