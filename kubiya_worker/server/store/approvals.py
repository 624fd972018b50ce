"""This module stores approval requests and their answers (docs/protocol.md#a9)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, func, insert, select, update

from kubiya_worker.protocol.messages import arguments_hash
from kubiya_worker.server.person import EVERYTHING, Scope
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, Stale, dumps, now
from kubiya_worker.server.store.executions import within
from kubiya_worker.server.store.journal import Change
from kubiya_worker.server.store.portable import json_text
from kubiya_worker.server.store.statement import Prepared

Approval = dict[str, Any]
T = schema.approvals
COLUMNS = ("id", "organization_id", "execution_id", "status", "created_at", "updated_at")

TOLD: Final = (
    *("status", "risk_level", "reason", "expires_at", "requester_email"),
    *("approved_by_email", "approved_by_name", "rejection_reason", "comment", "answered_by"),
)

PENDING: Final = "pending"
APPROVED: Final = "approved"
REJECTED: Final = "rejected"
EXPIRED: Final = "expired"

_PENDING_OF = Prepared(select(T).where(T.c.execution_id == bindparam("execution_id"), T.c.status == PENDING))


def overdue(approval: Approval, at: datetime) -> bool:
    """Return whether the request's time passed without an answer. Pure."""
    return approval["status"] == PENDING and datetime.fromisoformat(approval["expires_at"]) <= at


@dataclass(frozen=True, kw_only=True)
class ApprovalQuery:
    """Say which requests are looked for, of those that a key with this scope covers; what is empty does not count."""

    scope: Scope = EVERYTHING
    status: str = ""
    execution_id: str = ""
    requester: str = ""  # an e-mail
    queue_id: str = ""

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        executions = schema.executions
        if self.scope.limited:
            yield T.c.execution_id.in_(select(executions.c.id).where(*within(self.scope)))
        if self.queue_id:
            yield T.c.execution_id.in_(select(executions.c.id).where(executions.c.queue_id == self.queue_id))
        if self.status:
            yield T.c.status == self.status.lower()
        if self.execution_id:
            yield T.c.execution_id == self.execution_id
        if self.requester:
            yield json_text(T.c.data, "requester_email") == self.requester


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
            approval = {**data, **row}
            self._record(approval, None)
        return approval

    def _record(self, approval: Approval, before: Approval | None) -> None:
        """Have a request or its end recorded; the arguments are proven by their hash."""
        edited, context = approval.get("edited_args"), approval.get("enforcement_context") or {}
        after = {name: approval.get(name) for name in TOLD}
        if edited is not None:
            after["edited_arguments_hash"] = arguments_hash(str(approval.get("tool_name")), edited)
        about = {name: approval.get(name) for name in ("execution_id", "arguments_hash", "rule_id")}
        about["rules_version"] = context.get("rules_version")
        sides = (None if before is None else {name: before.get(name) for name in TOLD}, after)
        name = str(approval.get("tool_name") or "")
        organization_id = approval["organization_id"]
        self._db.changed(Change(organization_id, "approval", approval["id"], name, *sides, about=about))

    def get(self, organization_id: str, key: str) -> Approval | None:
        row = self._db.execute(select(T).where(T.c.id == key, T.c.organization_id == organization_id)).first()
        return self._object(row) if row else None

    def exists(self, key: str) -> bool:
        return self._db.execute(select(T.c.id).where(T.c.id == key)).first() is not None

    def search(
        self, organization_id: str, wanted: ApprovalQuery, *, limit: int = 50, offset: int = 0
    ) -> list[Approval]:
        """Return the requests that fit, newest first."""
        query = select(T).where(T.c.organization_id == organization_id, *wanted.conditions())
        query = query.order_by(T.c.created_at.desc()).limit(limit).offset(offset)
        return [self._object(row) for row in self._db.execute(query)]

    def pending_of(self, execution_id: str) -> list[Approval]:
        return [self._object(row) for row in self._db.execute(_PENDING_OF, {"execution_id": execution_id})]

    def ending(self, before: str) -> list[Approval]:
        """Return the open requests of all organizations that end before a time, as ISO-8601 in UTC."""
        query = select(T).where(T.c.status == PENDING, json_text(T.c.data, "expires_at") <= before)
        return [self._object(row) for row in self._db.execute(query)]

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
                json_text(T.c.data, "expires_at") > datetime.now(UTC).isoformat(),
            )
        )
        return int(self._db.execute(query).scalar() or 0)

    def resolve(self, approval: Approval, status: str, changes: dict[str, Any]) -> Approval:
        at, before = now(), approval
        approval = {**approval, **changes, "status": status, "resolved_at": at, "updated_at": at}
        data = {k: v for k, v in approval.items() if k not in COLUMNS}
        with self._db.transaction():
            mine = (T.c.id == approval["id"]) & (T.c.status == before["status"])
            if not self._db.execute(
                update(T).where(mine), {"status": status, "updated_at": at, "data": dumps(data)}
            ).rowcount:
                raise Stale  # another answer was first
            self._record(approval, before)
        return approval
