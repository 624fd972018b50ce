"""This module stores the versions of definitions: each spec that was applied, who applied it, and when."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import func, insert, select, update

from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps, now
from kubiya_worker.server.store.records import Object

T = schema.definition_versions
KEY: Final = ("organization_id", "kind", "name", "version")


class Versions:
    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, organization_id: str, kind: str, name: str, action: str, spec: Object | None, by: Object) -> int:
        """Store the next version of a definition and return its number; `spec` is None for a deleted one."""
        query = select(func.max(T.c.version)).where(*_of(organization_id, kind, name))
        version = int(self._db.execute(query).scalar() or 0) + 1
        row = {"organization_id": organization_id, "kind": kind, "name": name, "version": version}
        data = {"action": action, "spec": spec, "by": by, "at": now()}
        with self._db.transaction():
            self._db.execute(insert(T), {**row, "data": dumps(data)})
        return version

    def list(self, organization_id: str, kind: str, name: str) -> list[Object]:
        """Return the versions, newest first: {version, action, spec, by, at}."""
        query = select(T).where(*_of(organization_id, kind, name)).order_by(T.c.version.desc())
        return [{"version": row.version, **json.loads(row.data)} for row in self._db.execute(query)]

    def every(self) -> Iterator[Object]:
        """Yield the versions of all organizations that have a spec: {organization_id, kind, name, version, spec}."""
        for row in self._db.execute(select(T)).all():
            spec = json.loads(row.data)["spec"]
            if spec is not None:
                yield {**{name: getattr(row, name) for name in KEY}, "spec": spec}

    def replace_spec(self, version: Object, spec: Object) -> None:
        """Put another spec in place of a stored one. Who applied it, and when, stays."""
        mine = [T.c[column] == version[column] for column in KEY]
        with self._db.transaction():
            data = json.loads(self._db.execute(select(T.c.data).where(*mine).with_for_update()).scalar_one())
            self._db.execute(update(T).where(*mine).values(data=dumps({**data, "spec": spec})))

    def newest(self, organization_id: str, kind: str, name: str) -> Object | None:
        versions = self.list(organization_id, kind, name)
        return versions[0] if versions else None


def _of(organization_id: str, kind: str, name: str) -> tuple[Any, Any, Any]:
    return T.c.organization_id == organization_id, T.c.kind == kind, T.c.name == name
