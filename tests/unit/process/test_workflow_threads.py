"""The event loop runs small tasks of our own workflows itself; threads run all others."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any

import pytest
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.worker import _workflow

from kubiya_worker.process.workflow_threads import LARGEST, MOST_JOBS, WorkflowThreads, is_small


class Running:
    """A stand-in for the SDK's running workflow."""

    instance = "ours"

    def __init__(self, work: Callable[[], Any] = threading.get_ident) -> None:
        self._work = work

    def activate(self, _: WorkflowActivation) -> Any:
        loop = asyncio._get_running_loop()
        try:
            return self._work()
        finally:
            if loop is not None:
                asyncio._set_running_loop(None)  # as the SDK's workflow loop leaves it


def resolved(jobs: int = 1, size: int = 10) -> WorkflowActivation:
    activation = WorkflowActivation()
    for _ in range(jobs):
        activation.jobs.add().resolve_activity.result.completed.result.data = b"x" * size
    return activation


def of(variant: str) -> WorkflowActivation:
    activation = WorkflowActivation()
    getattr(activation.jobs.add(), variant).SetInParent()
    return activation


async def thread_of(running: Running, activation: WorkflowActivation, own: bool = True) -> Any:
    threads = WorkflowThreads(lambda instance: own and instance == "ours")
    return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(threads, running.activate, activation), 30)


async def test_the_event_loop_runs_a_small_task_of_ours() -> None:
    for activation in (resolved(), of("initialize_workflow"), of("signal_workflow"), of("fire_timer")):
        assert await thread_of(Running(), activation) == threading.get_ident()
        assert asyncio.get_running_loop() is not None


async def test_a_thread_runs_every_other_task() -> None:
    replayed = resolved()
    replayed.is_replaying = True
    slow = [of("query_workflow"), of("remove_from_cache"), of("do_update")]
    for activation in (replayed, resolved(jobs=MOST_JOBS + 1), resolved(size=LARGEST), *slow):
        assert not is_small(activation)
        assert await thread_of(Running(), activation) != threading.get_ident()
    assert await thread_of(Running(), resolved(), own=False) != threading.get_ident()


async def test_a_failure_is_the_callers_and_the_loop_goes_on() -> None:
    def fail() -> None:
        raise LookupError("broke")

    with pytest.raises(LookupError, match="broke"):
        await thread_of(Running(fail), resolved())
    assert asyncio.get_running_loop().is_running()


async def test_a_task_that_was_cancelled_before_it_ran_does_not_run() -> None:
    ran: list[int] = []
    threads = WorkflowThreads(lambda _: True)
    future = threads.submit(Running(lambda: ran.append(1)).activate, resolved())
    assert future.cancel()
    await asyncio.sleep(0.01)
    assert ran == []


async def test_it_runs_outside_of_the_callers_task() -> None:
    assert await thread_of(Running(asyncio.current_task), resolved()) is None


def test_the_sdk_still_submits_tasks_in_the_way_that_is_expected() -> None:
    """A version of the SDK that submits them in another way runs them in threads, as before."""
    source = "".join(inspect.getsource(_workflow._WorkflowWorker).split())
    assert "run_in_executor(self._workflow_task_executor,workflow.activate,act,)" in source
    assert "self.instance=instance" in "".join(inspect.getsource(_workflow._RunningWorkflow).split())
