"""This module keeps update locks: one worker of a queue updates itself at a time (docs/protocol.md#a3).

Locks are in memory, for at most ten minutes: a restart of the control plane frees them.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Lock:
    id: str
    worker_id: str
    acquired: float  # seconds since the epoch
    seconds: int

    def wire(self, queue_id: str) -> dict[str, Any]:
        times = {"acquired_at": self.acquired, "expires_at": self.acquired + self.seconds}
        return {
            "lock_id": self.id,
            "worker_id": self.worker_id,
            "queue_id": queue_id,
            **{name: datetime.fromtimestamp(at, UTC).isoformat() for name, at in times.items()},
            "locked": True,
        }


class Locks:
    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._held: dict[str, Lock] = {}

    def held(self, queue_id: str) -> Lock | None:
        lock = self._held.get(queue_id)
        if lock is not None and lock.acquired + lock.seconds <= self._clock():
            del self._held[queue_id]
            return None
        return lock

    def acquire(self, queue_id: str, worker_id: str, seconds: int) -> Lock | None:
        """Take or extend a lock for `seconds`; return None while another worker holds it.

        A worker that already holds it keeps the same id.
        """
        lock = self.held(queue_id)
        if lock is not None and lock.worker_id != worker_id:
            return None
        key = lock.id if lock is not None else str(uuid.uuid4())
        self._held[queue_id] = Lock(key, worker_id, self._clock(), seconds)
        return self._held[queue_id]

    def release(self, queue_id: str, worker_id: str) -> bool:
        """Free a lock; return False when another worker holds it."""
        lock = self.held(queue_id)
        if lock is not None and lock.worker_id != worker_id:
            return False
        self._held.pop(queue_id, None)
        return True

    def seconds_left(self, lock: Lock) -> int:
        return max(0, round(lock.acquired + lock.seconds - self._clock()))
