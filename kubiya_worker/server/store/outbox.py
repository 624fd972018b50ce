"""This module stores the actions that Temporal must still be told about an execution, in order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select

from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps
from kubiya_worker.server.store.executions import take_turn
from kubiya_worker.server.store.statement import Prepared

START: Final = "start"  # argument: the workflow's input
SIGNAL: Final = "signal"  # argument: {name, args}
CANCEL: Final = "cancel"
TERMINATE: Final = "terminate"  # argument: {reason}
PRIORITY: Final = "temporal_priority"  # beside a start's input, of which it is no part

T = schema.outbox
_ADD = Prepared(insert(T), ("execution_id", "action", "argument"))
_NEXT = Prepared(select(T).where(T.c.execution_id == bindparam("execution_id")).order_by(T.c.id).limit(1))
_REMOVE = Prepared(delete(T).where(T.c.id == bindparam("key")))
MAX_ARGUMENT: Final = 1_500_000  # bytes: Temporal's limit for one payload is 2 MB


class TooLarge(Exception):
    """The action is larger than Temporal accepts; the text is shown to the caller."""


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
        """Store an action; raise TooLarge, because an action that Temporal never accepts would block those after it."""
        text = dumps(argument or {})
        if len(text) > MAX_ARGUMENT:
            raise TooLarge(f"The request comes to {len(text):,} bytes for Temporal; at most {MAX_ARGUMENT:,} are taken")
        row = {"execution_id": execution_id, "action": kind, "argument": text}
        with self._db.transaction():
            take_turn(self._db, execution_id)  # else another server could commit a higher number before this one
            self._db.execute(_ADD, row)

    def next(self, execution_id: str) -> Action | None:
        row = self._db.execute(_NEXT, {"execution_id": execution_id}).first()
        return Action(row.id, row.execution_id, row.action, json.loads(row.argument)) if row else None

    def remove(self, action_id: int) -> None:
        with self._db.transaction():
            self._db.execute(_REMOVE, {"key": action_id})

    def withdraw_start(self, execution_id: str) -> None:
        """Delete the start of an execution that was cancelled before Temporal got it."""
        with self._db.transaction():
            self._db.execute(delete(T).where(T.c.execution_id == execution_id, T.c.action == START))

    def waiting(self) -> list[str]:
        """Return the executions that have actions for Temporal."""
        return [row[0] for row in self._db.execute(select(T.c.execution_id).distinct())]
