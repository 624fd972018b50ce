"""Overwrite secrets in this process's environment block, which /proc/PID/environ shows for as long as it runs.

`os.environ.pop` changes only the copy that Python keeps. The block is memory of this process and can be written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from . import kernel

_SECRET: Final = re.compile(rb"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_NAMES_A_PLACE: Final = (b"_FILE", b"_PATH", b"_DIR", b"_DIRECTORY", b"_COMMAND")
_PASSWORD: Final = re.compile(rb"://[^\s:/@]*:[^\s/@]+@")
_ENV_START: Final = 47  # field 50 of /proc/PID/stat, counted from the one after the name
OVERWRITTEN: Final = "*"  # no zero byte, which would end the block for whoever reads it


def overwrite_secrets(also: Collection[str] = ()) -> list[str]:
    """Overwrite the values of secret variables, and of those named in `also`. Return the names.

    A variable is secret if its name says so, or if its value is a URL with a password.

    `os.environ` keeps them for this process. A child that is started without an explicit environment gets `*`. Where
    the block cannot be found or written (macOS) nothing is done.
    """
    if not kernel.LINUX:
        return []
    try:
        import ctypes

        block = Path("/proc/self/environ").read_bytes()
        stat = Path("/proc/self/stat").read_bytes()
        start = int(stat[stat.rindex(b")") + 2 :].split()[_ENV_START])
    except (ImportError, OSError, ValueError, IndexError):
        return []
    spans, offset = [], 0
    for entry in block.split(b"\0"):
        name, _, value = entry.partition(b"=")
        if start and value and (_is_secret(name, value) or os.fsdecode(name) in also):
            ctypes.memset(start + offset + len(name) + 1, ord(OVERWRITTEN), len(value))
            spans.append(os.fsdecode(name))
        offset += len(entry) + 1
    return spans


def _is_secret(name: bytes, value: bytes) -> bool:
    by_name = _SECRET.search(name) and not name.upper().endswith(_NAMES_A_PLACE)
    return bool(by_name or _PASSWORD.search(value))
