"""The cut at the end of the grace period: what custom activities, in a thread, in the loop and local ones, get then."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from tests.support.stack import Process, Stack, wait_until

EXTENSION = """
import asyncio, json, os, time
from datetime import timedelta
from pathlib import Path
from temporalio import activity, workflow

LIMIT = timedelta(seconds=90)


def tell(word, **facts):
    path = Path(os.environ["TOLD"]) / f"{activity.info().activity_type}.{activity.info().attempt}.{word}"
    path.write_text(json.dumps(facts))


def ended(error):
    details = activity.cancellation_details()
    tell("cut", error=type(error).__module__ + "." + type(error).__name__, cancelled=activity.is_cancelled(),
         shutdown=bool(details and details.worker_shutdown), asked=bool(details and details.cancel_requested))


@activity.defn
def in_a_thread() -> str:
    tell("began")
    if activity.info().attempt > 1:
        return "again"
    try:
        while True:
            time.sleep(0.01)
    except BaseException as error:
        ended(error)
        raise


@activity.defn
async def in_the_loop() -> str:
    tell("began")
    if activity.info().attempt > 1:
        return "again"
    try:
        await asyncio.sleep(600)
    except BaseException as error:
        ended(error)
        raise


@activity.defn
async def local() -> str:
    tell("began")
    if Path(os.environ["TOLD"], "local.over").exists():
        return "again"
    try:
        await asyncio.sleep(600)
    except BaseException as error:
        ended(error)
        raise


@workflow.defn
class Steps:
    @workflow.run
    async def run(self, kind: str) -> str:
        if kind == "local":
            return await workflow.execute_local_activity("local", start_to_close_timeout=LIMIT)
        return await workflow.execute_activity(kind, start_to_close_timeout=LIMIT)
"""


class Steps:
    """A workflow of one step, of a kind, that runs on a worker with a grace period of a second."""

    def __init__(self, stack: Stack, folder: Path, kind: str) -> None:
        (folder / "steps_extension.py").write_text(EXTENSION)
        self.stack, self.folder, self.kind = stack, folder, kind
        self.queue = stack.queue(f"q-{uuid.uuid4().hex[:8]}")
        self.id = f"steps-{self.queue}"
        self.worker = self.start()
        task = timedelta(seconds=3)  # how soon the next worker hears of a workflow task that was cut
        self.do(lambda c: c.start_workflow("Steps", kind, id=self.id, task_queue=self.queue, task_timeout=task))
        self.told("began")

    def start(self) -> Process:
        extension = str(self.folder / "steps_extension.py")
        return self.stack.worker(
            self.queue, KUBIYA_EXTENSIONS=extension, TOLD=str(self.folder), KUBIYA_GRACE_PERIOD="1"
        )

    def told(self, word: str, attempt: int = 1) -> dict[str, Any]:
        path = self.folder / f"{self.kind}.{attempt}.{word}"
        wait_until(lambda: path.exists() and path.read_text(), 30, f"{path.name} is written")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def do(self, call: Any) -> Any:
        async def connected() -> Any:
            return await call(await Client.connect(self.stack.temporal_address))

        return asyncio.run(connected())

    def result(self) -> str:
        return str(self.do(lambda client: client.get_workflow_handle(self.id).result()))

    def events(self) -> list[Any]:
        async def fetch(client: Client) -> list[Any]:
            return [event async for event in client.get_workflow_handle(self.id).fetch_history_events()]

        found: list[Any] = self.do(fetch)
        return found


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("in_a_thread", "temporalio.exceptions.CancelledError"),
        ("in_the_loop", "asyncio.exceptions.CancelledError"),
    ],
)
def test_the_cut_cancels_a_custom_activity_and_the_next_worker_tries_it_again(
    stack: Stack, tmp_path: Path, kind: str, error: str
) -> None:
    steps = Steps(stack, tmp_path, kind)
    began = time.monotonic()
    steps.worker.signal(signal.SIGTERM)
    assert steps.worker.wait() == 0, steps.worker.lines
    assert time.monotonic() - began >= 1.0  # its step would take ten minutes more
    assert steps.told("cut") == {"error": error, "cancelled": True, "shutdown": True, "asked": False}
    steps.start()
    assert steps.result() == "again"
    (started,) = [
        event.activity_task_started_event_attributes
        for event in steps.events()
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED
    ]
    assert started.attempt == 2
    failure = started.last_failure
    assert failure.application_failure_info.type == "WorkerShutdown"
    assert not failure.application_failure_info.non_retryable


def test_a_local_activity_that_is_cut_is_not_held_against_its_workflow(stack: Stack, tmp_path: Path) -> None:
    """The workflow must not hear of a cancellation that nobody asked for: the next worker runs the step anew."""
    steps = Steps(stack, tmp_path, "local")
    steps.worker.signal(signal.SIGTERM)
    assert steps.worker.wait() == 75, steps.worker.lines
    steps.worker.expect("worker.forced active=1")
    assert steps.told("cut")["error"] == "asyncio.exceptions.CancelledError"
    (tmp_path / "local.over").touch()
    steps.start()
    assert steps.result() == "again"
    (marker,) = [event for event in steps.events() if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED]
    assert not marker.marker_recorded_event_attributes.HasField("failure")
