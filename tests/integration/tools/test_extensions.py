"""Extensions on a real worker: the guide's file, a tool for agents, a workflow, and one that is broken."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from temporalio.client import Client

from tests.support.stack import Stack

GUIDE = '''
from datetime import timedelta
from temporalio import activity, workflow
from kubiya_worker.extensions import tool


@activity.defn
async def custom_activity(input: str) -> str:
    return f"Processed: {input}"


@activity.defn
def slow_activity(input: str) -> str:
    return f"In a thread: {input}"


@workflow.defn
class CustomWorkflow:
    @workflow.run
    async def run(self, input: str) -> str:
        limit = timedelta(seconds=30)
        once = await workflow.execute_activity("custom_activity", input, start_to_close_timeout=limit)
        return await workflow.execute_activity("slow_activity", once, start_to_close_timeout=limit)


@tool(risk="low")
def ticket_status(number: int) -> dict:
    """The status of a ticket."""
    return {"number": number, "status": "open"}
'''


def test_the_guides_file_works_and_a_broken_one_names_itself(tmp_path: Path) -> None:
    (tmp_path / ".kubiya").mkdir()
    (tmp_path / ".kubiya" / "custom_activities.py").write_text(GUIDE)
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    with Stack(tmp_path) as stack:
        worker = stack.worker(KUBIYA_EXTENSIONS=str(tmp_path / "broken.py"))
        assert "nothing_of_that_name" in worker.expect(r"extension.refused.*broken\.py")
        worker.expect(r"extension.loaded.*custom_activities\.py")
        call = {"name": "ticket_status", "arguments": {"number": 7}}
        prompt = "demo:script " + json.dumps([{"tools": [call]}, {"text": "It is open."}])
        execution = stack.execute(prompt, agent=stack.agent("desk"))
        done = next(e["data"] for e in stack.events(execution) if e["event"] == "tool_completed")
        assert json.loads(done["tool_output"]) == {"number": 7, "status": "open"}
        assert stack.wait(execution)["response"] == "It is open."

        async def custom() -> Any:
            client = await Client.connect(stack.temporal_address)
            queue = stack.call("GET", "/worker-queues")[0]["id"]
            return await client.execute_workflow("CustomWorkflow", "x", id="custom", task_queue=queue)

        assert asyncio.run(custom()) == "In a thread: Processed: x"
