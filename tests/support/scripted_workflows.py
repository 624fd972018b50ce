"""Workflows that end as they are told, for what a control plane makes of a workflow's end. A program:

    python -m tests.support.scripted_workflows --address HOST:PORT QUEUE...

The prompt, and each message that follows, is JSON: {"state": what get_state answers, "end": "complete" or "fail"}.
Without `end` the workflow goes on. What it was started with and the messages that it heard are in state.metadata, as
`input` and `heard`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from temporalio import workflow
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

State = dict[str, Any]


class Scripted:
    def __init__(self) -> None:
        self.state: State = {
            "status": "running",
            "messages": [],
            "current_response": "",
            "error_message": None,
            "usage": {},
            "metadata": {"heard": []},
            "is_waiting_for_input": False,
            "should_complete": False,
        }
        self.end = ""
        self.early: list[str] | None = []  # heard before the prompt: a signal may be handled first

    def follow(self, text: str) -> None:
        try:
            step = json.loads(text)
        except ValueError:
            return
        metadata = {**self.state["metadata"], **step.get("state", {}).get("metadata", {})}
        self.state |= {**step.get("state", {}), "metadata": metadata}
        self.end = step.get("end", "")

    async def play(self, given: Any) -> State:
        self.state["metadata"]["input"] = given
        early, self.early = self.early or [], None
        for text in (given.get("prompt", ""), *early):
            self.follow(text)
        await workflow.wait_condition(lambda: bool(self.end))
        if self.end == "fail":
            raise ApplicationError("as the script says", non_retryable=True)
        return {"success": True, "execution_id": given.get("execution_id"), "status": "completed"}

    @workflow.signal
    def add_message(self, message: Any) -> None:
        self.state["metadata"]["heard"].append(message)
        text = str(message.get("content"))
        if self.early is None:
            self.follow(text)
        else:
            self.early.append(text)

    @workflow.query
    def get_state(self) -> State:
        return self.state


@workflow.defn(name="AgentExecutionWorkflow", sandboxed=False)
class AgentExecution(Scripted):
    @workflow.run
    async def run(self, given: Any) -> State:
        return await self.play(given)


@workflow.defn(name="TeamExecutionWorkflow", sandboxed=False)
class TeamExecution(Scripted):
    @workflow.run
    async def run(self, given: Any) -> State:
        return await self.play(given)


@workflow.defn(name="DynamicAgentExecutionWorkflow", sandboxed=False)
class DynamicAgentExecution(Scripted):
    @workflow.run
    async def run(self, given: Any) -> State:
        return await self.play(given)


@workflow.defn(name="ScheduledJobWrapperWorkflow", sandboxed=False)
class ScheduledJobWrapper(Scripted):
    @workflow.run
    async def run(self, given: Any) -> State:
        return await self.play(given)


WORKFLOWS = (AgentExecution, TeamExecution, DynamicAgentExecution, ScheduledJobWrapper)


async def serve(address: str, queues: list[str]) -> None:
    client = await Client.connect(address)
    workers = [Worker(client, task_queue=queue, workflows=WORKFLOWS) for queue in queues]
    running = [asyncio.create_task(worker.run()) for worker in workers]
    print("scripted.ready", flush=True)
    await asyncio.gather(*running)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("queues", nargs="+")
    given = parser.parse_args()
    asyncio.run(serve(given.address, given.queues))


if __name__ == "__main__":
    main()
