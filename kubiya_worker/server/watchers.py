"""This module knows the clients that follow executions: it wakes them, and renders each page of a log once for all.

One event wakes each client of its execution, and each delivery costs the event loop about 0.1 ms. So where many follow
one execution, they are woken less often, and get what has gathered: with 500 clients ten times a second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kubiya_worker.protocol import events as ev
from kubiya_worker.server.log_watcher import LogWatcher
from kubiya_worker.server.shared_read import SharedRead
from kubiya_worker.server.store.events import Events
from kubiya_worker.server.store.stored_events import StoredEvents
from kubiya_worker.server.stream_frames import shown

PAGE: Final = 200  # events in one read
LARGEST_PAGE: Final = 1 << 20  # bytes of rendered text; an event that is larger is a page of its own
FEW: Final = 25  # clients that are woken at each event
GATHER: Final = 0.0002  # seconds for each client more
LONGEST_GATHER: Final = 0.1  # seconds
AT_ONCE: Final = 10  # clients that are woken in one turn of the event loop: about 1 ms


@dataclass(frozen=True)
class LogPage:
    """A part of a log as a stream sends it. `last` is its last number; `more` says that events follow already."""

    text: bytes
    last: int
    more: bool
    done: bool


Kept = tuple[int, int, LogPage]  # of an execution: from where, the log's last number then, the page


def gathering(clients: int) -> float:
    """Return the seconds to gather events before so many clients are woken. Pure."""
    return min(LONGEST_GATHER, max(0, clients - FEW) * GATHER)


class Watchers:
    def __init__(self, events: Events) -> None:
        self._events = events
        self.told: Callable[[str], None] | None = None  # set where other servers have clients, too
        self._waiting: dict[str, dict[LogWatcher, None]] = {}  # in the order in which they came
        self._queue: deque[LogWatcher] = deque()  # of those who are to be woken
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._pages: dict[str, Kept] = {}
        self._reads: SharedRead[tuple[int, LogPage | None]] = SharedRead()

    def join(self, execution_id: str) -> LogWatcher:
        """Return a watcher that is set whenever the log of the execution has grown."""
        watcher = LogWatcher()
        self._waiting.setdefault(execution_id, {})[watcher] = None
        return watcher

    def leave(self, execution_id: str, watcher: LogWatcher) -> None:
        watcher.close()
        waiting = self._waiting.get(execution_id, {})
        waiting.pop(watcher, None)
        if not waiting:
            self._waiting.pop(execution_id, None)
            self._pages.pop(execution_id, None)
            if timer := self._timers.pop(execution_id, None):
                timer.cancel()

    def count(self) -> int:
        """Return the number of open streams."""
        return sum(map(len, self._waiting.values()))

    def grew(self, execution_id: str) -> None:
        """Wake the clients of an execution, here and of other servers."""
        self.wake(execution_id)
        if self.told is not None:
            self.told(execution_id)

    def followed(self) -> list[str]:
        """Return the executions that clients follow."""
        return list(self._waiting)

    def wake(self, execution_id: str) -> None:
        """Wake the clients of an execution, at once or together with what comes next."""
        waiting = self._waiting.get(execution_id)
        if not waiting or execution_id in self._timers:
            return
        if delay := gathering(len(waiting)):
            loop = asyncio.get_running_loop()
            self._timers[execution_id] = loop.call_later(delay, self._wake_now, execution_id)
        else:  # they are few: they do not wait behind the many of another execution
            for watcher in waiting:
                watcher.set()

    def wake_all(self) -> None:
        """Wake everybody now: the server stops."""
        for waiting in self._waiting.values():
            for watcher in waiting:
                watcher.set()

    def _wake_now(self, execution_id: str) -> None:
        self._timers.pop(execution_id, None)
        idle = not self._queue
        for watcher in self._waiting.get(execution_id, ()):
            if not watcher.queued:
                watcher.queued = True
                self._queue.append(watcher)
        if idle:
            self._wake_some()

    def _wake_some(self) -> None:
        """Wake some in this turn of the event loop and the others in the next ones: who else asks comes in between."""
        for _ in range(min(AT_ONCE, len(self._queue))):
            watcher = self._queue.popleft()
            watcher.queued = False
            watcher.set()
        if self._queue:
            asyncio.get_running_loop().call_soon(self._wake_some)

    async def page(self, execution_id: str, sequence: int) -> LogPage | None:
        """Return the events behind the number `sequence`, None without any. Clients at one place share it."""
        kept = self._pages.get(execution_id)
        if self._events.shared:
            last, page = await self._reads.get(
                (execution_id, sequence),
                lambda: self._events.reading(lambda log: _page(log, execution_id, sequence, kept)),
            )
        else:
            last, page = _page(self._events, execution_id, sequence, kept)
        if page is not None and len(self._waiting.get(execution_id, ())) > 1:
            self._pages[execution_id] = (sequence, last, page)
        return page


def _page(log: StoredEvents, execution_id: str, sequence: int, kept: Kept | None) -> tuple[int, LogPage | None]:
    """Return the log's last number, and the page behind a number: the one that is kept, if it is that."""
    last = log.last(execution_id)
    if sequence >= last:
        return last, None
    if kept is not None and kept[:2] == (sequence, last):
        return last, kept[2]
    return last, _rendered(log, execution_id, sequence, last)


def _rendered(log: StoredEvents, execution_id: str, sequence: int, last: int) -> LogPage | None:
    texts: list[bytes] = []
    size, done, begin = 0, False, sequence
    for event in log.after(execution_id, sequence, PAGE):
        if event.event_type == ev.DONE and log.taken_up(execution_id, event.sequence):
            sequence = event.sequence  # clients leave at `done`, and the execution went on
            continue
        text = shown(execution_id, event).encode()
        if texts and size + len(text) > LARGEST_PAGE:
            break
        texts.append(text)
        size += len(text)
        sequence = event.sequence
        done = done or event.event_type == ev.DONE
    return LogPage(b"".join(texts), sequence, more=sequence < last, done=done) if sequence > begin else None
