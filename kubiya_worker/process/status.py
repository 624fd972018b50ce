"""This module writes the small private file that `kubiya worker status` reads.

A thread writes it when something has changed and every few seconds anyhow, so that its time tells a hanging worker
from an idle one. A change of readiness is written at once, before anybody else is told.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog

log = structlog.get_logger()

LOOK_EVERY: Final = 1.0  # seconds
WRITE_EVERY: Final = 10.0


class StatusFile:
    """Write the status file; `facts` is called from any thread. Do nothing without a path."""

    def __init__(self, path: str | None, facts: Callable[[], dict[str, Any]]) -> None:
        self._path = Path(path) if path else None
        self._facts = facts
        self._said: dict[str, Any] = {}
        self._wrote_at = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> None:
        if self._path is not None:
            self._thread.start()

    def stop(self) -> None:
        """End the writing but keep the file, as its pid tells which worker it belonged to."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(LOOK_EVERY)

    def update(self) -> None:
        """Write the current facts now; a disk error is logged, not raised."""
        if self._path is None:
            return
        with self._lock:
            facts = self._facts()
            if facts != self._said or time.monotonic() - self._wrote_at > WRITE_EVERY:
                self._write(facts)

    def _run(self) -> None:
        while True:
            last = self._ended.is_set()  # write once more after the end, as the last state is read most
            self.update()
            if last:
                return
            self._ended.wait(LOOK_EVERY)

    def _write(self, facts: dict[str, Any]) -> None:
        assert self._path is not None
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        text = json.dumps({"pid": os.getpid(), "at": time.time(), **facts})
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text)
            draft.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink()
            if self._wrote_at >= 0:
                log.warning("status.file_not_written", path=str(self._path), error=str(error))
            self._wrote_at = -1.0  # log the error only once
            return
        self._said, self._wrote_at = facts, time.monotonic()
