"""Tests of the recorder that tells what held the event loop, with its place."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from kubiya_worker.server.lag import LagRecorder


def work_that_holds(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


async def test_what_held_the_loop_is_told_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    recorder = LagRecorder(held=0.05)
    task = asyncio.create_task(recorder.run())
    with caplog.at_level(logging.WARNING, "kubiya_worker.server.lag"):
        async with asyncio.timeout(60):
            while "work_that_holds" not in caplog.text:  # on a busy machine something else may be seen first
                await asyncio.sleep(0.05)
                work_that_holds(0.3)
                await asyncio.sleep(0.05)
    assert recorder.seconds > 0.1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
