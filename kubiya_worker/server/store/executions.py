"""This module stores executions and the changes of their status (docs/protocol.md#b7)."""

from __future__ import annotations

import json
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, insert, select, text

from kubiya_worker.protocol import execution as ex
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps, now

Execution = dict[str, Any]
T = schema.executions
COLUMNS = ("id", "organization_id", "execution_type", "entity_id", "queue_id", "status", "created_at", "updated_at")
SUMMARY_PROMPT: Final = 200  # characters

_ALL = select(*(T.c[name] for name in COLUMNS), T.c.data)
# Built once, because building a query costs as much as running it.
_GET = _ALL.where(T.c.id == bindparam("id"), T.c.organization_id == bindparam("organization"))
_ENVIRONMENT = select(T.c.environment).where(T.c.id == bindparam("id"))
_INSERT = insert(T)
_SAVE = text("update executions set status = :status, updated_at = :updated_at, data = :data where id = :id")
_PLACE = text("select execution_type, queue_id from executions where id = :id")
_OWNER = text("select organization_id from executions where id = :id")
_STATUS = text("select status from executions where id = :id")


def next_status(current: str, asked: str, *, by_worker: bool = True) -> str:
    """Return the status after a requested change: a final one stays, and only a person's resume ends a pause. Pure."""
    asked = asked.lower()
    if ex.is_final(current):
        return current
    if by_worker and current == ex.PAUSED and not ex.is_final(asked):
        return current
    return asked


class Executions:
    def __init__(self, database: Database) -> None:
        self._db = database
        self._owners: dict[str, str] = {}

    def _object(self, row: Any) -> Execution:
        return {**json.loads(row.data), **{name: getattr(row, name) for name in COLUMNS}}

    def create(
        self, execution: Execution, *, environment: dict[str, str], idempotency_key: str | None = None
    ) -> Execution:
        """Store a pending execution; `environment` holds variables of this run, which only its worker gets."""
        at = now()
        row = {name: execution[name] for name in COLUMNS if name in execution}
        row |= {"status": ex.PENDING, "created_at": at, "updated_at": at}
        data = {k: v for k, v in execution.items() if k not in COLUMNS}
        hidden = {"idempotency_key": idempotency_key, "environment": dumps(environment), "data": dumps(data)}
        with self._db.transaction():
            self._db.execute(_INSERT, {**row, **hidden})
        return {**data, **row}

    def owner(self, execution_id: str) -> str | None:
        """Return the organization of an execution, the only fact that storing an event needs."""
        if execution_id not in self._owners:
            found: str | None = self._db.execute(_OWNER, {"id": execution_id}).scalar()
            if found is None:
                return None
            if len(self._owners) > 10_000:
                self._owners.clear()
            self._owners[execution_id] = found
        return self._owners[execution_id]

    def place(self, execution_id: str) -> tuple[str, str] | None:
        """Return the type and the queue, from which the workflow's address is made."""
        row = self._db.execute(_PLACE, {"id": execution_id}).first()
        return (row[0], row[1]) if row else None

    def status(self, execution_id: str) -> str | None:
        found: str | None = self._db.execute(_STATUS, {"id": execution_id}).scalar()
        return found

    def get(self, organization_id: str, execution_id: str) -> Execution | None:
        row = self._db.execute(_GET, {"id": execution_id, "organization": organization_id}).first()
        return self._object(row) if row else None

    def by_idempotency_key(self, organization_id: str, key: str) -> Execution | None:
        row = self._db.execute(_ALL.where(T.c.organization_id == organization_id, T.c.idempotency_key == key)).first()
        return self._object(row) if row else None

    def environment(self, execution_id: str) -> dict[str, str]:
        found = self._db.execute(_ENVIRONMENT, {"id": execution_id}).scalar()
        variables: dict[str, str] = json.loads(found) if found else {}
        return variables

    def search(
        self,
        organization_id: str,
        *,
        queue_id: str = "",
        status: str = "",
        kind: str = "",
        skip: int = 0,
        limit: int = 50,
    ) -> list[Execution]:
        query = _ALL.where(T.c.organization_id == organization_id)
        if queue_id:
            query = query.where(T.c.queue_id == queue_id)
        if status:
            query = query.where(T.c.status == status.lower())
        if kind:
            query = query.where(T.c.execution_type == kind.lower())
        query = query.order_by(T.c.created_at.desc()).offset(skip).limit(limit)
        return [self._object(row) for row in self._db.execute(query)]

    def counts(self, organization_id: str, queue_id: str, since: str) -> dict[str, int]:
        """Return the number of a queue's executions made since `since`, by status."""
        query = select(T.c.status, func.count()).group_by(T.c.status)
        query = query.where(T.c.organization_id == organization_id, T.c.queue_id == queue_id, T.c.created_at >= since)
        return {row[0]: row[1] for row in self._db.execute(query)}

    def save(self, execution: Execution) -> Execution:
        """Write an object that was read and changed."""
        execution["updated_at"] = now()
        data = {k: v for k, v in execution.items() if k not in COLUMNS}
        values = {key: execution[key] for key in ("id", "status", "updated_at")}
        with self._db.transaction():
            self._db.execute(_SAVE, {**values, "data": dumps(data)})
        return execution

    def delete(self, execution_id: str) -> None:
        with self._db.transaction():
            self._db.execute(delete(T).where(T.c.id == execution_id))
        self._owners.pop(execution_id, None)

    def open(self, unchanged_since: str) -> list[Execution]:
        """Return executions for the reconciler: not final, sent to Temporal, unchanged since then; of all
        organizations.
        """
        told = select(schema.outbox.c.id).where(schema.outbox.c.execution_id == T.c.id).exists()
        query = _ALL.where(T.c.status.not_in(sorted(ex.FINAL)), T.c.updated_at < unchanged_since, ~told)
        return [self._object(row) for row in self._db.execute(query.order_by(T.c.updated_at))]


def summary(execution: Execution) -> Execution:
    """Return the row for lists, without fields that can be long."""
    keys = ("response", "system_prompt", "participants")
    short = {k: v for k, v in execution.items() if k not in keys}
    return {**short, "prompt": str(execution.get("prompt") or "")[:SUMMARY_PROMPT]}
