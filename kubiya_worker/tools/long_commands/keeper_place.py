"""The place where a keeper runs: what tells this container's processes from those of another."""

from __future__ import annotations

from pathlib import Path


def namespace() -> str:
    """Return the name of the namespace of process numbers; "" where there is no /proc."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
