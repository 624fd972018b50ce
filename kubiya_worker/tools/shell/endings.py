"""This module tells in words how a program ended."""

from __future__ import annotations

import errno
import os
import signal
from typing import Final

# What programs print when the kernel refuses something to them.
REFUSED: Final = (*map(os.strerror, (errno.EACCES, errno.EPERM, errno.EXDEV)), "no new privileges")


def ending(code: int) -> str | None:
    """Return how a program failed; None for one that did not."""
    return f"ended by {_signal(-code)}" if code < 0 else f"exit code {code}" if code else None


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
