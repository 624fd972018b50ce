"""This module finds executions that nobody needs, and removes them in small steps.

It keeps what each one was and why it went. The first step takes an execution out of its organization, so that from then
on nobody sees a part of it. A control plane that is killed after that step goes on with the removal at its next look.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Table, bindparam, delete, func, select, text, tuple_

from kubiya_worker.protocol import execution as ex
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps, now
from kubiya_worker.server.store.executions import OPEN, Execution
from kubiya_worker.server.store.portable import json_text
from kubiya_worker.server.store.replies import WAITING
from kubiya_worker.server.store.statement import Prepared

E: Final = schema.executions
T: Final = schema.removed_executions
AT_ONCE: Final = 100  # executions that are read in a step
NOBODY: Final = ""  # the organization of an execution that is being removed
REMEMBERED: Final = 365 * 86_400.0  # seconds that what is left of an execution is kept: 400 bytes each
PARENT: Final = "parent_execution_id"
# What an execution may have many rows of, each with the column that tells them apart.
PARTS: Final[tuple[tuple[Table, str], ...]] = (
    (schema.events, "sequence"),
    (schema.session_parts, "first"),
    (schema.tool_calls, "id"),
    (schema.turns, "id"),
    (schema.approvals, "id"),
    (schema.run_files, "path"),
)

_ORGANIZATIONS: Final = Prepared(
    text("select organization_id from audit_heads union select organization_id from api_keys")
)
_PAGE: Final = Prepared(
    select(E.c.created_at, E.c.id, E.c.organization_id, E.c.status, E.c.updated_at)
    .where(
        E.c.organization_id == bindparam("organization"),
        tuple_(E.c.created_at, E.c.id) > tuple_(bindparam("at"), bindparam("after")),
    )
    .order_by(E.c.created_at, E.c.id)
    .limit(AT_ONCE)
)
_NTH: Final = Prepared(
    select(E.c.created_at, E.c.id)
    .where(E.c.organization_id == bindparam("organization"))
    .order_by(E.c.created_at.desc(), E.c.id.desc())
    .limit(1)
    .offset(bindparam("skip"))
)
# Only with what was left for it: an organization may have the empty name.
_HIDDEN: Final = Prepared(
    select(E.c.id).where(E.c.organization_id == NOBODY, E.c.id.in_(select(T.c.id))).limit(AT_ONCE)
)
_HIDE: Final = Prepared(
    text(
        "update executions set organization_id = '', idempotency_key = null, updated_at = :at "
        "where id = :id and status = :status and updated_at = :was"
    )
)
# Temporal must still be told something; its answer is not back where its alert came from; a hook puts what comes next
# to it; or it is what a job did last.
_NEEDED: Final = Prepared(
    text(
        "select 1 where exists (select 1 from outbox where execution_id = :id) "
        "or exists (select 1 from hook_replies where execution_id = :id and state = :waiting) "
        "or exists (select 1 from hook_threads where execution_id = :id) "
        "or exists (select 1 from job_runs mine join executions me on me.id = mine.execution_id "
        "where mine.execution_id = :id and not exists (select 1 from job_runs other join executions it "
        "on it.id = other.execution_id where other.job_id = mine.job_id and it.created_at > me.created_at))"
    )
)


@dataclass(frozen=True)
class KeepLimits:
    """The limits say what is kept of executions that ended. None is no limit.

    `days` counts from an execution's last change, `count` is for each organization, `bytes` for the whole database.
    `audit` is the number of days for which audit records are kept.
    """

    days: float | None = None
    count: int | None = None
    bytes: int | None = None
    audit: float | None = None

    def __bool__(self) -> bool:
        return any(limit is not None for limit in (self.days, self.count, self.bytes, self.audit))


class Candidate(NamedTuple):
    """An execution in the order of removal: the oldest is the first."""

    created_at: str
    id: str
    organization_id: str
    status: str
    updated_at: str


class Removals:
    def __init__(self, database: Database) -> None:
        self._db = database

    # -- what to remove

    def organizations(self) -> list[str]:
        return sorted(row[0] for row in self._db.execute(_ORGANIZATIONS))

    def oldest(self, organization_id: str) -> Iterator[Candidate]:
        """Yield the organization's executions, the oldest first; they are read some at a time."""
        at, after = "", ""
        while True:
            values = {"organization": organization_id, "at": at, "after": after}
            candidates = [Candidate(*row) for row in self._db.execute(_PAGE, values)]
            yield from candidates
            if len(candidates) < AT_ONCE:
                return
            at, after = candidates[-1].created_at, candidates[-1].id

    def nth_newest(self, organization_id: str, number: int) -> tuple[str, str] | None:
        """Return the place of an organization's execution, counted from its newest one; None where it has fewer."""
        row = self._db.execute(_NTH, {"organization": organization_id, "skip": number - 1}).first()
        return (row[0], row[1]) if row else None

    def needed(self, execution_id: str) -> bool:
        """Return whether something waits for an execution that is over, or refers to it for what comes next."""
        return self._db.execute(_NEEDED, {"id": execution_id, "waiting": WAITING}).first() is not None

    def parents(self, organization_id: str) -> Iterator[str]:
        """Yield the ids of those that led to open executions; they are read some at a time."""
        paths = (PARENT, f"execution_metadata.{PARENT}")
        query = select(E.c.created_at, E.c.id, *(json_text(E.c.data, path) for path in paths))
        for status in OPEN:
            at, after = "", ""
            while True:
                mine = query.where(E.c.organization_id == organization_id, E.c.status == status)
                page = mine.where(tuple_(E.c.created_at, E.c.id) > (at, after)).order_by(E.c.created_at, E.c.id)
                rows = self._db.execute(page.limit(AT_ONCE)).all()
                for row in rows:
                    yield str(row[2] or row[3] or "")
                if len(rows) < AT_ONCE:
                    break
                at, after = rows[-1][0], rows[-1][1]

    # -- removing

    def hide(self, execution: Execution, rule: str, at: float) -> bool:
        """Let what is left stand for an execution; return False when it is not any more as it was read."""
        left = {name: execution.get(name) for name in ("entity_id", "queue_id", "execution_type", "status")}
        name = execution.get("entity_name") or execution["entity_id"]
        data = {**left, "entity_name": name, "ended_at": execution.get("completed_at"), "rule": rule}
        wanted = {"id": execution["id"], "status": execution["status"], "was": execution["updated_at"], "at": now()}
        with self._db.transaction():
            if not self._db.execute(_HIDE, wanted).rowcount:
                return False
            row = {"id": execution["id"], "organization_id": execution["organization_id"], "data": dumps(data)}
            self._db.execute(T.insert(), {**row, "removed_at": at})
        return True

    def hidden(self) -> list[str]:
        """Return some of the executions that are not removed completely."""
        return [row[0] for row in self._db.execute(_HIDDEN)]

    def drop_part(self, execution_id: str, most: int) -> bool:
        """Delete at most `most` rows of a hidden execution, and return whether there are more."""
        with self._db.transaction():
            for table, name in PARTS:
                mine, column = table.c.execution_id == execution_id, table.c[name]
                some = select(column).where(mine).order_by(column).limit(most).subquery()
                last = select(func.max(some.c[name])).scalar_subquery()  # a range of the index, in both databases
                if self._db.execute(delete(table).where(mine, column <= last)).rowcount:
                    return True
            self._db.execute(delete(E).where(E.c.id == execution_id, E.c.organization_id == NOBODY))
        return False

    # -- what is left

    def find(self, organization_id: str, execution_id: str) -> dict[str, Any] | None:
        """Return {entity_id, entity_name, queue_id, execution_type, status, ended_at, removed_at, rule}."""
        query = select(T.c.data, T.c.removed_at).where(T.c.id == execution_id, T.c.organization_id == organization_id)
        row = self._db.execute(query).first()
        if row is None:
            return None
        at = datetime.fromtimestamp(row.removed_at, UTC).isoformat(timespec="seconds")
        return {**json.loads(row.data), "removed_at": at}

    def forget_old(self, at: float) -> None:
        old = select(T.c.id).where(T.c.removed_at < at - REMEMBERED).limit(AT_ONCE)
        with self._db.transaction():
            self._db.execute(delete(T).where(T.c.id.in_(old)))

    # -- the file

    def used_bytes(self) -> int:
        return self._db.used_bytes()

    def give_back(self, pages: int) -> bool:
        """Cut at most this many free pages off the database's file; return whether more can be cut."""
        return self._db.give_back(pages)


def is_over(candidate: Candidate, unchanged_since: str) -> bool:
    """Return whether an execution ended, and nobody follows its end any more. Pure."""
    return ex.is_final(candidate.status) and candidate.updated_at < unchanged_since
