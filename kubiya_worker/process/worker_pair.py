"""The two Temporal workers of a process: one for the queue, and one for model calls that tools would hold up.

A model call goes to the second queue while tools hold all slots of the first (`ActivityCounters.crowded`). It is polled
by the same process, with slots of its own. Model calls that find a free slot stay on the first queue, where Temporal
hands them to the worker that has their conversation in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from temporalio.worker import Worker

SUFFIX: Final = ".models"  # of the second queue's name


def model_queue(task_queue: str) -> str:
    return f"{task_queue}{SUFFIX}"


class WorkerPair:
    """Both workers as one. `models` is None where model calls have no slots of their own."""

    def __init__(self, main: Worker, models: Worker | None = None) -> None:
        self.workers: Sequence[Worker] = [main] if models is None else [main, models]

    async def run(self) -> None:
        """Run until `shutdown`. Raise the error of the first worker that fails."""
        running = [asyncio.create_task(worker.run()) for worker in self.workers]
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
            for task in running:
                if task.done():
                    task.result()
        finally:
            for task in running:
                task.cancel()

    async def shutdown(self) -> None:
        """Stop polling, and return when the steps of both are over."""
        await asyncio.gather(*(worker.shutdown() for worker in self.workers))
