"""Use features of the Linux kernel: subreaper, parent-death signal, pidfds. Each has a plain answer elsewhere."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, Final

LINUX: Final = sys.platform.startswith("linux")

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15
_PR_SET_CHILD_SUBREAPER: Final = 36


def become_subreaper() -> bool:
    """Ask the kernel to give this process the orphans below it. Return whether that worked.

    Forked processes do not inherit this; each must ask again.
    """
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: int, parent: int) -> bool:
    """Ask for the signal `number` when the parent ends. Return whether that worked.

    If `parent` has ended already, this process exits at once.
    """
    if not _prctl(_PR_SET_PDEATHSIG, number):
        return False
    if os.getppid() != parent:  # the parent ended before the call above
        os._exit(128 + number)
    return True


def forbid_dumps() -> bool:
    """Close this process's memory and environment to other processes of its user. Return whether that worked.

    It is wrong for a process whose identity others check: its executable can then not be read either.
    """
    return _prctl(_PR_SET_DUMPABLE, 0)


def name_process(name: str) -> None:
    """Set the name that `ps -o comm` shows, where the system allows it."""
    _prctl(_PR_SET_NAME, name.encode()[:15])


def load() -> None:
    """Load the C library before any fork, because loading it takes 10 ms."""
    _libc()


def signal_process(pid: int, number: int, still_it: Any) -> bool:
    """Signal `pid` if `still_it()` confirms that it is the intended process. Return whether the signal was sent.

    With a pidfd no other process can get the signal: the descriptor is opened before `still_it` is called.
    """
    if sys.platform == "linux" and hasattr(os, "pidfd_open"):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        except OSError:  # an old kernel, or a seccomp filter
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
