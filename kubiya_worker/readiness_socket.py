"""KUBIYA_READINESS_SOCKET: one line of JSON to whoever started a worker and waits until it polls (protocol.md#f4)."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

WITHIN: Final = 5.0  # seconds to connect and to write


def line(pid: int, queue_id: str, control_plane_url: str, worker_dir: str, now: datetime | None = None) -> bytes:
    """Return the line. `pid` is the process to signal: the worker, or the supervisor over it."""
    fields = {
        "pid": pid,
        "queue_id": queue_id,
        "control_plane_url": control_plane_url,
        "worker_dir": worker_dir,
        "start_time": (now or datetime.now(UTC)).isoformat(),
    }
    return json.dumps(fields).encode() + b"\n"


def send(path: str, told: bytes) -> None:
    """Send the line to the socket. Raises OSError when nobody listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dialled:
        dialled.settimeout(WITHIN)
        dialled.connect(str(Path(path).expanduser()))
        dialled.sendall(told)
