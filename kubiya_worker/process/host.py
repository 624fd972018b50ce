"""This module describes the host and this process (protocol.md#a3 `system_info`): sizes in bytes, times in seconds.

It also limits the C library's allocator to few arenas, so that a process with many threads does not keep freed memory:
glibc gives threads up to eight arenas for each core, and returns little of them to the system. With two arenas, a
worker that had run 800 steps used 164 MiB instead of 190.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from typing import Any, Final

import psutil

from kubiya_worker import __version__

_PROCESS = psutil.Process()
_STARTED = time.monotonic()
ARENAS: Final = 2
_M_ARENA_MAX: Final = -8  # malloc.h


def uptime() -> float:
    return round(time.monotonic() - _STARTED, 1)


def usage() -> dict[str, Any]:
    """Return the CPU use since the last call, in percent of one core, and the resident memory in bytes."""
    return {
        "cpu_percent": _PROCESS.cpu_percent(),
        "memory_bytes": _PROCESS.memory_info().rss,
        "uptime_seconds": uptime(),
    }


def description(hostname: str) -> dict[str, Any]:
    memory, disk = psutil.virtual_memory(), psutil.disk_usage("/")
    return {
        "hostname": hostname,
        "platform": platform.platform(),
        "os_name": platform.system(),
        "os_version": platform.release(),
        "python_version": platform.python_version(),
        "cli_version": __version__,
        "sdk_version": __version__,
        "pid": os.getpid(),
        "cwd": os.getcwd(),  # noqa: PTH109 - a string is what the wire wants
        "supported_runtimes": ["default"],
        "docker_available": shutil.which("docker") is not None,
        "cpu_count": psutil.cpu_count() or 1,
        "cpu_percent": psutil.cpu_percent(),
        "memory_total": memory.total,
        "memory_used": memory.used,
        "memory_percent": memory.percent,
        "disk_total": disk.total,
        "disk_used": disk.used,
        "disk_percent": disk.percent,
        "uptime_seconds": uptime(),
    }


def limit_arenas() -> bool:
    """Limit the arenas of all threads that start later.

    Return False when MALLOC_ARENA_MAX is set (the user's choice stays) or when the C library has no arenas.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return False
    import ctypes

    try:
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS))
    except (OSError, AttributeError):  # macOS, musl
        return False
