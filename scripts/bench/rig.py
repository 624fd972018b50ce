"""The rig of most benches: one stack, one worker of ours, one bare worker, and a client of each."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from temporalio.client import Client

from scripts.bench.client import ApiClient
from tests.support.stack import Process, Stack

Step = dict[str, Any]  # what the demo model answers: a text, tools

FILES = {"name": "files", "type": "file_system", "configuration": {}}
BARE_QUEUE = "bare"
NOTE_STEP: Step = {"tools": [{"name": "read_file", "arguments": {"path": "note"}}]}  # asks for a small, real tool call

T = TypeVar("T")


class Rig:
    """`async` work is run with `run`, on one event loop for the whole bench."""

    def __init__(self, stack: Stack, slots: int) -> None:
        self.stack, self.slots = stack, slots
        self.loop = asyncio.new_event_loop()
        self.api = ApiClient("127.0.0.1", stack.port, stack.key)
        self.temporal = self.run(Client.connect(stack.temporal_address))
        self.workspace = stack.folder / "workspace"
        self.workspace.mkdir()
        (self.workspace / "note").write_text("nothing new\n")
        self.agent = stack.agent("bench", skills=[FILES])
        self.queue = stack.queue("bench")
        self.worker: Process | None = None
        self.bare: Process | None = None

    def run(self, work: Awaitable[T]) -> T:
        return self.loop.run_until_complete(work)

    def start(self, **env: str) -> Rig:
        self.worker = self.stack.worker(self.queue, ready=True, MAX_CONCURRENT_ACTIVITIES=str(self.slots), **env)
        self.bare = self.start_bare()
        self.bare.expect("bare.started")
        return self

    def start_bare(self, queue: str = BARE_QUEUE) -> Process:
        module = [sys.executable, "-m", "scripts.bench.bare", "--address", self.stack.temporal_address]
        return self.stack.start([*module, "--queue", queue, "--slots", str(self.slots)])

    async def execute(self, prompt: str) -> float:
        return await self.api.run(self.agent, self.queue, prompt, str(self.workspace))

    async def execute_bare(self, steps: str) -> float:
        began = time.monotonic()
        await self.temporal.execute_workflow("Bare", steps, id=f"bare-{uuid.uuid4().hex}", task_queue=BARE_QUEUE)
        return time.monotonic() - began

    async def many(self, total: int, at_once: int, one: Callable[[], Awaitable[float]]) -> float:
        """Seconds that `total` of them take with `at_once` under way."""
        left = iter(range(total))

        async def go() -> None:
            for _ in left:
                await one()

        began = time.monotonic()
        await asyncio.gather(*(go() for _ in range(min(at_once, total))))
        return time.monotonic() - began

    def close(self) -> None:
        self.run(self.api.close())
        self.loop.close()


@contextmanager
def rig(*, slots: int = 10) -> Iterator[Rig]:
    with tempfile.TemporaryDirectory(prefix="kubiya-bench-") as folder, Stack(Path(folder)) as stack:
        made = Rig(stack, slots)
        try:
            yield made
        finally:
            made.close()
