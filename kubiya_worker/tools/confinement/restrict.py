"""Put a thread under all restrictions. Few imports, as in `landlock`."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from kubiya_worker.tools.confinement import capabilities, landlock
from kubiya_worker.tools.confinement.landlock import libc

_SET_NO_NEW_PRIVS = 38
_SET_SECCOMP = 22
_FILTER_MODE = 2


def restrict_thread(ruleset: int, filtered: bytes) -> None:
    """Put this thread under a ruleset and a filter of calls, for good. Raises OSError; it must then start nothing."""
    capabilities.drop()
    forbid_new_privileges()
    landlock.restrict_thread(ruleset)
    filter_calls(filtered)


def forbid_new_privileges() -> None:
    """Take the effect of set-user-id bits away from what this thread starts, as a filter requires. Raises OSError."""
    if libc().prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise _error("PR_SET_NO_NEW_PRIVS")


def filter_calls(filtered: bytes) -> None:
    """Put this thread, and whatever it starts, under a filter of `seccomp`. Raises OSError."""
    kept = ctypes.create_string_buffer(filtered, len(filtered))
    header = struct.pack("@HP", len(filtered) // 8, ctypes.addressof(kept))
    if libc().prctl(_SET_SECCOMP, _FILTER_MODE, ctypes.create_string_buffer(header, len(header)), 0, 0):
        raise _error("PR_SET_SECCOMP")


def _error(what: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{what}: {errno.errorcode.get(code, code)}: {os.strerror(code)}")
