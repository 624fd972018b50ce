"""The files of a fork: before its first step the worker writes those that its origin had stored into its workspace.

It is optional work with an end: whatever goes wrong, the run begins, and its readers are told what is missing.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.control_plane.run_file_routes import RunFileRoutes
from kubiya_worker.tools import workspace_files
from kubiya_worker.tools.workspace_files import CopyLimits

log = logging.getLogger(__name__)

PATIENCE: Final = 20.0  # seconds after which no other file is begun
OFF: Final = "The files of the run that it is a fork of are not in its workspace: KUBIYA_RUN_FILES is off here"


async def bring(
    stored: RunFileRoutes,
    execution_id: str,
    workspace: Path,
    limits: CopyLimits,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Write the stored files of an execution into its workspace; return what is missing, as a sentence, or nothing."""
    if not limits.enabled:
        return OFF
    try:
        left, error = await asyncio.to_thread(
            _bring, stored, execution_id, workspace, limits, clock() + PATIENCE, clock
        )
    except Exception as fault:  # whatever it is, the run begins
        left, error = 0, str(fault) or type(fault).__name__
    if not left and not error:
        return ""
    log.warning("run_files.not_brought execution_id=%s left=%d error=%s", execution_id, left, error or "none")
    why = f": {error}" if error else ": they are too many, too large, or the time was up"
    missing_files = f"{left} of the files" if left else "The files"
    return f"{missing_files} of the run that it is a fork of are not in its workspace{why}"


def _bring(
    stored: RunFileRoutes,
    execution_id: str,
    workspace: Path,
    limits: CopyLimits,
    until: float,
    clock: Callable[[], float],
) -> tuple[int, str]:
    """Return how many files are missing, and the first error; blocking. A file that is there already is left alone."""
    rows = [row for row in stored.of(execution_id) if not row.get("refused")]
    left, total, error = 0, 0, ""
    for number, row in enumerate(rows):
        size = int(row.get("size") or 0)
        if number >= limits.count or size > limits.size or total + size > limits.total or clock() > until:
            left += 1
            continue
        total += size
        try:
            _write(stored, execution_id, workspace, row, size)
        except (ControlPlaneError, OSError, ValueError) as fault:
            left, error = left + 1, error or str(fault)
    return left, error


def _write(stored: RunFileRoutes, execution_id: str, workspace: Path, row: dict[str, Any], size: int) -> None:
    """Write one file. Raises ValueError when it is not what the row says."""
    path = str(row["path"])
    data = stored.read(execution_id, path, size + 1)
    if hashlib.sha256(data).hexdigest() != row.get("sha256"):
        raise ValueError(f"{path!r} is not what was stored")
    workspace_files.write_new(workspace, path, data)
