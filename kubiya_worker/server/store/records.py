"""This module stores named objects (environments, queues, agents, teams, rules) as JSON, found by id or name."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Table, bindparam, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from kubiya_worker.server.open_credentials import PARTS, OpenCredential, found_in
from kubiya_worker.server.store.database import Database, Stale, dumps, loads, now
from kubiya_worker.server.store.journal import Change
from kubiya_worker.server.store.statement import Prepared

Object = dict[str, Any]
Objects = list[Object]  # in a class that has a method `list`


# What workers report of an agent at each of its runs: steps of an execution, and so no records of their own.
REPORTED: Final = {"agent": frozenset({"status"})}


class Taken(Exception):
    """Another object of the organization already has this name."""


class CredentialsInTheOpen(Exception):
    """A definition holds credentials; the control plane stores references to secrets only."""

    def __init__(self, found: Sequence[OpenCredential]) -> None:
        super().__init__(f"{len(found)} credentials in the open")
        self.found = found


def _refuse_open(definition: Object, kind: str = "") -> None:
    credentials = found_in(definition, kind)
    if credentials:
        raise CredentialsInTheOpen(credentials)


class Records:
    def __init__(self, database: Database, table: Table, kind: str) -> None:
        """Take the table, and what its objects are called in records."""
        self._db, self._table, self._kind = database, table, kind
        t = table.c
        either = or_(t.id == bindparam("key"), t.name == bindparam("key"))
        ours = t.organization_id == bindparam("organization")
        self._find = Prepared(select(table).where(ours, either))
        self._list = Prepared(select(table).where(ours).order_by(t.created_at, t.name))
        new: dict[str, Any] = {name: bindparam(name) for name in ("data", "name", "updated_at")}
        changed = update(table).where(t.id == bindparam("key"))
        self._update = Prepared(changed.values(new))
        self._update_as_read = Prepared(changed.where(t.updated_at == bindparam("was")).values(new))

    def _object(self, row: Any) -> Object:
        return {
            **loads(row.data),
            "id": row.id,
            "organization_id": row.organization_id,
            "name": row.name,
            "created_at": row.created_at,
            "updated_at": row.updated_at,
        }

    def find(self, organization_id: str, key: str) -> Object | None:
        """Return an object by id or name; an id is preferred."""
        rows = self._db.execute(self._find, {"organization": organization_id, "key": key}).all()
        rows.sort(key=lambda row: row.id != key)
        return self._object(rows[0]) if rows else None

    def list(self, organization_id: str) -> list[Object]:
        return [self._object(row) for row in self._db.execute(self._list, {"organization": organization_id})]

    def every(self) -> Objects:
        """Return the objects of all organizations."""
        return [self._object(row) for row in self._db.execute(select(self._table))]

    def create(self, organization_id: str, name: str, data: Object, key: str | None = None) -> Object:
        _refuse_open({**data, "name": name}, self._kind)
        at = now()
        row = {
            "id": key or str(uuid.uuid4()),
            "organization_id": organization_id,
            "name": name,
            "data": dumps(data),
            "created_at": at,
            "updated_at": at,
        }
        created = {**data, **{k: v for k, v in row.items() if k != "data"}}
        try:
            with self._db.transaction():
                self._db.execute(insert(self._table), row)
                self._changed(created, None, created)
        except IntegrityError as error:
            raise Taken(name) from error
        return created

    def update(self, record: Object, changes: Object) -> Object:
        """Return the object with `changes` applied; id, organization and times cannot change.

        What workers report of an agent is written only where it differs from `record`: most runs find it as it is.
        Raises Stale when `record` is not any more what is stored, where other processes can change it.
        """
        reported = changes.keys() <= REPORTED.get(self._kind, frozenset())
        if reported and all(record.get(name) == value for name, value in changes.items()):
            return record
        # One field of a skill or a server says nothing alone: whose text it is counts.
        _refuse_open({**record, **changes} if self._kind in PARTS else changes, self._kind)
        fixed = ("id", "organization_id", "created_at", "updated_at", "name")
        data = {k: v for k, v in {**record, **changes}.items() if k not in fixed}
        name = str(changes.get("name") or record["name"])
        values = {"data": dumps(data), "name": name, "updated_at": now()}
        changed = {**record, **changes, "id": record["id"], "name": name, "updated_at": values["updated_at"]}
        try:
            with self._db.transaction():
                if not self._db.shared:
                    self._db.execute(self._update, {**values, "key": record["id"]})
                elif not self._db.execute(
                    self._update_as_read, {**values, "key": record["id"], "was": record["updated_at"]}
                ).rowcount:
                    raise Stale
                if not reported:
                    self._changed(changed, record, changed)
        except IntegrityError as error:
            raise Taken(name) from error
        return changed

    def delete(self, record: Object) -> None:
        with self._db.transaction():
            self._db.execute(delete(self._table).where(self._table.c.id == record["id"]))
            self._changed(record, record, None)

    def _changed(self, about: Object, before: Object | None, after: Object | None) -> None:
        self._db.changed(Change(about["organization_id"], self._kind, about["id"], about["name"], before, after))
