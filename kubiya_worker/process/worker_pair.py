"""The Temporal workers of a process: for its queue, for model calls that tools would hold up, and for its host.

A model call goes to the second queue while tools hold all slots of the first (`ActivityCounters.crowded`). It is polled
by the same process, with slots of its own. Model calls that find a free slot stay on the first queue, where Temporal
hands them to the worker that has their conversation in memory.

Calls about what only this host has, such as a long command, go to the third queue when a worker of another host has
taken them first. It is polled once there is such a thing on this host.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from temporalio.worker import Worker

SUFFIX: Final = ".models"  # of the second queue's name


def model_queue(task_queue: str) -> str:
    return f"{task_queue}{SUFFIX}"


class WorkerPair:
    """All of them as one. `models` is None where model calls have no slots of their own; `host` makes the third."""

    def __init__(self, main: Worker, models: Worker | None, host: Callable[[str], Worker]) -> None:
        self.workers = [main] if models is None else [main, models]
        self._host = host
        self._host_queue = ""
        self._decided = asyncio.Event()  # whether the host's queue is polled at all

    def poll_host(self, queue: str) -> None:
        """Poll the queue of this host from now on, unless that is so, or the shutdown has begun."""
        if not self._decided.is_set():
            self._host_queue = queue
            self._decided.set()

    async def run(self) -> None:
        """Run until `shutdown`. Raise the error of the first worker that fails."""
        running = [asyncio.create_task(worker.run()) for worker in self.workers]
        running.append(asyncio.create_task(self._run_host()))
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
            for task in running:
                if task.done():
                    task.result()
        finally:
            for task in running:
                task.cancel()

    async def _run_host(self) -> None:
        await self._decided.wait()
        if self._host_queue:
            worker = self._host(self._host_queue)
            self.workers.append(worker)
            await worker.run()

    async def shutdown(self) -> None:
        """Stop polling, and return when the steps of all workers are over."""
        self._decided.set()
        await asyncio.gather(*(worker.shutdown() for worker in self.workers))
