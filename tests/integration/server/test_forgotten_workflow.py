"""An execution whose workflow Temporal has forgotten, as after its retention, is still told, and why."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client

from tests.support.stack import Stack, wait_until


@pytest.mark.slow  # Temporal deletes when it comes to it, which takes half a minute
def test_what_temporal_has_forgotten_is_told_with_its_retention(stack: Stack) -> None:
    stack.worker()
    key = stack.execute("hello")
    stack.wait(key)

    async def forget() -> None:
        client = await Client.connect(stack.temporal_address)
        gone = WorkflowExecution(workflow_id=f"agent-execution-{key}")
        request = DeleteWorkflowExecutionRequest(namespace="default", workflow_execution=gone)
        await client.workflow_service.delete_workflow_execution(request)

    assert "error" not in stack.call("GET", f"/executions/{key}/details")
    asyncio.run(forget())
    wait_until(lambda: "error" in stack.call("GET", f"/executions/{key}/details"), 120, "Temporal has deleted it")
    told = stack.call("GET", f"/executions/{key}/details")
    assert told["execution"]["status"] == "completed" and told["workflow"] is None
    assert told["error"] == (
        "Temporal keeps workflows for 1 days after their end, and not this one any more. "
        "Events, session and result are kept here"
    )
    assert stack.call("GET", f"/executions/{key}/session")["messages"]
