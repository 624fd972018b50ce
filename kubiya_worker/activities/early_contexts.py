"""Contexts that were asked for before the first step of their executions, while Temporal still hands that step over.

The answer of the control plane is usually there when the step begins, so the step need not wait for it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

STALE: Final = 2.0  # seconds: rules that are older are asked for again (authority.FRESH)
LIMIT: Final = 200  # executions whose context is asked for at a time

Told = dict[str, Any] | None  # an execution's context; None where it has to be read in another way
Read = Callable[[str], Awaitable[Told]]


class EarlyContexts:
    """The contexts of executions that are about to begin on this worker. For one event loop."""

    def __init__(self, read: Read, clock: Callable[[], float] = time.monotonic) -> None:
        """Take `read`, which reads the context of an execution id, and raises nothing."""
        self._read, self._clock = read, clock
        self._asked: OrderedDict[str, tuple[float, asyncio.Task[Told]]] = OrderedDict()

    def ask(self, execution_id: str) -> None:
        """Ask for a context that will be taken soon."""
        self._asked[execution_id] = self._clock(), asyncio.ensure_future(self._read(execution_id))
        while len(self._asked) > LIMIT:  # of those that failed before their first step
            self._asked.popitem(last=False)

    async def take(self, execution_id: str) -> tuple[float, Told]:
        """Return when a context was asked for (seconds of the clock), and the context. Ask now if nobody has."""
        began, task = self._asked.pop(execution_id, (0.0, None))
        if task is None or self._clock() - began > STALE:
            began, task = self._clock(), asyncio.ensure_future(self._read(execution_id))
        return began, await task
