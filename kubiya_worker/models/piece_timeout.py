"""This module limits how long a model call may take: each piece of it, and the whole."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable
from typing import Any, TypeVar

from kubiya_worker.models import faults
from kubiya_worker.models.connection import Connection

T = TypeVar("T")


class PieceTimeout:
    """The time limits of a call: the connection's idle timeout for each piece, and `limit` seconds for the whole."""

    def __init__(self, connection: Connection, limit: Any) -> None:
        self._place = connection.place
        self._idle = connection.idle_timeout
        self._limit = float(limit) if isinstance(limit, (int, float)) and limit > 0 else None
        self._started = asyncio.get_running_loop().time()

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Return the result of `awaitable`; raise ModelError when it takes too long."""
        left = math.inf
        if self._limit is not None:
            left = self._started + self._limit - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(self._idle, left)):
                return await awaitable
        except TimeoutError:
            if self._limit is not None and left < self._idle:
                raise faults.overtime(self._place, self._limit) from None
            raise faults.silence(self._place, self._idle) from None
