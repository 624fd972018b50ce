"""This module stores which answers must still go back to where an execution's alert came from."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import bindparam, insert, select, update

from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps
from kubiya_worker.server.store.records import Object
from kubiya_worker.server.store.statement import Prepared

T: Final = schema.hook_replies
WAITING: Final = "waiting"
SENT: Final = "sent"
GIVEN_UP: Final = "given-up"
_DUE: Final = Prepared(
    select(T)
    .where(T.c.state == WAITING, T.c.next_at <= bindparam("now"))
    .order_by(T.c.next_at)
    .limit(bindparam("most"))
)


@dataclass(frozen=True)
class WaitingReply:
    execution_id: str
    hook_id: str
    tries: int
    data: Object = field(default_factory=dict)


class Replies:
    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, execution_id: str, hook_id: str) -> None:
        row = {"execution_id": execution_id, "hook_id": hook_id, "state": WAITING, "tries": 0}
        with self._db.transaction():
            if self._db.execute(select(T.c.state).where(T.c.execution_id == execution_id)).first() is None:
                self._db.execute(insert(T), {**row, "next_at": time.time(), "data": "{}"})

    def due(self, now: float, limit: int = 20) -> list[WaitingReply]:
        """Return replies whose time has come, the oldest first."""
        rows = self._db.execute(_DUE, {"now": now, "most": limit})
        return [WaitingReply(row.execution_id, row.hook_id, row.tries, json.loads(row.data)) for row in rows]

    def record_try(self, execution_id: str, state: str, tries: int, next_at: float, data: Object) -> None:
        """Store how a try went."""
        changed = {"state": state, "tries": tries, "next_at": next_at, "data": dumps(data)}
        with self._db.transaction():
            self._db.execute(update(T).where(T.c.execution_id == execution_id).values(changed))

    def of(self, execution_id: str) -> Object | None:
        """Return {state, tries, ...what the last try was answered} of an execution's reply."""
        row = self._db.execute(select(T).where(T.c.execution_id == execution_id)).first()
        return {"state": row.state, "tries": row.tries, **json.loads(row.data)} if row else None
