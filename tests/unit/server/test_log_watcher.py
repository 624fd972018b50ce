"""One client's wait: it ends when it is set, or at its time, and a later wait is not ended by an earlier one's time."""

from __future__ import annotations

import asyncio

import pytest

from kubiya_worker.server.log_watcher import LogWatcher

LONG = 60.0


async def test_it_is_set_before_or_while_it_is_waited_for() -> None:
    watcher = LogWatcher()
    watcher.set()
    assert await watcher.wait(LONG)
    watcher.clear()
    asyncio.get_running_loop().call_soon(watcher.set)
    assert await watcher.wait(LONG)
    watcher.close()


async def test_a_wait_ends_at_its_time_however_the_one_before_it_ended() -> None:
    watcher, loop = LogWatcher(), asyncio.get_running_loop()
    began = loop.time()
    assert not await watcher.wait(0.02)
    assert loop.time() - began >= 0.02
    loop.call_soon(watcher.set)
    assert await watcher.wait(0.03)  # its timer stays
    watcher.clear()
    began = loop.time()
    assert not await watcher.wait(0.1)
    assert loop.time() - began >= 0.1, "the timer of the wait before it did not end it"
    loop.call_soon(watcher.set)
    assert await watcher.wait(LONG)
    watcher.clear()
    assert not await watcher.wait(0.01), "a shorter one does not wait for a longer one's timer"
    watcher.close()


async def test_a_wait_that_is_cancelled_can_be_set_and_closed() -> None:
    watcher = LogWatcher()
    waiting = asyncio.create_task(watcher.wait(LONG))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    watcher.set()
    assert watcher.is_set()
    watcher.close()
