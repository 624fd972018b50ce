"""Look at the file system as the worker's user: what it may not look at is absent for it, and so for its tools.

`pathlib` raises PermissionError below a folder that may not be entered (Python before 3.14); `os.path` answers no.
"""

from __future__ import annotations

import os
from pathlib import Path


def exists(path: str | Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110  (pathlib raises)


def is_file(path: str | Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113  (pathlib raises)


def is_folder(path: str | Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  (pathlib raises)
