"""The executor of workflow tasks: the event loop runs the small ones of our own workflows itself, threads all others.

The SDK gives each task to a thread, so that a workflow that hangs does not hold up the worker. Our own workflows do no
heavy work, so their usual task is shorter than the hand-over to a thread and back. Threads keep what can take long or
is not ours: workflows of extensions, replays, queries, removals, and tasks with many or large payloads. A workflow of
ours that hung all the same would stop the event loop, which the watchdog notices (health.py).
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from kubiya_worker.process.first_task import beginning

THREADS: Final = 500  # the SDK's own number
MOST_JOBS: Final = 8  # of a task for the event loop
LARGEST: Final = 65_536  # bytes of a task for the event loop: about a millisecond of JSON
SLOW: Final = ("query_workflow", "remove_from_cache", "do_update")


class WorkflowThreads(ThreadPoolExecutor):
    """Runs a workflow task by the event loop that submits it, if the task is small and `is_own` accepts its workflow.

    `is_own` gets the SDK's workflow instance. `expect` gets the id of each execution that is about to begin.
    """

    def __init__(self, is_own: Callable[[Any], bool], expect: Callable[[str], None] = lambda _: None) -> None:
        super().__init__(THREADS, "workflow")
        self._is_own, self._expect = is_own, expect

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run `fn(activation)`, which the SDK calls for each task; `fn` is a method of the running workflow."""
        instance = getattr(getattr(fn, "__self__", None), "instance", None)
        if instance is None or len(args) != 1 or not self._is_own(instance) or not is_small(args[0]):
            return super().submit(fn, *args, **kwargs)
        begins = beginning(args[0])
        if begins is not None:
            self._expect(begins)
        future: Future[Any] = Future()
        # A step of its own, as in a thread: outside the task and the context of the caller.
        asyncio.get_running_loop().call_soon(_run, future, fn, args[0], context=contextvars.Context())
        return future


def is_small(activation: Any) -> bool:
    """Return True when a task is a usual one: a few results or signals for a workflow that is in memory."""
    if activation.is_replaying or len(activation.jobs) > MOST_JOBS:
        return False
    if any(job.WhichOneof("variant") in SLOW for job in activation.jobs):
        return False
    return int(activation.ByteSize()) <= LARGEST


def _run(future: Future[Any], fn: Callable[[Any], Any], activation: Any) -> None:
    if not future.set_running_or_notify_cancel():
        return
    loop = asyncio.get_running_loop()
    try:
        result = fn(activation)
    except BaseException as error:
        asyncio._set_running_loop(loop)
        future.set_exception(error)
    else:
        asyncio._set_running_loop(loop)  # the workflow's own loop ran meanwhile, and left none
        future.set_result(result)
