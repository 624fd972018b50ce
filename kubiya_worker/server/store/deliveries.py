"""This module remembers the deliveries of webhooks that started something, and what they were answered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete, insert, select

from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps
from kubiya_worker.server.store.records import Object

T = schema.deliveries
KEPT: Final = 30 * 86_400.0  # seconds that a delivery is remembered
MOST: Final = 200_000  # keys of all webhooks; beyond it the oldest are forgotten


class Deliveries:
    def __init__(self, database: Database) -> None:
        self._db = database

    def answer(self, job_id: str, keys: Sequence[str]) -> Object | None:
        """Return what the delivery was answered when it came first; None for a new one."""
        query = select(T.c.answer).where(T.c.job_id == job_id, T.c.key.in_(keys)).order_by(T.c.taken_at)
        row = self._db.execute(query).first()
        return json.loads(row.answer) if row else None

    def remember(self, job_id: str, keys: Sequence[str], answer: Object, now: float) -> None:
        row = {"job_id": job_id, "answer": dumps(answer), "taken_at": now}
        with self._db.transaction():
            self._db.execute(insert(T), [{**row, "key": key} for key in keys])

    def forget_old(self, now: float, kept: float = KEPT, most: int = MOST) -> None:
        newest = select(T.c.taken_at).order_by(T.c.taken_at.desc()).offset(most).limit(1)
        with self._db.transaction():
            self._db.execute(delete(T).where(T.c.taken_at < now - kept))
            beyond = self._db.execute(newest).scalar()
            if beyond is not None:
                self._db.execute(delete(T).where(T.c.taken_at <= beyond))
