"""Landlock: the kernel's rules for files, signals and abstract sockets of one thread and of all that it starts.

The numbers are those of linux/landlock.h; the three calls have the same numbers on every architecture.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Final

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_PATH_BENEATH: Final = 1

EXECUTE: Final = 1 << 0
WRITE_FILE: Final = 1 << 1
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
TRUNCATE: Final = 1 << 14
IOCTL_DEV: Final = 1 << 15
_REMOVE: Final = 1 << 4 | 1 << 5
_MAKE: Final = 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 12  # folders, files, sockets, pipes, links; never devices
_MAKE_DEVICES: Final = 1 << 6 | 1 << 11
_REFER: Final = 1 << 13

LIST: Final = READ_DIR
READ: Final = EXECUTE | READ_FILE | READ_DIR
WRITE: Final = READ | WRITE_FILE | TRUNCATE | _REMOVE | _MAKE | _REFER
DEVICE: Final = READ_FILE | WRITE_FILE | IOCTL_DEV
_ALL: Final = WRITE | _MAKE_DEVICES | IOCTL_DEV
_OF_FILES: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # others are refused for what is no folder
_SINCE: Final = ((2, _REFER), (3, TRUNCATE), (5, IOCTL_DEV))  # ABI version, rights that came with it

_SCOPES_SINCE: Final = 6
_ABSTRACT_SOCKETS: Final = 1 << 0
_SIGNALS: Final = 1 << 1

Rule = tuple[str, int]  # a path, and the rights on it and on all below it


def abi() -> int:
    """Return the version of the kernel's Landlock. Raises OSError where it has none or forbids the call."""
    return _call(_CREATE_RULESET, None, 0, 1)


def make_ruleset(version: int, rules: Iterable[Rule], *, signals: bool = False) -> int:
    """Return the descriptor of a ruleset. Raises OSError.

    What no rule allows is refused. A path that is not there, or not readable, is left out: it allows less, never more.
    `signals` leaves out the scope of signals, so that other processes of the user can be ended.
    """
    handled = _ALL & ~sum(rights for since, rights in _SINCE if version < since)
    scoped = _ABSTRACT_SOCKETS | (0 if signals else _SIGNALS)
    attributes = struct.pack("=Q", handled)
    if version >= _SCOPES_SINCE:  # the size of the structure must be one that this kernel knows
        attributes = struct.pack("=QQQ", handled, 0, scoped)
    ruleset = _call(_CREATE_RULESET, ctypes.create_string_buffer(attributes, len(attributes)), len(attributes), 0)
    try:
        for path, rights in rules:
            _add(ruleset, path, rights & handled)
    except BaseException:
        os.close(ruleset)
        raise
    return ruleset


_O_PATH: Final[int] = getattr(os, "O_PATH", 0)  # only Linux has it, and only Linux gets here


def restrict_thread(ruleset: int) -> None:
    """Put this thread, and whatever it starts, under the ruleset, for good. Raises OSError."""
    _call(_RESTRICT_SELF, ruleset, 0)


def _add(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, _O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        if rights:
            beneath = struct.pack("=Qi", rights, descriptor)
            _call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.create_string_buffer(beneath, len(beneath)), 0)
    finally:
        os.close(descriptor)


_library: list[Any] = []


def libc() -> Any:
    """Return the C library. Load it before a thread is restricted, as it may be read from a file."""
    if not _library:
        _library.append(ctypes.CDLL(None, use_errno=True))
    return _library[0]


def _call(number: int, *arguments: Any) -> int:
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    done = int(libc().syscall(ctypes.c_long(number), *words))
    if done < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{errno.errorcode.get(code, code)}: {os.strerror(code)}")
    return done
