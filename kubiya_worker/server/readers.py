"""This module lets reads of many rows wait for each other, so that nothing else waits for more than one of them.

The server has one thread. Of many lists that are asked for at once, each turn of the event loop serves one, and what
came in meanwhile goes before the next one: a worker's events, a person's answer, a heartbeat.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Readers:
    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for those who came before, and then for what came in meanwhile."""
        async with self._lock:
            await asyncio.sleep(0)
            yield
