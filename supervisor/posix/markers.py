"""Find the processes that carry an entry in their environment, which their children inherit. Linux only.

This module imports little, since a program of the worker imports it too, which must start fast.
"""

from __future__ import annotations

import os


def pids_with(entry: bytes) -> list[int]:
    r"""Return the PIDs of other processes with an environment entry that begins with `entry`; none without /proc.

    `NAME=value` finds longer values too; `NAME=value\0` finds exactly this value.
    """
    pids = []
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():  # noqa: PTH208, PTH112  (runs often)
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123  (pathlib costs as much as the read)
                environment = b"\0" + file.read() + b"\0"
        except OSError:
            continue  # the process has ended, or belongs to another user
        if b"\0" + entry in environment:
            pids.append(int(name))
    return pids
