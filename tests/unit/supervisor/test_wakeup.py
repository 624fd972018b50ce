"""Signals as bytes in a pipe, and what was before comes back."""

from __future__ import annotations

import os
import select
import signal
import threading

from kubiya_worker._supervisor.posix.wakeup import WakeupPipe


def test_signals_arrive_in_order_and_only_once() -> None:
    with WakeupPipe([signal.SIGUSR1, signal.SIGUSR2]) as wakeup:
        assert wakeup.arrived() == []
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert wakeup.arrived() == [signal.SIGUSR2, signal.SIGUSR1]
        assert wakeup.arrived() == []


def test_a_thread_can_wake_the_loop() -> None:
    with WakeupPipe([]) as wakeup:
        threading.Thread(target=wakeup.wake).start()
        assert select.select([wakeup], [], [], 40)[0]
        assert wakeup.arrived() == [0]


def test_handlers_and_an_outer_pipe_come_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with WakeupPipe([signal.SIGUSR1]) as outer:
        with WakeupPipe([signal.SIGUSR1]) as inner:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert (inner.arrived(), outer.arrived()) == ([signal.SIGUSR1], [])
        os.kill(os.getpid(), signal.SIGUSR1)
        assert outer.arrived() == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR1) is before


def test_a_closed_pipe_can_still_be_woken() -> None:
    """The thread that wakes a screen may come after its end."""
    wakeup = WakeupPipe([])
    wakeup.close()
    wakeup.wake()
