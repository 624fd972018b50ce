"""The end of a supervisor that was killed: it cannot stop its worker any more, so the worker stops itself.

`SUPERVISOR_DEATH_FD` is a pipe of which only the supervisor holds the other end. Its end of file means that the
supervisor is gone, whatever the way. A guard kills what is left 3 s later, so there is no time for a full drain:
running steps have WINDING_UP seconds, then the stop is forced as by a second signal.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

DEATH_FD = "SUPERVISOR_DEATH_FD"
WINDING_UP = 1.2  # seconds from the first to the second SIGTERM; over a second, or it counts as the same one
CUT_AFTER = 1.3  # seconds from there to the end of this process


def watch(cut: Callable[[], None]) -> None:
    """Starts a thread that waits for the supervisor's end; `cut` has to end this process. Nothing without a pipe."""
    given = os.environ.pop(DEATH_FD, "")
    if not given.isdigit():
        return
    descriptor = int(given)
    try:
        os.set_inheritable(descriptor, False)  # a tool that had it could close nothing, but would keep it open
    except OSError:
        return  # the number is not an open file: set by hand
    threading.Thread(target=_wait, args=(descriptor, cut), name="parent", daemon=True).start()


def _wait(descriptor: int, cut: Callable[[], None]) -> None:
    try:
        while os.read(descriptor, 64):
            pass  # nothing is ever written to it
    except OSError:
        return  # not a pipe
    os.write(2, b"kubiya worker: its supervisor is gone; stopping\n")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(WINDING_UP)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(CUT_AFTER)
    cut()
