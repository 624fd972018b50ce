"""This module is one client that waits until a log has grown.

`asyncio.wait_for` of an event makes a task, a timer and three more turns of the event loop, each time. A thousand
clients are woken ten times a second, so a watcher has one future for each wait, and one timer for all of them.
"""

from __future__ import annotations

import asyncio


class LogWatcher:
    def __init__(self) -> None:
        self.queued = False  # whether it is about to be woken (watchers.py)
        self._set = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._until = 0.0  # the time of the event loop when the wait ends

    def is_set(self) -> bool:
        return self._set

    def clear(self) -> None:
        self._set = False

    def set(self) -> None:
        self._set = True
        self._wake()

    async def wait(self, seconds: float) -> bool:
        """Return whether it was set, at the latest after so many seconds."""
        if self._set:
            return True
        loop = asyncio.get_running_loop()
        self._until = loop.time() + seconds
        if self._timer is None or self._timer.when() > self._until:
            self.close()
            self._timer = loop.call_at(self._until, self._look)
        self._waiter = loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        return self._set

    def close(self) -> None:
        """Forget the time: nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _look(self) -> None:
        """End the wait, unless it is a later one than that for which the timer was set."""
        self._timer = None
        loop = asyncio.get_running_loop()
        if self._waiter is None:
            return
        if loop.time() < self._until:
            self._timer = loop.call_at(self._until, self._look)
        else:
            self._wake()
