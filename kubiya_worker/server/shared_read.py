"""This module lets all who ask for the same at one time share one read; nobody gets what was read before they asked.

Hundreds of clients that follow one execution are woken together, and its database has a few connections for reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedRead(Generic[T]):
    def __init__(self) -> None:
        self._now: dict[Hashable, asyncio.Task[T]] = {}
        self._next: dict[Hashable, asyncio.Task[T]] = {}  # not begun yet: whoever asks now may have its result

    async def get(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Return the result of a read that begins after this call. It goes on when one who waits for it leaves."""
        task = self._next.get(key)
        if task is None:
            before = self._now.get(key)
            task = asyncio.ensure_future(self._read(key, before, read))
            task.add_done_callback(_seen)
            (self._now if before is None else self._next)[key] = task
        return await asyncio.shield(task)

    async def _read(self, key: Hashable, before: asyncio.Task[T] | None, read: Callable[[], Awaitable[T]]) -> T:
        if before is not None:
            await asyncio.wait([before])
            self._now[key] = self._next.pop(key)
        try:
            return await read()
        finally:
            del self._now[key]


def _seen(task: asyncio.Task[T]) -> None:
    """Take the error of a read for which nobody waits any more: asyncio would log it as forgotten."""
    if not task.cancelled():
        task.exception()
