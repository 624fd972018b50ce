"""Make the text of `daemon_info.txt`, which tells people what runs and how to stop it. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from . import lines
from .spec import Spec


def text(spec: Spec, began: float, child: Mapping[str, Any] | None) -> str:
    """Return the text of the info file.

    `began` is the supervisor's start, in seconds since 1970. `child` is the child's entry in the state file.
    """
    limit = f"gives up after {spec.give_up_after} crashes in a row" if spec.give_up_after else "never gives up"
    rows = [
        f"{spec.name}: supervised since {lines.utc(began)}",
        "",
        f"Supervisor PID   {os.getpid()}   (kill {os.getpid()} stops it and its worker)",
        f"Worker PID       {child['pid'] if child else '-'}   started {child['started_at'] if child else '-'}",
        *(f"{name.replace('_', ' ').capitalize():<16} {value}" for name, value in spec.pid_fields.items()),
        f"PID file         {spec.pid_file}",
        f"State file       {spec.state_file}",
        f"Log file         {spec.log_file}",
        f"Log rotation     at {spec.max_size} bytes, {spec.max_backups} backups",
        f"Restarts         after {spec.backoff_first:g} s to {spec.backoff_longest:g} s; {limit}",
        f"Stop             SIGTERM; forced after {spec.grace_period:g} s",
        *((f"Drain            SIGQUIT; {spec.name} finishes what it does",) if spec.drains else ()),
        *(("", *spec.info_lines) if spec.info_lines else ()),
    ]
    return "\n".join(rows) + "\n"
