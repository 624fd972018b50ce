"""This module finds the worker of a `kubiya dev` on this host, which no supervisor and no folder of workers knows."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from kubiya_worker.launch import containers
from kubiya_worker.launch import home as homes
from kubiya_worker.launch.stack_folder import StackFolder, default_folder


@dataclass(frozen=True)
class DevWorker:
    """The worker of a local stack. `pid` is the stack's own, which is what a person stops."""

    queue: str
    pid: int
    control_plane_url: str
    log_file: Path
    started_at: float = 0.0  # seconds since the epoch

    def as_json(self) -> dict[str, Any]:
        return {
            "queue": self.queue,
            "state": "running",
            "stack_pid": self.pid,
            "control_plane_url": self.control_plane_url,
            "log": str(self.log_file),
        }


def find(environ: Mapping[str, str]) -> DevWorker | None:
    """Return the worker of the stack that runs in the stack's folder; None when none does."""
    state = StackFolder(default_folder(environ))
    try:
        lock = json.loads(state.lock_file.read_text(encoding="utf-8"))
        pid, written = int(lock["pid"]), state.lock_file.stat().st_mtime
        # A number that was given to another process later began after the file was written.
        started_at = psutil.Process(pid).create_time()
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None
    if started_at > written or not lock.get("queue"):
        return None
    url = str(lock.get("control_plane_url") or "")
    return DevWorker(str(lock["queue"]), pid, url, state.logs / "worker.log", started_at)


def meant(queue_id: str | None, environ: Mapping[str, str] = os.environ) -> DevWorker | None:
    """Return the stack's worker when a command means it: by its queue, or because there is no other worker here."""
    worker = find(environ)
    if worker is None:
        return None
    named = queue_id or environ.get("QUEUE_ID", "").strip()
    if named:
        return worker if named == worker.queue and not homes.find(named).folder.is_dir() else None
    return None if any(True for _ in homes.homes()) or containers.find() else worker
