"""This module stores named objects (environments, queues, agents, teams, rules) as JSON, found by id or name."""

from __future__ import annotations

import json
import uuid
from typing import Any

from sqlalchemy import Table, bindparam, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from kubiya_worker.server.store.database import Database, dumps, now

Object = dict[str, Any]


class Taken(Exception):
    """Another object of the organization already has this name."""


class Records:
    def __init__(self, database: Database, table: Table) -> None:
        self._db, self._table = database, table
        t = table.c  # built once: building a query costs as much as running it
        either = or_(t.id == bindparam("key"), t.name == bindparam("key"))
        ours = t.organization_id == bindparam("organization")
        self._find = select(table).where(ours, either)
        self._list = select(table).where(ours).order_by(t.created_at, t.name)
        new: dict[str, Any] = {name: bindparam(name) for name in ("data", "name", "updated_at")}
        self._update = update(table).where(t.id == bindparam("key")).values(new)

    def _object(self, row: Any) -> Object:
        return {
            **json.loads(row.data),
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

    def create(self, organization_id: str, name: str, data: Object, key: str | None = None) -> Object:
        at = now()
        row = {
            "id": key or str(uuid.uuid4()),
            "organization_id": organization_id,
            "name": name,
            "data": dumps(data),
            "created_at": at,
            "updated_at": at,
        }
        try:
            with self._db.transaction():
                self._db.execute(insert(self._table), row)
        except IntegrityError as error:
            raise Taken(name) from error
        return {**data, **{k: v for k, v in row.items() if k != "data"}}

    def update(self, record: Object, changes: Object) -> Object:
        """Return the object with `changes` applied; id, organization and times cannot change."""
        fixed = ("id", "organization_id", "created_at", "updated_at", "name")
        data = {k: v for k, v in {**record, **changes}.items() if k not in fixed}
        name = str(changes.get("name") or record["name"])
        values = {"data": dumps(data), "name": name, "updated_at": now()}
        try:
            with self._db.transaction():
                self._db.execute(self._update, {**values, "key": record["id"]})
        except IntegrityError as error:
            raise Taken(name) from error
        return {**record, **changes, "id": record["id"], "name": name, "updated_at": values["updated_at"]}

    def delete(self, key: str) -> None:
        with self._db.transaction():
            self._db.execute(delete(self._table).where(self._table.c.id == key))
