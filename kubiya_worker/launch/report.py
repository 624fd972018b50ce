"""The state of a worker on this host: the supervisor itself is asked, and its identity is verified before.

Files may be removed, moved or overwritten, and a killed supervisor leaves some that still say `running`. So the owner
of the instance is found by its lock and identity, and its state comes from its control socket. When a supervisor lives
and does not answer, its last state is known only as old: the state is UNKNOWN, and the age is shown.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from kubiya_worker._supervisor.posix import control, ownership
from kubiya_worker.launch import daemon
from kubiya_worker.launch.home import Home

RUNNING, STARTING, WAITING, DRAINING, STOPPING, STOPPED, FAILED, UNKNOWN = (
    "RUNNING",
    "STARTING",
    "WAITING",
    "DRAINING",
    "STOPPING",
    "STOPPED",
    "FAILED",
    "UNKNOWN",
)
OLD: Final = 30.0  # seconds: a worker writes its status every 10 s
STALE: Final = "STOPPED (stale PID file)"
_STATE_WORDS: Final = {
    "running": RUNNING,
    "starting": STARTING,
    "backing_off": WAITING,
    "draining": DRAINING,
    "stopping": STOPPING,
}


@dataclass(frozen=True)
class WorkerReport:
    """The state of one worker.

    `pid_file` is what the owner wrote about itself, or the content of a stale PID file; `state` is the supervisor's
    answer, or its state file when it is gone or silent; `status` is the worker's status file. Each is empty when there
    is nothing. `silent` means that the supervisor lives and does not answer.
    """

    home: Home
    alive: bool
    pid: int | None
    reason: str
    pid_file: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    silent: bool = False

    @property
    def has_pid_file(self) -> bool:
        return bool(self.pid_file)

    @property
    def word(self) -> str:
        if self.silent:
            return UNKNOWN
        if self.alive:
            return _STATE_WORDS.get(str(self.state.get("state")), RUNNING)
        if self.has_pid_file:
            return STALE
        return FAILED if self.state.get("state") == "failed" else STOPPED

    @property
    def why(self) -> str:
        if self.silent:
            last = str(self.state.get("state") or "not known")
            old = age_of(self.state.get("updated_at"))
            when = f", written {old:.0f} s ago" if old is not None else ""
            return f"its supervisor, process {self.pid}, lives but does not answer; the last state is {last}{when}"
        if not self.alive and self.has_pid_file:
            return self.reason or "the supervisor that the PID file names is gone"
        return str(self.state.get("why") or ("" if self.state else "it was never started here"))

    @property
    def worker_pid(self) -> int | None:
        """Return the worker's PID; None when none runs."""
        child = self.state.get("child") if self.alive else None
        return child.get("pid") if isinstance(child, dict) else None

    @property
    def live_status(self) -> dict[str, Any]:
        """Return the worker's own status; empty when the file was not written by the worker that runs now."""
        if self.worker_pid is None or self.status.get("pid") != self.worker_pid:
            return {}
        at = self.status.get("at")
        age = round(max(0.0, time.time() - at), 1) if isinstance(at, int | float) else None
        old = age is not None and age > OLD
        return {**self.status, "age": age, **({"polling": None} if old else {})}

    @property
    def exit_code(self) -> int:
        """Return the exit code of `kubiya worker status`: 0 it lives, 1 no PID file, 3 it is dead and left one."""
        return 0 if self.alive else 3 if self.has_pid_file else 1

    def as_json(self) -> dict[str, Any]:
        child = self.state.get("child") if self.alive else None
        return {
            "queue": self.home.queue,
            "queue_id": self.pid_file.get("queue_id", self.home.queue),
            "instance": self.home.instance,
            "state": self.word.split()[0].lower(),
            "answers": self.alive and not self.silent,
            "state_age": age_of(self.state.get("updated_at")) if self.silent else None,
            "stale_pid_file": self.has_pid_file and not self.alive,
            "why": self.why,
            "since": self.state.get("since"),
            "started_at": self.pid_file.get("started_at"),
            "supervisor_pid": self.pid if self.alive else None,
            "worker_pid": self.worker_pid,
            "ready_at": (child or {}).get("ready_at"),
            "says": (child or {}).get("status") or "",
            "worker": _with_iso_time(self.live_status),
            "next_start": self.state.get("next_start") if self.alive else None,
            "restarts": self.state.get("restarts") or {},
            "deaths": self.state.get("deaths") or [],
            "log": {**(self.state.get("log") or {}), "files": log_sizes(self.home)},
            "log_level_until": self.state.get("log_level_until") if self.alive else None,
            "exit_code": self.state.get("exit_code"),
            "folder": str(self.home.folder),
            "control_plane_url": self.pid_file.get("control_plane_url"),
        }


def _with_iso_time(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return the worker's status with the time of its writing as all other times are: in ISO form, UTC."""
    at = status.get("at")
    if not isinstance(at, int | float):
        return dict(status)
    return {**status, "at": datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")}


def examine(home: Home) -> WorkerReport:
    """Find the supervisor that owns this home and ask it. Return the report."""
    owner = ownership.find(str(home.pid_file), str(home.state_file))
    record = dict(owner.record)
    if not owner.alive and not record and os.path.lexists(home.pid_file):
        record = daemon.read_json(home.pid_file) or {"pid": None}  # the file exists but cannot be read
    state, silent = state_of(home, record) if owner.alive else (daemon.read_json(home.state_file), False)
    if owner.alive and not record:
        record = dict(state.get("owner") or {"pid": owner.pid})
    status = daemon.read_json(home.status_file)
    return WorkerReport(home, owner.alive, owner.pid, owner.reason, record, state, status, silent)


def state_of(home: Home, record: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return the state of a supervisor that lives, and whether it was silent so that the state is an old one."""
    address = str(record.get("control") or "")
    answer = control.ask(address or f"{home.state_file}.run/control")
    if answer:
        return answer, False
    # A supervisor of an earlier version has no control socket; its state file is all that there is.
    return daemon.read_json(home.state_file), bool(address)


def age_of(stamp: object) -> float | None:
    """Return the age of an ISO time in seconds; None when it is not a time."""
    try:
        at = datetime.fromisoformat(str(stamp)).timestamp()
    except ValueError:
        return None
    return round(max(0.0, time.time() - at), 1)


def log_sizes(home: Home) -> dict[str, int]:
    """Return the size of each log file in bytes, by name."""
    sizes: dict[str, int] = {}
    for path in sorted(home.logs.glob("worker.log*")) if home.logs.is_dir() else ():
        sizes[path.name] = _size(path)
    return sizes


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # rotated away meanwhile
