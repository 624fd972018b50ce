"""This module stores executions and the changes of their status (docs/protocol.md#b7)."""

from __future__ import annotations

import json
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, insert, select, text

from kubiya_worker.protocol import execution as ex
from kubiya_worker.server.person import Scope
from kubiya_worker.server.sealing import Seal, is_sealed
from kubiya_worker.server.store import execution_search, schema
from kubiya_worker.server.store.database import Database, Stale, dumps, loads, now
from kubiya_worker.server.store.execution_search import ExecutionQuery, Place
from kubiya_worker.server.store.journal import Change
from kubiya_worker.server.store.statement import Prepared, Reader

Execution = dict[str, Any]
T = schema.executions
COLUMNS = ("id", "organization_id", "execution_type", "entity_id", "queue_id", "status", "created_at", "updated_at")
# What the record of a start says. The prompt is proven by its hash: a record outlives a deleted execution.
STARTED: Final = ("execution_type", "entity_id", "queue_id", "prompt", "parent_execution_id")
SUMMARY_PROMPT: Final = 200  # characters
# By name, since an index finds these: "not a final one" reads every execution there ever was, each few seconds.
OPEN: Final = tuple(sorted(ex.STATUSES - ex.FINAL))

_ALL = select(*(T.c[name] for name in COLUMNS), T.c.data)
_GET = Prepared(_ALL.where(T.c.id == bindparam("id"), T.c.organization_id == bindparam("organization")))
_ENVIRONMENT = Prepared(select(T.c.environment).where(T.c.id == bindparam("id")))
_INSERT = Prepared(insert(T))
_CHANGED = "update executions set status = :status, updated_at = :updated_at, data = :data where id = :id"
_SAVE = Prepared(text(_CHANGED))
_SAVE_AS_READ = Prepared(text(f"{_CHANGED} and updated_at = :was"))
# Who numbers something of an execution holds its row. It is a statement of its own: one that waits for a row still
# looks at what was there before it waited. SQLite has one writer, and no such statement.
TURN: Final = Prepared(
    text("select id from executions where id = :e"),
    postgresql=text("select id from executions where id = :e for no key update"),
)
_PLACE = Prepared(text("select execution_type, queue_id from executions where id = :id"))
_OWNER = Prepared(text("select organization_id from executions where id = :id"))
_REACH = Prepared(select(T.c.organization_id, T.c.queue_id, T.c.entity_id).where(T.c.id == bindparam("id")))
_STATUS = Prepared(text("select status from executions where id = :id"))


def take_turn(database: Database, execution_id: str) -> None:
    """Hold an execution's row until the end of the transaction that is open, where other processes write too."""
    if database.shared and execution_id not in database.held:
        database.execute(TURN, {"e": execution_id})
        database.hold(execution_id)


def within(scope: Scope) -> list[Any]:
    """Return the conditions that an execution is within a key's scope."""
    limits = ((T.c.queue_id, scope.queues), (T.c.entity_id, scope.agents))
    return [column.in_(sorted(ids)) for column, ids in limits if ids is not None]


def within_reach(reader: Reader, organization_id: str, scope: Scope, execution_id: str) -> bool:
    """Return whether an organization has an execution, within a key's scope."""
    row = reader.execute(_REACH, {"id": execution_id}).first()
    return row is not None and row.organization_id == organization_id and scope.covers(row.queue_id, row.entity_id)


def status_of(reader: Reader, execution_id: str) -> str | None:
    status: str | None = reader.execute(_STATUS, {"id": execution_id}).scalar()
    return status


def next_status(current: str, asked: str, *, by_worker: bool = True) -> str:
    """Return the status after a requested change: a final one stays, and only a person's resume ends a pause. Pure."""
    asked = asked.lower()
    if ex.is_final(current):
        return current
    if by_worker and current == ex.PAUSED and not ex.is_final(asked):
        return current
    return asked


class Executions:
    def __init__(self, database: Database, seal: Seal) -> None:
        self._db, self._seal = database, seal
        self._owners: dict[str, str] = {}

    def _object(self, row: Any) -> Execution:
        return {**loads(row.data), **{name: getattr(row, name) for name in COLUMNS}}

    def create(self, execution: Execution, *, own: dict[str, Any], idempotency_key: str | None = None) -> Execution:
        """Store a pending execution; `own` is what `own` returns, which only its worker gets. It is sealed."""
        at = now()
        row = {name: execution[name] for name in COLUMNS if name in execution}
        row |= {"status": ex.PENDING, "created_at": at, "updated_at": at}
        data = {k: v for k, v in execution.items() if k not in COLUMNS}
        hidden = {
            "idempotency_key": idempotency_key,
            "environment": self._sealed(own, execution["id"]),
            "data": dumps(data),
            "requester": execution_search.requester_of(execution),
            "words": execution_search.words_of(execution),
        }
        with self._db.transaction():
            self._db.execute(_INSERT, {**row, **hidden})
            self._db.hold(row["id"])
            created = {**data, **row}
            self.record_decision(created, "start", None, {name: created.get(name) for name in STARTED})
        return created

    def record_decision(
        self,
        execution: Execution,
        verb: str = "",
        before: Execution | None = None,
        after: Execution | None = None,
        **about: str,
    ) -> None:
        """Have a decision about an execution recorded; what its own steps do is in its event log."""
        name = str(execution.get("entity_name") or execution["entity_id"])
        change = Change(
            execution["organization_id"], "execution", execution["id"], name, before, after, verb, dict(about)
        )
        self._db.changed(change)

    def owner(self, execution_id: str) -> str | None:
        """Return the organization of an execution, the only fact that storing an event needs."""
        if execution_id not in self._owners or self._db.shared:  # another process may have deleted it
            organization_id: str | None = self._db.execute(_OWNER, {"id": execution_id}).scalar()
            if organization_id is None:
                return None
            if len(self._owners) > 10_000:
                self._owners.clear()
            self._owners[execution_id] = organization_id
        return self._owners[execution_id]

    def place(self, execution_id: str) -> tuple[str, str] | None:
        """Return the type and the queue, from which the workflow's address is made."""
        row = self._db.execute(_PLACE, {"id": execution_id}).first()
        return (row[0], row[1]) if row else None

    def status(self, execution_id: str) -> str | None:
        return status_of(self._db, execution_id)

    def get(self, organization_id: str, execution_id: str) -> Execution | None:
        row = self._db.execute(_GET, {"id": execution_id, "organization": organization_id}).first()
        return self._object(row) if row else None

    def by_idempotency_key(self, organization_id: str, key: str) -> Execution | None:
        row = self._db.execute(_ALL.where(T.c.organization_id == organization_id, T.c.idempotency_key == key)).first()
        return self._object(row) if row else None

    def own(self, execution_id: str) -> dict[str, Any]:
        """Return what this run alone was given, beside its entity's definition.

        It has those of `env_vars`, `mcp_servers` and `configuration` that the run was given. Raises ConfigurationError
        when it cannot be opened.
        """
        sealed = self._db.execute(_ENVIRONMENT, {"id": execution_id}).scalar()
        if not sealed:
            return {}
        if not is_sealed(sealed):  # a row of a version before secrets: the variables as they are
            return {"env_vars": variables} if (variables := json.loads(sealed)) else {}
        own: dict[str, Any] = json.loads(self._seal.open(sealed, _place(execution_id)))
        return own

    def environment(self, execution_id: str) -> dict[str, str]:
        variables: dict[str, str] = self.own(execution_id).get("env_vars") or {}
        return variables

    def _sealed(self, own: dict[str, Any], execution_id: str) -> str:
        filled = {part: value for part, value in own.items() if value}
        return self._seal.close(dumps(filled), _place(execution_id)) if filled else "{}"

    async def search(
        self,
        query: ExecutionQuery,
        *,
        after: Place | None = None,
        skip: int = 0,
        limit: int = 50,
    ) -> tuple[list[Execution], Place | None]:
        """Return at most `limit` executions in their order, and where the next search begins; None at the end."""

        def found(reader: Reader) -> tuple[list[Execution], Place | None]:
            ids, place = execution_search.find(reader, query, self._db.texts, after=after, skip=skip, limit=limit)
            rows = {row.id: row for row in reader.execute(_ALL.where(T.c.id.in_(ids)))} if ids else {}
            # One that was deleted between the two statements is left out.
            return [self._object(rows[key]) for key in ids if key in rows], place

        return await self._db.reading(found, long=True)

    def counts(self, organization_id: str, queue_id: str, since: str) -> dict[str, int]:
        """Return the number of a queue's executions made since `since`, by status."""
        query = select(T.c.status, func.count()).group_by(T.c.status)
        query = query.where(T.c.organization_id == organization_id, T.c.queue_id == queue_id, T.c.created_at >= since)
        return {row[0]: row[1] for row in self._db.execute(query)}

    def save(self, execution: Execution) -> Execution:
        """Write an object that was read and changed; raise Stale when it is not any more what was read."""
        was, execution["updated_at"] = execution["updated_at"], now()
        data = {k: v for k, v in execution.items() if k not in COLUMNS}
        values = {key: execution[key] for key in ("id", "status", "updated_at")}
        with self._db.transaction():
            if not self._db.shared:
                self._db.execute(_SAVE, {**values, "data": dumps(data)})
            elif not self._db.execute(_SAVE_AS_READ, {**values, "data": dumps(data), "was": was}).rowcount:
                raise Stale
            self._db.hold(execution["id"])
        return execution

    def delete(self, execution: Execution) -> None:
        with self._db.transaction():
            self._db.execute(delete(T).where(T.c.id == execution["id"]))
            self.record_decision(execution, "delete", {name: execution.get(name) for name in (*STARTED, "status")})
        self.forget(execution["id"])

    def forget(self, execution_id: str) -> None:
        """Read anew whose an execution is."""
        self._owners.pop(execution_id, None)

    def unfinished(self, organization_id: str) -> list[Execution]:
        """Return the organization's executions that are not final, oldest first."""
        query = _ALL.where(T.c.organization_id == organization_id, T.c.status.not_in(sorted(ex.FINAL)))
        return [self._object(row) for row in self._db.execute(query.order_by(T.c.created_at))]

    def open(self, unchanged_since: str, after: str = "", limit: int | None = None) -> list[Execution]:
        """Return executions for the reconciler: not final, sent to Temporal, unchanged since then.

        They are of all organizations, in the order of their ids, and come after the id `after`.
        """
        unsent = select(schema.outbox.c.id).where(schema.outbox.c.execution_id == T.c.id).exists()
        query = _ALL.where(T.c.status.in_(OPEN), T.c.id > after, T.c.updated_at < unchanged_since, ~unsent)
        return [self._object(row) for row in self._db.execute(query.order_by(T.c.id).limit(limit))]


def _place(execution_id: str) -> str:
    return f"execution:{execution_id}"


def summary(execution: Execution) -> Execution:
    """Return the row for lists, without fields that can be long."""
    keys = ("response", "system_prompt", "request", "participants")
    short = {k: v for k, v in execution.items() if k not in keys}
    return {**short, "prompt": str(execution.get("prompt") or "")[:SUMMARY_PROMPT]}
