"""This module keeps update locks: one worker of a queue updates itself at a time (docs/protocol.md#a3).

A lock lasts for at most ten minutes, also over a restart of the control plane.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import delete, select

from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database
from kubiya_worker.server.store.portable import add_once, put

T: Final = schema.leases
_ADD: Final = add_once(T)
_SET: Final = put(T, ["name"])


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
    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._db, self._clock = database, clock

    def held(self, queue_id: str) -> Lock | None:
        row = self._db.execute(select(T).where(T.c.name == _name(queue_id)).with_for_update()).first()
        if row is None or row.began + row.seconds <= self._clock():
            return None
        return Lock(row.id, row.holder, row.began, int(row.seconds))

    def acquire(self, queue_id: str, worker_id: str, seconds: int) -> Lock | None:
        """Take or extend a lock for `seconds`; return None while another worker holds it.

        A worker that already holds it keeps the same id.
        """
        with self._db.transaction():
            # A row is there before anybody looks whose it is: so of two who ask together, one waits for the other.
            free = {"name": _name(queue_id), "id": "", "holder": "", "began": 0.0, "seconds": 0.0}
            self._db.execute(_ADD, free)
            lock = self.held(queue_id)
            if lock is not None and lock.worker_id != worker_id:
                return None
            key = lock.id if lock is not None else str(uuid.uuid4())
            new_lock = Lock(key, worker_id, self._clock(), seconds)
            row = {"id": key, "holder": worker_id, "began": new_lock.acquired, "seconds": float(seconds)}
            self._db.execute(_SET, {"name": _name(queue_id), **row})
        return new_lock

    def release(self, queue_id: str, worker_id: str) -> bool:
        """Free a lock; return False when another worker holds it."""
        with self._db.transaction():
            lock = self.held(queue_id)
            if lock is not None and lock.worker_id != worker_id:
                return False
            self._db.execute(delete(T).where(T.c.name == _name(queue_id)))
        return True

    def seconds_left(self, lock: Lock) -> int:
        return max(0, round(lock.acquired + lock.seconds - self._clock()))


def _name(queue_id: str) -> str:
    return f"update:{queue_id}"
