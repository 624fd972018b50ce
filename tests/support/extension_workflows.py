"""Workflows as an extension has them: one of its own, and one that is made from ours."""

from __future__ import annotations

from temporalio import workflow

from kubiya_worker.workflows.agent import AgentExecutionWorkflow


@workflow.defn
class Own:
    @workflow.run
    async def run(self) -> bool:
        return workflow.unsafe.in_sandbox()


@workflow.defn(name="Derived")
class Derived(AgentExecutionWorkflow):
    @workflow.run
    async def run(self, raw: dict[str, object]) -> dict[str, object]:
        return await super().run(raw)
