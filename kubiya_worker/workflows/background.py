"""This module runs work that a signal handler starts and nobody waits for at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from temporalio import workflow


class BackgroundTasks:
    """Work that is under way, such as signals to other workflows. A workflow waits for it before a turn ends."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()  # a task that nobody holds may be collected while it runs

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start work. It runs after work that was started before."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Wait until no work is under way."""
        await workflow.wait_condition(lambda: not self._tasks)
