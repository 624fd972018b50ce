"""What only Linux offers: subreaper, parent-death signal, pidfds. Each has a plain answer where it is missing."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, Final

LINUX: Final = sys.platform.startswith("linux")

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_PR_SET_CHILD_SUBREAPER: Final = 36


def become_subreaper() -> bool:
    """Whether orphans below this process will become its children. Not inherited by fork: ask again in each process."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: int, parent: int) -> bool:
    """Whether this process gets the signal when its parent ends. Ends it at once if that has happened already."""
    if not _prctl(_PR_SET_PDEATHSIG, number):
        return False
    if os.getppid() != parent:  # it died before the line above
        os._exit(128 + number)
    return True


def name_process(name: str) -> None:
    """What `ps -o comm` shows, where that can be said."""
    _prctl(_PR_SET_NAME, name.encode()[:15])


def load() -> None:
    """The C library, before any fork: to load it takes 10 ms."""
    _libc()


def signal_process(pid: int, number: int, still_it: Any) -> bool:
    """Signal `pid` if `still_it()` says that it is the process that was meant. Whether it was sent.

    With a pidfd no other process can get it: the descriptor is taken before the question is asked.
    """
    if sys.platform == "linux" and hasattr(os, "pidfd_open"):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        except OSError:  # an old kernel, a filter
            return _plain_signal(pid, number, still_it)
        try:
            if not still_it():
                return False
            signal.pidfd_send_signal(descriptor, number)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
    return _plain_signal(pid, number, still_it)


def _plain_signal(pid: int, number: int, still_it: Any) -> bool:
    if not still_it():
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


_loaded: list[Any] = []


def _libc() -> Any:
    if not _loaded:
        try:
            import ctypes

            _loaded.append(ctypes.CDLL(None))
        except (ImportError, OSError):  # a Python without it
            _loaded.append(None)
    return _loaded[0]


def _prctl(option: int, value: Any) -> bool:
    if not LINUX:
        return False
    libc = _libc()
    return libc is not None and libc.prctl(option, value, 0, 0, 0) == 0
