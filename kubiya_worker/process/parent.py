"""This module stops a worker whose supervisor was killed and can no longer stop it.

`SUPERVISOR_DEATH_FD` is a pipe of which only the supervisor holds the other end. Its end of file means that the
supervisor is gone, for whatever reason. A guard kills all remaining processes 3 s later, so there is no time for a full
drain: running steps have WINDING_UP seconds, then the stop is forced as by a second signal.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

DEATH_FD = "SUPERVISOR_DEATH_FD"
WINDING_UP = 1.2  # seconds between the two SIGTERM; above one second, or they count as one
CUT_AFTER = 1.3  # seconds from there to the end of this process


def watch(cut: Callable[[], None]) -> None:
    """Start a thread that calls `cut` when the supervisor ends; `cut` must end this process. Do nothing without
    a pipe.
    """
    given = os.environ.pop(DEATH_FD, "")
    if not given.isdigit():
        return
    descriptor = int(given)
    try:
        os.set_inheritable(descriptor, False)  # a tool's process that inherited the pipe would keep it open
    except OSError:
        return  # the number is not an open file: somebody set the variable by hand
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
