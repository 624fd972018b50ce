"""Only the supervisor holds the writing end of the death pipe, so an end of file tells the child that it is gone."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, MutableMapping
from typing import Final

VARIABLE: Final = "SUPERVISOR_DEATH_FD"  # tells the child the number of its end
DESCRIPTOR: Final = 3  # that number


def watch(environ: MutableMapping[str, str], ended: Callable[[], None]) -> None:
    """Start a thread that calls `ended` once the supervisor is gone. Do nothing without a pipe."""
    number = environ.pop(VARIABLE, "")
    if not number.isdigit():
        return
    descriptor = int(number)
    try:
        os.set_inheritable(descriptor, False)  # a program that inherited the pipe could mistake it for its own
    except OSError:
        return  # the number is not an open file: somebody set the variable by hand
    threading.Thread(target=_wait, args=(descriptor, ended), name="supervisor-death", daemon=True).start()


def _wait(descriptor: int, ended: Callable[[], None]) -> None:
    try:
        while os.read(descriptor, 64):
            pass  # nothing is ever written to it
    except OSError:
        return  # not a pipe
    ended()
