"""Temporal lists each of many workers on one queue as a poller."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker

from kubiya_worker.process.pollers import ACTIVITY, WORKFLOW, Pollers
from scripts.bench.bare import Bare, give_back
from tests.support.stack import Stack

WORKERS = 12
WITHIN = 40.0  # seconds; out of sight a poll stays for a minute


def test_the_poll_of_each_of_many_workers_is_found_at_whichever_partition_it_waits(tmp_path: Path) -> None:
    async def seen(stack: Stack) -> list[set[str]]:
        async with contextlib.AsyncExitStack() as started:
            found = []
            for number in range(WORKERS):
                client = await Client.connect(stack.temporal_address, identity=f"worker-{number}")
                worker = Worker(client, task_queue="q", workflows=[Bare], activities=[give_back])
                await started.enter_async_context(worker)
                polls = Pollers(client, "q", client.identity)
                deadline = asyncio.get_running_loop().time() + WITHIN
                kinds: set[str] = set()
                while len(kinds) < 2 and asyncio.get_running_loop().time() < deadline:
                    kinds = set(await polls())
                    await asyncio.sleep(0.05)
                found.append(kinds)
            return found

    stack = Stack(tmp_path)
    stack.start_temporal()
    try:
        assert asyncio.run(seen(stack)) == [{WORKFLOW, ACTIVITY}] * WORKERS
    finally:
        for process in stack.processes:
            process.kill()
        stack.http.close()
