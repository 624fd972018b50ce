"""This module stores approval requests and their answers (docs/protocol.md#a9)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import bindparam, func, insert, select, update

from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps, now

Approval = dict[str, Any]
T = schema.approvals
COLUMNS = ("id", "organization_id", "execution_id", "status", "created_at", "updated_at")

PENDING: Final = "pending"
APPROVED: Final = "approved"
REJECTED: Final = "rejected"
EXPIRED: Final = "expired"

# Built once, because building a query costs more than running it.
_PENDING_OF = select(T).where(T.c.execution_id == bindparam("execution_id"), T.c.status == PENDING)


def overdue(approval: Approval, at: datetime) -> bool:
    """Return whether the request's time passed without an answer. Pure."""
    return approval["status"] == PENDING and datetime.fromisoformat(approval["expires_at"]) <= at


class Approvals:
    def __init__(self, database: Database) -> None:
        self._db = database

    def _object(self, row: Any) -> Approval:
        return {**json.loads(row.data), **{name: getattr(row, name) for name in COLUMNS}}

    def create(
        self, organization_id: str, key: str, execution_id: str, data: dict[str, Any], timeout_minutes: float
    ) -> Approval:
        at = now()
        expires = datetime.now(UTC) + timedelta(minutes=timeout_minutes)
        data = {**data, "timeout_minutes": timeout_minutes, "expires_at": expires.isoformat()}
        row = {
            "id": key,
            "organization_id": organization_id,
            "execution_id": execution_id,
            "status": PENDING,
            "created_at": at,
            "updated_at": at,
        }
        with self._db.transaction():
            self._db.execute(insert(T), {**row, "data": dumps(data)})
        return {**data, **row}

    def get(self, organization_id: str, key: str) -> Approval | None:
        row = self._db.execute(select(T).where(T.c.id == key, T.c.organization_id == organization_id)).first()
        return self._object(row) if row else None

    def exists(self, key: str) -> bool:
        return self._db.execute(select(T.c.id).where(T.c.id == key)).first() is not None

    def search(
        self,
        organization_id: str,
        *,
        status: str = "",
        execution_id: str = "",
        requester: str = "",
        limit: int = 50,
        offset: int = 0,
    ) -> list[Approval]:
        query = select(T).where(T.c.organization_id == organization_id)
        if status:
            query = query.where(T.c.status == status.lower())
        if execution_id:
            query = query.where(T.c.execution_id == execution_id)
        if requester:
            query = query.where(T.c.data.op("->>")("$.requester_email") == requester)
        query = query.order_by(T.c.created_at.desc()).limit(limit).offset(offset)
        return [self._object(row) for row in self._db.execute(query)]

    def pending_of(self, execution_id: str) -> list[Approval]:
        return [self._object(row) for row in self._db.execute(_PENDING_OF, {"execution_id": execution_id})]

    def waiting(self, organization_id: str, queue_id: str) -> int:
        """Return the number of a queue's open requests that are not overdue."""
        of = schema.executions
        query = (
            select(func.count())
            .select_from(T.join(of, T.c.execution_id == of.c.id))
            .where(
                T.c.status == PENDING,
                T.c.organization_id == organization_id,
                of.c.queue_id == queue_id,
                T.c.data.op("->>")("$.expires_at") > datetime.now(UTC).isoformat(),
            )
        )
        return int(self._db.execute(query).scalar() or 0)

    def resolve(self, approval: Approval, status: str, changes: dict[str, Any]) -> Approval:
        at = now()
        approval = {**approval, **changes, "status": status, "resolved_at": at, "updated_at": at}
        data = {k: v for k, v in approval.items() if k not in COLUMNS}
        with self._db.transaction():
            self._db.execute(
                update(T).where(T.c.id == approval["id"]), {"status": status, "updated_at": at, "data": dumps(data)}
            )
        return approval
