"""The state file holds the supervisor's state and history, as one JSON object that is always replaced as a whole.

    version        1
    name           the spec's
    state          starting | running | backing_off | draining | stopping | stopped | failed
    why, since     the reason for that state, and since when
    updated_at     when this was written
    supervisor     {"pid", "start", "boot", "executable"} of the writer. It may have been killed: ask `ownership.find`
    owner          what the PID file says, for the time when somebody has removed that one
    child          {"pid", "start", "run", "started_at", "ready_at", "status"}, or null; status: its last STATUS=
    deaths         the last 20, oldest first: {"at", "pid", "code", "signal", "class", "why", "uptime", "last_lines",
                 "status"}
    next_start     when the child is started again, or null
    restarts       how often, by class: {"crash", "hung", "network", "asked"}
    log            {"file", "lost_bytes", "lost_lines", "rotations"}
    log_level_until  null, or when the raised log level ends
    exit_code      what the supervisor has exited with, or null

Times are UTC, ISO-8601; uptimes are seconds; `class` is one of backoff's. Deaths outlive a supervisor.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .lines import utc
from .posix import files
from .posix.processes import Identity

VERSION: Final = 1
DEATHS: Final = 20


@dataclass
class StateFile:
    path: str
    name: str
    supervisor: Identity
    log: dict[str, Any]
    owner: Mapping[str, Any]
    began: float  # when the supervisor was started
    state: str = "starting"
    why: str = ""
    since: float = field(default_factory=time.time)
    child: dict[str, Any] | None = None
    deaths: list[dict[str, Any]] = field(default_factory=list)
    next_start: float | None = None
    restarts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("crash", "hung", "network", "asked"), 0))
    log_level_until: float | None = None
    exit_code: int | None = None
    written: bool = False  # whether the file was ever written

    def become(self, state: str, why: str) -> None:
        if state != self.state:
            self.since = time.time()
        self.state, self.why = state, why

    def take_deaths(self, before: Mapping[str, Any]) -> None:
        """Take over the deaths of an earlier supervisor's state file, as `read` returns it."""
        self.deaths = [death for death in before.get("deaths", ()) if isinstance(death, dict)][-DEATHS:]

    def died(self, death: dict[str, Any]) -> None:
        last = {"status": self.child["status"]} if self.child else {}  # what the child has said of itself last
        self.deaths = [*self.deaths, {**death, **last}][-DEATHS:]
        self.child = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "name": self.name,
            "state": self.state,
            "why": self.why,
            "since": utc(self.since),
            "updated_at": utc(),
            "supervisor": self.supervisor.to_dict(),
            "owner": self.owner,
            "child": self.child,
            "deaths": self.deaths,
            "next_start": utc(self.next_start) if self.next_start is not None else None,
            "restarts": self.restarts,
            "log": self.log,
            "log_level_until": utc(self.log_level_until) if self.log_level_until is not None else None,
            "exit_code": self.exit_code,
        }

    def write(self) -> bool:
        """Write the state file. Return whether that worked; on a full disk the old file stays."""
        written = replace(self.path, json.dumps(self.to_dict(), indent=1) + "\n")
        self.written = self.written or written
        return written


def read(path: str) -> dict[str, Any]:
    """Return the state in the file; empty when it is missing, unreadable or of another version."""
    try:
        data = json.loads(Path(path).read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) and data.get("version") == VERSION else {}


def replace(path: str, text: str) -> bool:
    """Replace a file as a whole. Return whether that worked; on a full disk the old file stays."""
    try:
        files.replace(Path(path), text)
    except OSError:
        return False
    return True
