"""A worker with the durable agents of pydantic-ai. It runs in the peers' environment; see `__main__`."""

from __future__ import annotations

import argparse
import asyncio
import os
from datetime import timedelta
from pathlib import Path

from pydantic_ai import Agent, UsageLimits
from pydantic_ai.durable_exec.temporal import PydanticAIPlugin, PydanticAIWorkflow, TemporalDurability
from pydantic_ai.models.openai import OpenAIChatModel
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.workflow import ActivityConfig

MODELS = os.environ["PEER_MODELS"].split(",")
NONE = UsageLimits(request_limit=None)
LIMIT = timedelta(seconds=60)


async def read_file(path: str) -> str:
    """Read a file of the workspace."""
    return (Path(os.environ["PEER_WORKSPACE"]) / path).read_text()


def durable(model: str) -> Agent:
    return Agent(
        OpenAIChatModel(model),
        name=f"bench-{model}",
        instructions="You are a helpful assistant.",
        tools=[read_file],
        capabilities=[TemporalDurability(activity_config=ActivityConfig(start_to_close_timeout=LIMIT))],
    )


AGENTS = {model: durable(model) for model in MODELS}


@workflow.defn
class Peer(PydanticAIWorkflow):
    __pydantic_ai_agents__ = tuple(AGENTS.values())

    @workflow.run
    async def run(self, model: str, prompt: str) -> str:
        return (await AGENTS[model].run(prompt, usage_limits=NONE)).output


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--slots", type=int, required=True)
    options = parser.parse_args()
    client = await Client.connect(options.address, plugins=[PydanticAIPlugin()])
    worker = Worker(
        client,
        task_queue=options.queue,
        workflows=[Peer],
        max_concurrent_activities=options.slots,
        max_cached_workflows=200,
    )
    async with worker:
        print("peer.started", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
