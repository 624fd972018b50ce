"""This module stores secrets: sealed values, or the external source that has the value. No reply shows a value."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import delete, insert, select, update

from kubiya_worker.server.sealing import FORMAT, Seal
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps, now
from kubiya_worker.server.store.journal import Change
from kubiya_worker.server.store.records import Object

T: Final = schema.secrets
USED_EVERY: Final = 30.0  # seconds between two writes of a secret's last use


class Secrets:
    def __init__(self, database: Database, seal: Seal) -> None:
        self._db, self._seal = database, seal

    def list(self, organization_id: str) -> list[Object]:
        """Return {name, source, created_at, updated_at, created_by, updated_by, used_at} of each, without values."""
        query = select(T).where(T.c.organization_id == organization_id).order_by(T.c.name)
        return [_shown(row) for row in self._db.execute(query)]

    def find(self, organization_id: str, name: str) -> Object | None:
        """Return one secret as `list` shows it."""
        row = self._row(organization_id, name)
        return _shown(row) if row is not None else None

    def names(self, organization_id: str) -> set[str]:
        return {row.name for row in self._db.execute(select(T.c.name).where(T.c.organization_id == organization_id))}

    def set(
        self,
        organization_id: str,
        name: str,
        by: dict[str, str],
        *,
        value: str | None = None,
        source: str | None = None,
    ) -> Object:
        """Store a value or a source in place of what was there. Raises ConfigurationError when it cannot be sealed."""
        sealed = None if value is None else self._seal.close(value, _place(organization_id, name))
        known = self.find(organization_id, name)
        at = now()
        kept = {name: known[name] for name in ("created_by", "applied_from") if known and name in known}
        data = dumps({"created_by": by, **kept, "updated_by": by})
        changed = {"value": sealed, "source": source, "data": data, "updated_at": at}
        key = {"organization_id": organization_id, "name": name}
        with self._db.transaction():
            if known is None:
                self._db.execute(insert(T), {**key, **changed, "created_at": at})
                self._record(organization_id, name, "set")
            else:
                ours = (T.c.organization_id == organization_id) & (T.c.name == name)
                self._db.execute(update(T).where(ours).values(changed))
                self._record(organization_id, name, "set")
        stored = self.find(organization_id, name)
        assert stored is not None
        return stored

    def mark(self, organization_id: str, name: str, about: Object) -> None:
        """Store more facts about a secret beside the persons who set it."""
        ours = (T.c.organization_id == organization_id) & (T.c.name == name)
        with self._db.transaction():
            row = self._db.execute(select(T).where(ours).with_for_update()).one()
            self._db.execute(update(T).where(ours).values(data=dumps({**json.loads(row.data), **about})))

    def value(self, organization_id: str, name: str) -> tuple[str | None, str | None] | None:
        """Return (the value, None) or (None, the source); None for a name that is not there.

        Raises ConfigurationError when the value cannot be opened.
        """
        row = self._row(organization_id, name)
        if row is None:
            return None
        if row.value is None:
            return None, row.source
        return self._seal.open(row.value, _place(organization_id, name)), None

    def used(self, organization_id: str, names: Iterable[str]) -> None:
        """Note that a worker got these secrets now."""
        at = time.time()
        ours = (T.c.organization_id == organization_id) & T.c.name.in_(list(names))
        stale = (T.c.used_at.is_(None)) | (T.c.used_at < at - USED_EVERY)
        with self._db.transaction():
            self._db.execute(update(T).where(ours, stale).values(used_at=at))

    def delete(self, organization_id: str, name: str) -> None:
        with self._db.transaction():
            self._db.execute(delete(T).where(T.c.organization_id == organization_id, T.c.name == name))
            self._record(organization_id, name, "delete")

    def _record(self, organization_id: str, name: str, verb: str) -> None:
        """Have the change recorded, without the value, its place or anything that is made of them."""
        self._db.changed(Change(organization_id, "secret", name, name, verb=verb))

    def _row(self, organization_id: str, name: str) -> Any:
        return self._db.execute(select(T).where(T.c.organization_id == organization_id, T.c.name == name)).first()


def sealed_before(database: Database) -> bool:
    """Return whether the database holds anything that needs the key that sealed it."""
    hooks = select(schema.webhooks.c.path).where(schema.webhooks.c.secret.like(f"{FORMAT}:%"))
    values = select(T.c.name).where(T.c.value.is_not(None))
    return any(database.execute(query.limit(1)).first() is not None for query in (values, hooks))


def _place(organization_id: str, name: str) -> str:
    return f"secret:{organization_id}:{name}"


def _shown(row: Any) -> Object:
    used = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(row.used_at)) if row.used_at else None
    fixed = {"name": row.name, "source": row.source, "created_at": row.created_at, "updated_at": row.updated_at}
    return {**fixed, **json.loads(row.data), "used_at": used}
