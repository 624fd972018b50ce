"""The event log of each execution: persistent, numbered 1, 2, 3 … without gaps, each event_id once."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.sqlite import insert

from kubiya_worker.protocol.events import Event, now
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps

T = schema.events
_LAST = select(func.max(T.c.sequence))
_INSERT = insert(T).on_conflict_do_nothing(index_elements=["execution_id", "event_id"])


@dataclass(frozen=True)
class Stored:
    execution_id: str
    sequence: int
    event_type: str
    data: dict[str, Any]
    timestamp: str
    micros: int


class Events:
    def __init__(self, database: Database) -> None:
        self._db = database
        self._last: dict[str, int] = {}

    def last(self, execution_id: str) -> int:
        """The highest number given out, 0 for none."""
        if execution_id not in self._last:
            if len(self._last) > 10_000:
                self._last.clear()
            found = self._db.execute(_LAST.where(T.c.execution_id == execution_id)).scalar()
            self._last[execution_id] = found or 0
        return self._last[execution_id]

    def append(self, execution_id: str, events: Sequence[Event]) -> int:
        """Number and store; an event whose event_id is there already is dropped. Returns how many are new.

        The caller commits.
        """
        sequence = start = self.last(execution_id)
        micros = time.time_ns() // 1000
        try:
            for event in events:
                row = {
                    "execution_id": execution_id,
                    "sequence": sequence + 1,
                    "event_id": event.get("event_id"),
                    "event_type": event["event_type"],
                    "data": dumps(event.get("data") or {}),
                    "timestamp": event.get("timestamp") or now(),
                    "micros": micros,
                }
                sequence += self._db.execute(_INSERT, row).rowcount
        except BaseException:
            self._last.pop(execution_id, None)  # the transaction is rolled back: what was counted is not there
            raise
        self._last[execution_id] = sequence
        return sequence - start

    def after(self, execution_id: str, sequence: int, limit: int = 500) -> list[Stored]:
        query = (
            select(T)
            .where(T.c.execution_id == execution_id, T.c.sequence > sequence)
            .order_by(T.c.sequence)
            .limit(limit)
        )
        return [
            Stored(r.execution_id, r.sequence, r.event_type, json.loads(r.data), r.timestamp, r.micros)
            for r in self._db.execute(query)
        ]
