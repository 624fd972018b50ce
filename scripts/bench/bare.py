"""The baseline: a Temporal worker with nothing of ours, `python -m scripts.bench.bare --address A --queue Q`.

Its workflow makes the calls that it is told to, one after the other: local activities and regular ones that return
what they were given, with the options that our worker uses, so that both ask the server for the same.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker


@activity.defn
async def give_back(value: str) -> str:
    return value


@workflow.defn(name="Bare")
class Bare:
    @workflow.run
    async def run(self, steps: str) -> int:
        """`steps`: a letter for each call, L for a local activity and R for a regular one."""
        limit = timedelta(seconds=60)
        for step in steps:
            if step == "L":
                await workflow.execute_local_activity(give_back, step, start_to_close_timeout=limit)
            else:
                await workflow.execute_activity(
                    give_back, step, start_to_close_timeout=limit, heartbeat_timeout=timedelta(seconds=12)
                )
        return len(steps)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--slots", type=int, default=10)
    options = parser.parse_args()
    client = await Client.connect(options.address)
    worker = Worker(
        client,
        task_queue=options.queue,
        workflows=[Bare],
        activities=[give_back],
        max_concurrent_activities=options.slots,
        max_cached_workflows=200,
    )
    async with worker:
        print("bare.started", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        os._exit(0)
