"""This module reads secrets of the control plane's environment: a variable, or the file that a variable names."""

from __future__ import annotations

import os
from pathlib import Path

from kubiya_worker.errors import UsageError


def secret_of(name: str) -> str:
    """Return a secret of the environment, or of the file that `name`_FILE says; raise UsageError without the file."""
    file = os.environ.get(f"{name}_FILE", "").strip()
    if not file:
        return os.environ.get(name, "").strip()
    try:
        return Path(file).expanduser().read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}_FILE {file} cannot be read", remedy="Check the file and its rights") from error
