"""This module has several loops hand a worker's activities to Python, where the SDK has one.

A turn of such a loop hands over one activity and takes several turns of the event loop. So where many executions run at
once, activities queue up for it, and those that are not local wait behind all that are. Measured with 50 executions on
a busy host: model calls waited for 1.1 s (median) to 16 s, and Temporal gave some up after 12 s without a heartbeat;
with four loops they wait for 0.04 s to 0.24 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import structlog
from temporalio.worker import Worker

log = structlog.get_logger()

LOOPS: Final = 4


def dispatch_side_by_side(worker: Worker) -> None:
    """Have LOOPS loops hand over the worker's activities. The SDK has no option for it, so its attribute is set."""
    try:
        activities: Any = worker._activity_worker
        if activities is not None:
            activities.run = partial(side_by_side, activities.run)
    except AttributeError as error:  # private parts of the library, which may change: one loop does the same, slower
        log.warning("worker.one_dispatch_loop", error=str(error))


async def side_by_side(run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run LOOPS loops until all have ended, as at the shutdown of the worker. Raise the error of one that fails."""
    loops = [asyncio.create_task(run()) for _ in range(LOOPS)]
    try:
        await asyncio.gather(*loops)
    finally:
        for loop in loops:
            loop.cancel()
