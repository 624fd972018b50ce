"""What Temporal has still to be told about an execution, in order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select

from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps

START: Final = "start"  # argument: the workflow's input
SIGNAL: Final = "signal"  # argument: {name, args}
CANCEL: Final = "cancel"
TERMINATE: Final = "terminate"  # argument: {reason}

T = schema.outbox
_ADD = insert(T)  # built once: building a statement costs as much as running it
_NEXT = select(T).where(T.c.execution_id == bindparam("execution_id")).order_by(T.c.id).limit(1)
_REMOVE = delete(T).where(T.c.id == bindparam("key"))
MAX_ARGUMENT: Final = 1_500_000  # bytes: Temporal's limit for one payload is 2 MB


class TooLarge(Exception):
    """More than Temporal takes in one piece; the text is for who asked."""


@dataclass(frozen=True)
class Action:
    id: int
    execution_id: str
    kind: str
    argument: dict[str, Any]


class Outbox:
    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, execution_id: str, kind: str, argument: dict[str, Any] | None = None) -> None:
        """Raises TooLarge: what Temporal would never take must not stand in the way of what comes after it."""
        text = dumps(argument or {})
        if len(text) > MAX_ARGUMENT:
            raise TooLarge(f"The request comes to {len(text):,} bytes for Temporal; at most {MAX_ARGUMENT:,} are taken")
        row = {"execution_id": execution_id, "action": kind, "argument": text}
        with self._db.transaction():
            self._db.execute(_ADD, row)

    def next(self, execution_id: str) -> Action | None:
        row = self._db.execute(_NEXT, {"execution_id": execution_id}).first()
        return Action(row.id, row.execution_id, row.action, json.loads(row.argument)) if row else None

    def remove(self, action_id: int) -> None:
        with self._db.transaction():
            self._db.execute(_REMOVE, {"key": action_id})

    def withdraw_start(self, execution_id: str) -> None:
        """What was never started need not be, when it was cancelled meanwhile."""
        with self._db.transaction():
            self._db.execute(delete(T).where(T.c.execution_id == execution_id, T.c.action == START))

    def waiting(self) -> list[str]:
        """Executions that Temporal has still to be told something about."""
        return [row[0] for row in self._db.execute(select(T.c.execution_id).distinct())]
