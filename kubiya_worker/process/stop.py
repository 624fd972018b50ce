"""How a worker is asked to stop: signals become events on the loop, and a thread that ends the process all the same.

SIGQUIT drains: no new work, and what runs has all the time it needs. SIGTERM, SIGINT or SIGHUP stops, also a worker
that drains: what runs has the grace period; a second one more than 1 s later forces. When the event loop does not come
to an end in time, the thread kills what tools have started and leaves with 75.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import signal
import threading
import time
from collections.abc import Callable
from typing import Final, NoReturn

import structlog

from kubiya_worker.errors import EX_TEMPFAIL
from kubiya_worker.process.leaving import leave

log = structlog.get_logger()

FORCE_AFTER: Final = 1.0  # seconds: one Ctrl-C reaches a process more than once in a terminal
FORCE_WITHIN: Final = 4.5  # seconds from the second signal to the end, whatever happens
STOP_SLACK: Final = 20.0  # seconds beyond the grace period that a stop may take (cancelled steps, goodbyes)


class Stop:
    """What people and supervisors have asked for, as events on the loop and one for threads.

    The loop may be blocked when it matters most. So a thread keeps the promises about time: a forced stop ends within
    FORCE_WITHIN, any stop within the grace period and STOP_SLACK. A drain was promised no time.

    `asked`: no new work is taken up, by a drain or a stop. `hurried`: a stop, the grace period runs. `forced`: now.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, grace: float) -> None:
        self._loop, self._grace = loop, grace
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()
        self.forced = asyncio.Event()
        self.thread_event = threading.Event()
        self.reason = "shutdown"
        self.last_words: Callable[[], None] | None = None  # said, from the thread, before it ends the process
        self._at = 0.0
        self._times: queue.SimpleQueue[float] = queue.SimpleQueue()  # of signals; its put may be used in a handler

    @property
    def drains(self) -> bool:
        """Asked for an end, and without a limit of time."""
        return self.asked.is_set() and not self.hurried.is_set()

    def install(self) -> None:
        self._loop.add_signal_handler(signal.SIGQUIT, self._drain)
        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup` asks to outlive the terminal
            numbers.append(signal.SIGHUP)
        for number in numbers:
            self._loop.add_signal_handler(number, self._signalled, number)
            # In place of asyncio's empty handler: this one runs also when the loop is blocked in Python code.
            signal.signal(number, lambda *_: self._times.put(time.monotonic()))
        threading.Thread(target=self._enforce, name="stop", daemon=True).start()

    def _drain(self) -> None:
        if self.asked.is_set():
            log.info("worker.drains_already" if self.drains else "worker.stops_already", reason=self.reason)
        else:
            self._ask(signal.SIGQUIT.name)

    def finish(self, reason: str, *, hurried: bool = False) -> None:
        """The worker's own wish to end: a drain, or `hurried` a stop. Nothing when it was asked to end already."""
        if self.asked.is_set():
            return
        if hurried:
            self._at = time.monotonic()
            self._times.put(self._at)
            self.hurried.set()
        self._ask(reason)

    def _ask(self, reason: str) -> None:
        self.reason = reason
        self.asked.set()
        self.thread_event.set()

    def _signalled(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if not self.hurried.is_set():
            self._at = now
            self.hurried.set()
            self._ask(number.name)
        elif now - self._at > FORCE_AFTER:
            self.forced.set()

    def _enforce(self) -> None:
        first = self._times.get()
        deadline = first + self._grace + STOP_SLACK
        forced = False
        while (left := deadline - time.monotonic()) > 0:
            try:
                at = self._times.get(timeout=left)
            except queue.Empty:
                break
            if at - first > FORCE_AFTER and not forced:
                forced, deadline = True, at + FORCE_WITHIN
        self.cut("the event loop did not come to an end in time")

    def cut(self, reason: str) -> NoReturn:
        """Ends this process and what its tools have started; from any thread."""
        log.error("worker.cut", reason=reason)
        _kill_descendants()
        if self.last_words:
            self.last_words()
        leave(EX_TEMPFAIL)


def _kill_descendants() -> None:
    """What tools have started; nothing is left behind."""
    import psutil

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()
