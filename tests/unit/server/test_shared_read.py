"""Reads that those share who ask at one time."""

from __future__ import annotations

import asyncio

import pytest

from kubiya_worker.server.shared_read import SharedRead


class Source:
    """Have a value that changes. A read takes it when it begins, and ends when it is let go."""

    def __init__(self) -> None:
        self.value, self.reads = 0, 0
        self.go = asyncio.Event()

    async def read(self) -> int:
        self.reads += 1
        value = self.value
        await self.go.wait()
        if value < 0:
            raise ValueError(value)
        return value


async def asked(shared: SharedRead[int], source: Source, many: int = 1) -> list[asyncio.Task[int]]:
    tasks = [asyncio.ensure_future(shared.get("k", source.read)) for _ in range(many)]
    await asyncio.sleep(0.01)
    return tasks


async def test_who_asks_during_a_read_waits_for_one_that_begins_later() -> None:
    shared, source = SharedRead[int](), Source()
    early = await asked(shared, source)
    source.value = 1
    late = await asked(shared, source, 50)
    source.go.set()
    assert await early[0] == 0
    assert await asyncio.gather(*late) == [1] * 50, "the value of a read that had begun is too old for them"
    assert source.reads == 2
    assert await shared.get("k", source.read) == 1 and source.reads == 3


async def test_an_error_reaches_all_and_the_next_read_is_a_new_one() -> None:
    shared, source = SharedRead[int](), Source()
    first = await asked(shared, source)
    source.value = -1
    tasks = await asked(shared, source, 3)
    source.go.set()
    await first[0]
    for task in tasks:
        with pytest.raises(ValueError, match="-1"):
            await task
    source.value = 5
    assert await shared.get("k", source.read) == 5


async def test_one_who_leaves_takes_the_read_from_nobody() -> None:
    shared, source = SharedRead[int](), Source()
    first = await asked(shared, source)
    leaves, stays = await asked(shared, source, 2)
    leaves.cancel()
    first[0].cancel()
    source.go.set()
    assert await stays == 0
