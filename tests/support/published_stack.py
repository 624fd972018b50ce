"""A stack with the double of the published control plane in the place of ours; Temporal and workers are real.

with PublishedStack(tmp_path) as stack:
    stack.worker()
    execution = stack.execute("demo:script [...]")
    stack.end(execution)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import requests
from temporalio.client import Client

from tests.support.event_stream import frames, in_time
from tests.support.published_plane import PublishedPlane
from tests.support.published_plane.world import World, workflow_id
from tests.support.stack import FINAL, Process, Stack, wait_until

T = TypeVar("T")
Event = dict[str, Any]


class PublishedStack(Stack):
    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **options)
        self.plane = PublishedPlane(temporal=self.temporal_address, port=self.port)
        self._agents: dict[str, str] = {}

    @property
    def world(self) -> World:
        return self.plane.world

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        super().__exit__(kind, error, at)
        if error is not None:
            print("--- published plane", *self.plane.world.seen[-60:], sep="\n")
        self.plane.__exit__(kind, error, at)

    def start_server(self) -> Process:
        self.plane.listen()
        (self.folder / "key").write_text(self.plane.key)
        assert self.temporal is not None
        return self.temporal

    def worker(self, queue: str = "", **options: Any) -> Process:
        return super().worker(queue or self.plane.queue_id, **options)

    def make_agent(self, name: str, skills: list[dict[str, Any]], fields: dict[str, Any]) -> str:
        return self.plane.agent(name, skills=skills, **fields)

    def execute(self, prompt: str, *, agent: str = "", queue: str = "", **body: Any) -> str:
        """Execute a prompt with the agent of this id, or else with one that has no skills of its own."""
        key = agent or self._agents.get("") or self.agent("ops")
        if not agent:
            self._agents[""] = key
        return super().execute(prompt, agent=key, queue=queue or self.plane.queue_id, **body)

    def chat(self, prompt: str, **body: Any) -> str:
        """An execution that the judge finds waiting for more after each turn."""
        return self.execute(prompt, execution_metadata={"interactive": True}, **body)

    def wait(self, execution_id: str, *statuses: str, timeout: float = 60.0) -> dict[str, Any]:
        """The row once it has one of the statuses (default: any final one)."""
        wanted = statuses or FINAL
        row = self.world.executions[execution_id]
        wait_until(lambda: row["status"] in wanted, timeout, f"{execution_id} is {' or '.join(wanted)}")
        return row

    def end(self, execution_id: str, timeout: float = 60.0) -> dict[str, Any]:
        """The row once the workflow has closed as well: nothing is written any more."""
        self.closed(execution_id, timeout)
        return self.world.executions[execution_id]

    def closed(self, execution_id: str, timeout: float = 60.0) -> str:
        """Return the status with which the workflow closed: COMPLETED, FAILED, CANCELED, TERMINATED."""
        found: list[str] = []

        def is_closed() -> bool:
            status = self.close_status(execution_id)
            found.extend([status] if status != "RUNNING" else [])
            return bool(found)

        wait_until(is_closed, timeout, f"the workflow of {execution_id} closes")
        return found[0]

    def close_status(self, execution_id: str) -> str:
        async def describe(client: Client) -> str:
            handle = client.get_workflow_handle(workflow_id(self.world.executions[execution_id]))
            status = (await handle.describe()).status
            return status.name if status else "RUNNING"

        return self.temporal_call(describe)

    def state(self, execution_id: str) -> dict[str, Any]:
        """Return the state that the workflow reports."""

        async def query(client: Client) -> dict[str, Any]:
            handle = client.get_workflow_handle(workflow_id(self.world.executions[execution_id]))
            told: dict[str, Any] = await handle.query("get_state")
            return told

        return self.temporal_call(query)

    def fire(self, job_id: str) -> None:
        """Run a job's schedule now."""

        async def trigger(client: Client) -> None:
            await client.get_schedule_handle(f"job-{job_id}").trigger()

        self.temporal_call(trigger)

    def temporal_call(self, ask: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        async def call() -> T:
            return await ask(await Client.connect(self.temporal_address))

        return asyncio.run(call())

    def watch(self, execution_id: str, timeout: float = 60.0) -> Iterator[Event]:
        """One connection to the stream, to its end: {id, event, data} as they come, nothing unwrapped."""
        url = f"{self.url}/api/v1/executions/{execution_id}/stream"
        deadline = time.monotonic() + timeout
        headers = {"Authorization": f"Bearer {self.key}"}
        with requests.Session() as http, http.get(url, headers=headers, stream=True, timeout=(5, 20)) as answer:
            answer.raise_for_status()
            lines = answer.iter_lines(chunk_size=None, decode_unicode=True)
            yield from frames(in_time(deadline, lines, f"the stream of {execution_id} has not ended in {timeout} s"))
