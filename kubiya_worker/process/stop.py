"""This module turns stop signals into events on the loop, with a thread that ends the process if the loop does not.

SIGQUIT drains: no new work, and running steps have all the time they need. SIGTERM, SIGINT or SIGHUP stops, also a
worker that drains: running steps have the grace period; a second signal more than 1 s later forces. When the event loop
does not end in time, the thread kills the processes that tools have started and leaves with 75.
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

FORCE_AFTER: Final = 1.0  # seconds: in a terminal, one Ctrl-C can reach a process more than once
FORCE_WITHIN: Final = 4.5  # seconds from the second signal to the end in any case
# Seconds beyond the grace period that a stop may take to end cancelled steps and to disconnect.
STOP_SLACK: Final = 20.0


class Stop:
    """The stops that people and supervisors asked for, as events on the loop and one event for threads.

    The loop may be blocked at that moment. So a thread keeps the time limits: a forced stop ends within FORCE_WITHIN,
    any
    stop within the grace period and STOP_SLACK. A drain has no time limit.

    `asked`: no new work is taken up (drain or stop). `hurried`: a stop, the grace period runs. `forced`: end now.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, grace: float) -> None:
        self._loop, self._grace = loop, grace
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()
        self.forced = asyncio.Event()
        self.thread_event = threading.Event()
        self.reason = "shutdown"
        self.last_words: Callable[[], None] | None = None  # called in the thread before it ends the process, to log why
        self._at = 0.0
        # Times of signals; a signal handler may safely call its put.
        self._times: queue.SimpleQueue[float] = queue.SimpleQueue()

    @property
    def drains(self) -> bool:
        """Return whether the worker was asked to end without a time limit."""
        return self.asked.is_set() and not self.hurried.is_set()

    def install(self) -> None:
        self._loop.add_signal_handler(signal.SIGQUIT, self._drain)
        numbers = [signal.SIGTERM, signal.SIGINT]
        # `nohup` asks to survive the terminal, so SIGHUP stays ignored.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        for number in numbers:
            self._loop.add_signal_handler(number, self._signalled, number)
            # This replaces asyncio's empty handler, and also runs when the loop is blocked in Python code.
            signal.signal(number, lambda *_: self._times.put(time.monotonic()))
        threading.Thread(target=self._enforce, name="stop", daemon=True).start()

    def _drain(self) -> None:
        if self.asked.is_set():
            log.info("worker.drains_already" if self.drains else "worker.stops_already", reason=self.reason)
        else:
            self._ask(signal.SIGQUIT.name)

    def finish(self, reason: str, *, hurried: bool = False) -> None:
        """End the worker by its own decision: a drain, or a stop with `hurried`. Do nothing when it was already
        asked to end.
        """
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
        """End this process and all processes that its tools have started; call this from any thread."""
        log.error("worker.cut", reason=reason)
        _kill_descendants()
        if self.last_words:
            self.last_words()
        leave(EX_TEMPFAIL)


def _kill_descendants() -> None:
    """Kill all processes that tools have started."""
    import psutil

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()
