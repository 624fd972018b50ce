"""This module lets a test meet files without the right to them, also where the tests run as root."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

NOBODY = 65534


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Work as a user who owns nothing: root, who may read everything, becomes another one for this block."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[None]:
    """Let every user pass through the folders above `path` for this block, as those of pytest are for one user."""
    folders = [
        each for each in path.parents if each.stat().st_uid == os.getuid() and each.stat().st_mode & 0o011 != 0o011
    ]
    modes = [each.stat().st_mode & 0o7777 for each in folders]
    for folder in folders:
        folder.chmod(folder.stat().st_mode & 0o7777 | 0o011)
    try:
        yield
    finally:
        for folder, mode in zip(folders, modes, strict=True):
            folder.chmod(mode)
