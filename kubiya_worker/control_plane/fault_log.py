"""KUBIYA_API_LOG_FILE lists requests that the control plane did not take, one JSON line each (docs/protocol.md#a10).

It has no bodies and no headers, as these hold prompts and keys. A full file is renamed to `.1`.
"""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

VARIABLE: Final = "KUBIYA_API_LOG_FILE"
LARGEST: Final = 16 << 20  # bytes; a control plane that is away for a day fails some thousand requests


class FaultLog:
    """The fault log takes lines from any thread. It never raises: a fault of the file is logged once."""

    def __init__(self, path: str) -> None:
        self._path = Path(path).expanduser()
        self._lock = threading.Lock()
        self._failed = False

    @classmethod
    def of_environment(cls) -> FaultLog | None:
        path = os.environ.get(VARIABLE, "").strip()
        return cls(path) if path else None

    def add(self, method: str, url: str, status: int | None, error: str) -> None:
        """Add a line for a failed request. `status` is None where nobody answered."""
        entry = {"time": datetime.now(UTC).isoformat(), "method": method, "url": url, "status": status, "error": error}
        data = (json.dumps(entry, ensure_ascii=False) + "\n").encode("utf-8", "replace")
        try:
            with self._lock:
                self._write(data)
        except OSError as fault:
            if not self._failed:
                import structlog  # imported late: a command without a failure need not load it

                log = structlog.get_logger()
                log.warning("api_log.failed", file=str(self._path), error=fault.strerror)
            self._failed = True

    def _write(self, data: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size + len(data) > LARGEST:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                os.close(descriptor)
                descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
