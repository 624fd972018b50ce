"""Executions: their rows and the transitions of their status (PROTOCOL B.7)."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import delete, insert, select, update

from kubiya_worker.protocol import execution as ex
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps, now

Execution = dict[str, Any]
T = schema.executions
COLUMNS = ("id", "organization_id", "execution_type", "entity_id", "queue_id", "status", "created_at", "updated_at")


def next_status(current: str, asked: str) -> str:
    """The status after a change is asked for: what is final stays, whatever comes late."""
    return current if ex.is_final(current) else asked.lower()


class Executions:
    def __init__(self, database: Database) -> None:
        self._db = database

    def _object(self, row: Any) -> Execution:
        return {**json.loads(row.data), **{name: getattr(row, name) for name in COLUMNS}}

    def create(self, execution: Execution, workflow_input: dict[str, Any]) -> Execution:
        """A row with status pending that Temporal has not got yet."""
        at = now()
        row = {name: execution[name] for name in COLUMNS if name in execution}
        row |= {"status": ex.PENDING, "dispatched": False, "created_at": at, "updated_at": at}
        data = {k: v for k, v in execution.items() if k not in COLUMNS}
        self._db.execute(insert(T), {**row, "workflow_input": dumps(workflow_input), "data": dumps(data)})
        self._db.commit()
        return {**data, **{k: v for k, v in row.items() if k != "dispatched"}}

    def get(self, organization_id: str, execution_id: str) -> Execution | None:
        query = select(T).where(T.c.id == execution_id, T.c.organization_id == organization_id)
        row = self._db.execute(query).first()
        return self._object(row) if row else None

    def page(
        self,
        organization_id: str,
        *,
        queue_id: str = "",
        status: str = "",
        kind: str = "",
        skip: int = 0,
        limit: int = 50,
    ) -> list[Execution]:
        query = select(T).where(T.c.organization_id == organization_id)
        if queue_id:
            query = query.where(T.c.queue_id == queue_id)
        if status:
            query = query.where(T.c.status == status.lower())
        if kind:
            query = query.where(T.c.execution_type == kind.lower())
        query = query.order_by(T.c.created_at.desc()).offset(skip).limit(limit)
        return [self._object(row) for row in self._db.execute(query)]

    def save(self, execution: Execution) -> Execution:
        """Write an object that was read and changed. The caller commits with the events that belong to it."""
        execution["updated_at"] = now()
        data = {k: v for k, v in execution.items() if k not in COLUMNS}
        values = {"status": execution["status"], "updated_at": execution["updated_at"], "data": dumps(data)}
        self._db.execute(update(T).where(T.c.id == execution["id"]), values)
        return execution

    def delete(self, execution_id: str) -> None:
        self._db.execute(delete(T).where(T.c.id == execution_id))
        self._db.commit()

    # -- what the outbox and the reconciler ask, across organizations

    def undispatched(self) -> list[tuple[Execution, dict[str, Any]]]:
        query = select(T).where(T.c.dispatched.is_(False), T.c.status == ex.PENDING).order_by(T.c.created_at)
        return [(self._object(row), json.loads(row.workflow_input)) for row in self._db.execute(query)]

    def dispatched(self, execution_id: str) -> None:
        self._db.execute(update(T).where(T.c.id == execution_id), {"dispatched": True})
        self._db.commit()

    def open(self) -> list[Execution]:
        query = select(T).where(T.c.dispatched.is_(True), T.c.status.not_in(sorted(ex.FINAL)))
        return [self._object(row) for row in self._db.execute(query)]
