"""Facts about processes of this host, for tests."""

from __future__ import annotations

import subprocess
from typing import Final

import psutil

UNSHARE: Final = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")  # a PID namespace of its own


def runs(pid: int) -> bool:
    """Return whether the process is there and is no zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def may_unshare() -> bool:
    """Return whether this user may start processes in a PID namespace of their own."""
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
