"""Capabilities that a confined process of root does not get: with them it could read and change other processes.

The bounding set is the thread's own, so the worker keeps what it has. Standard library and `ctypes` only.
"""

from __future__ import annotations

from kubiya_worker.tools.confinement.landlock import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_BOUNDING_READ: Final = 23
_BOUNDING_DROP: Final = 24
_AMBIENT: Final = 47
_AMBIENT_LOWER: Final = 3

# Numbers of linux/capability.h. du, ps, ss and journalctl of all users work without these.
DROPPED: Final = {
    **{"DAC_READ_SEARCH": 2, "NET_ADMIN": 12, "SYS_MODULE": 16, "SYS_RAWIO": 17, "SYS_PTRACE": 19, "SYS_ADMIN": 21},
    **{"SYS_BOOT": 22, "SYS_RESOURCE": 24, "SYS_TIME": 25, "MKNOD": 27, "MAC_OVERRIDE": 32, "MAC_ADMIN": 33},
    **{"SYSLOG": 34, "PERFMON": 38, "BPF": 39, "CHECKPOINT_RESTORE": 40},
}


def drop() -> None:
    """Drop them from this thread's bounding and ambient sets.

    Only a thread with CAP_SETPCAP may; one without it and without these capabilities has nothing to drop.
    """
    prctl = libc().prctl
    for number in DROPPED.values():
        if prctl(_BOUNDING_READ, number, 0, 0, 0) == 1:
            prctl(_BOUNDING_DROP, number, 0, 0, 0)
            prctl(_AMBIENT, _AMBIENT_LOWER, number, 0, 0)
