"""This module turns stop signals into events on the loop, with a thread that ends the process if the loop does not.

SIGQUIT drains: no new work, and running steps have all the time they need. SIGTERM, SIGINT or SIGHUP stops, also a
worker that drains: running steps have the grace period; a second signal more than 1 s later forces. When the event loop
does not end in time, the thread kills the processes that tools have started and leaves with 75.

`stop_with_supervisor` stops a worker whose supervisor was killed and can no longer stop it. `SUPERVISOR_DEATH_FD` is a
pipe of which only the supervisor holds the other end, so its end of file means that the supervisor is gone. A guard
kills all remaining processes 3 s later, so there is no time for a full drain: running steps have WINDING_UP seconds,
then the stop is forced as by a second signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from typing import Final, NoReturn

import structlog

from kubiya_worker._supervisor.posix import death_pipe
from kubiya_worker.errors import EX_TEMPFAIL
from kubiya_worker.process.exit import exit_process

log = structlog.get_logger()

FORCE_AFTER: Final = 1.0  # seconds: in a terminal, one Ctrl-C can reach a process more than once
FORCE_WITHIN: Final = 4.5  # seconds from the second signal to the end in any case
# Seconds beyond the grace period that a stop may take to end cancelled steps and to disconnect.
STOP_SLACK: Final = 20.0
WINDING_UP = 1.2  # seconds between the two SIGTERM; above one second, or they count as one
CUT_AFTER = 1.3  # seconds from there to the end of this process


class Stop:
    """The stops that people and supervisors asked for, as events on the loop and one event for threads.

    The loop may be blocked at that moment. So a thread keeps the time limits: a forced stop ends within FORCE_WITHIN,
    any stop within the grace period and STOP_SLACK. A drain has no time limit.

    `asked`: the worker drains or stops, and accepts no new work. `hurried`: it stops, and the grace period runs.
    `forced`: it ends now.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, grace: float) -> None:
        self._loop, self.grace = loop, grace
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()
        self.forced = asyncio.Event()
        self.thread_event = threading.Event()
        self.reason = "shutdown"
        self.before_exit: Callable[[], None] | None = None  # called in the thread before the process ends
        self._stopped_at = 0.0
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
        """End the worker by its own decision: a drain, or a stop with `hurried`.

        Do nothing when it was already asked to end.
        """
        if self.asked.is_set():
            return
        if hurried:
            self._stopped_at = time.monotonic()
            self._times.put(self._stopped_at)
            self.hurried.set()
        self._ask(reason)

    def _ask(self, reason: str) -> None:
        self.reason = reason
        self.asked.set()
        self.thread_event.set()

    def _signalled(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if not self.hurried.is_set():
            self._stopped_at = now
            self.hurried.set()
            self._ask(number.name)
        elif now - self._stopped_at > FORCE_AFTER:
            self.forced.set()

    def _enforce(self) -> None:
        first_signal = self._times.get()
        deadline = first_signal + self.grace + STOP_SLACK
        forced = False
        while (remaining := deadline - time.monotonic()) > 0:
            try:
                signalled_at = self._times.get(timeout=remaining)
            except queue.Empty:
                break
            if signalled_at - first_signal > FORCE_AFTER and not forced:
                forced, deadline = True, signalled_at + FORCE_WITHIN
        self.end_process("the event loop did not come to an end in time")

    def end_process(self, reason: str) -> NoReturn:
        """End this process and all processes that its tools have started; call this from any thread."""
        log.error("worker.cut", reason=reason)
        _kill_descendants()
        if self.before_exit:
            self.before_exit()
        exit_process(EX_TEMPFAIL)


def _kill_descendants() -> None:
    """Kill all processes that tools have started."""
    import psutil

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()


def stop_with_supervisor(end_process: Callable[[], None]) -> None:
    """Stop this worker when its supervisor ends; without one, do nothing. `end_process` must end this process."""
    death_pipe.watch(os.environ, lambda: _stop_in_a_hurry(end_process))


def _stop_in_a_hurry(end_process: Callable[[], None]) -> None:
    os.write(2, b"kubiya worker: its supervisor is gone; stopping\n")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(WINDING_UP)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(CUT_AFTER)
    end_process()
