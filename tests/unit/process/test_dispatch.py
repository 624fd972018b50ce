"""Several loops hand over a worker's activities: they end together, and the error of one is the worker's."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import cast

import pytest
from temporalio.worker import Worker
from temporalio.worker._activity import _ActivityWorker

from kubiya_worker.process.dispatch import LOOPS, dispatch_side_by_side, side_by_side


async def test_all_loops_run_at_once_and_end_when_the_worker_shuts_down() -> None:
    began, shut_down = asyncio.Semaphore(0), asyncio.Event()

    async def run() -> None:
        began.release()
        await shut_down.wait()

    running = asyncio.create_task(side_by_side(run))
    for _ in range(LOOPS):
        await began.acquire()
    shut_down.set()
    await running


async def test_the_error_of_one_ends_all() -> None:
    cancelled, number = [], iter(range(LOOPS))

    async def run() -> None:
        mine = next(number)
        if mine == 1:
            raise RuntimeError("Activity worker failed")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(mine)
            raise

    with pytest.raises(RuntimeError, match="Activity worker failed"):
        await side_by_side(run)
    await asyncio.sleep(0)
    assert cancelled == [0, 2, 3]


def test_the_sdk_still_has_one_loop_that_is_called_where_we_replace_it() -> None:
    """A version of the SDK that hands over activities in another way needs another way to do it side by side."""
    assert "self._activity_worker.run()" in inspect.getsource(Worker)
    assert inspect.getsource(_ActivityWorker.run).count("poll_activity_task()") == 1


def test_a_library_with_other_private_parts_keeps_its_own_loop() -> None:
    worker = SimpleNamespace(_activity_worker=SimpleNamespace())
    dispatch_side_by_side(cast(Worker, worker))
    assert vars(worker._activity_worker) == {}
    dispatch_side_by_side(cast(Worker, SimpleNamespace()))
