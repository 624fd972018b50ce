"""This module describes the host and this process (protocol.md#a3 `system_info`): sizes in bytes, times in seconds."""

from __future__ import annotations

import os
import platform
import shutil
import time
from typing import Any

import psutil

from kubiya_worker import __version__

_PROCESS = psutil.Process()
_STARTED = time.monotonic()


def uptime() -> float:
    return round(time.monotonic() - _STARTED, 1)


def own_usage() -> dict[str, Any]:
    """Return the CPU use since the last call, in percent of one core, and the resident memory in bytes."""
    return {
        "cpu_percent": _PROCESS.cpu_percent(),
        "memory_bytes": _PROCESS.memory_info().rss,
        "uptime_seconds": uptime(),
    }


def info(hostname: str) -> dict[str, Any]:
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
