"""The state of a worker on this host: the supervisor's identity is verified before its files are trusted.

A killed supervisor leaves files that still say `running`. So the state that people see comes from two sources: the
process that the PID file names, which may be dead, and the last content of the state file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kubiya_worker.launch import daemon
from kubiya_worker.launch.home import Home

RUNNING, STARTING, WAITING, DRAINING, STOPPING, STOPPED, FAILED = (
    "RUNNING",
    "STARTING",
    "WAITING",
    "DRAINING",
    "STOPPING",
    "STOPPED",
    "FAILED",
)
STALE: Final = "STOPPED (stale PID file)"
_LIVING: Final = {
    "running": RUNNING,
    "starting": STARTING,
    "backing_off": WAITING,
    "draining": DRAINING,
    "stopping": STOPPING,
}


@dataclass(frozen=True)
class Report:
    """The state of one worker. `pid_file`, `state` and `status` are the files' contents, empty without a file."""

    home: Home
    alive: bool
    pid: int | None
    reason: str
    pid_file: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)

    @property
    def has_pid_file(self) -> bool:
        return bool(self.pid_file)

    @property
    def word(self) -> str:
        if self.alive:
            return _LIVING.get(str(self.state.get("state")), RUNNING)
        if self.has_pid_file:
            return STALE
        return FAILED if self.state.get("state") == "failed" else STOPPED

    @property
    def why(self) -> str:
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
        return self.status if self.worker_pid is not None and self.status.get("pid") == self.worker_pid else {}

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
            "stale_pid_file": self.has_pid_file and not self.alive,
            "why": self.why,
            "since": self.state.get("since"),
            "started_at": self.pid_file.get("started_at"),
            "supervisor_pid": self.pid if self.alive else None,
            "worker_pid": self.worker_pid,
            "ready_at": (child or {}).get("ready_at"),
            "says": (child or {}).get("status") or "",
            "worker": self.live_status,
            "next_start": self.state.get("next_start") if self.alive else None,
            "restarts": self.state.get("restarts") or {},
            "deaths": self.state.get("deaths") or [],
            "log": {**(self.state.get("log") or {}), "files": log_sizes(self.home)},
            "log_level_until": self.state.get("log_level_until") if self.alive else None,
            "exit_code": self.state.get("exit_code"),
            "folder": str(self.home.folder),
            "control_plane_url": self.pid_file.get("control_plane_url"),
        }


def examine(home: Home) -> Report:
    """Read the files and let the supervisor's own check verify the process. Return the report."""
    pid_file = daemon.read_json(home.pid_file)
    alive, pid, reason = False, None, ""
    if pid_file or home.pid_file.exists():
        answer = daemon.supervisor_says(home, "check")
        alive, pid, reason = bool(answer.get("alive")), answer.get("pid"), str(answer.get("reason") or "")
        pid_file = pid_file or {"pid": None}  # the file exists but cannot be read
    return Report(
        home, alive, pid, reason, pid_file, daemon.read_json(home.state_file), daemon.read_json(home.status_file)
    )


def log_sizes(home: Home) -> dict[str, int]:
    """Return the size of each log file in bytes, by name."""
    found: dict[str, int] = {}
    for path in sorted(home.logs.glob("worker.log*")) if home.logs.is_dir() else ():
        found[path.name] = _size(path)
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # rotated away meanwhile
