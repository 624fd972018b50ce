"""A worker with the plugin openai-agents of Temporal's library. It runs in the peers' environment; see `__main__`."""

from __future__ import annotations

import argparse
import asyncio
import os
from datetime import timedelta
from pathlib import Path

from agents import Agent, ModelSettings, OpenAIProvider, RunConfig, Runner
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.openai_agents import ModelActivityParameters, OpenAIAgentsPlugin
from temporalio.openai_agents.workflow import activity_as_tool
from temporalio.worker import Worker

LIMIT = timedelta(seconds=60)


@activity.defn
async def read_file(path: str) -> str:
    """Read a file of the workspace."""
    return (Path(os.environ["PEER_WORKSPACE"]) / path).read_text()


@workflow.defn
class Peer:
    @workflow.run
    async def run(self, model: str, prompt: str) -> str:
        agent = Agent(
            name="bench",
            instructions="You are a helpful assistant.",
            model=model,
            model_settings=ModelSettings(include_usage=True),
            tools=[activity_as_tool(read_file, start_to_close_timeout=LIMIT)],
        )
        result = await Runner.run(agent, prompt, max_turns=1000, run_config=RunConfig(tracing_disabled=True))
        return str(result.final_output)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--slots", type=int, required=True)
    options = parser.parse_args()
    plugin = OpenAIAgentsPlugin(
        model_params=ModelActivityParameters(start_to_close_timeout=LIMIT),
        model_provider=OpenAIProvider(use_responses=False),
    )
    client = await Client.connect(options.address, plugins=[plugin])
    worker = Worker(
        client,
        task_queue=options.queue,
        workflows=[Peer],
        activities=[read_file],
        max_concurrent_activities=options.slots,
        max_cached_workflows=200,
    )
    async with worker:
        print("peer.started", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
