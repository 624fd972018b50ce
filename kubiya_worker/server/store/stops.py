"""This module stores stops: while an organization has one, no agent of it makes a new call."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import bindparam, delete, insert, select

from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps
from kubiya_worker.server.store.journal import Change
from kubiya_worker.server.store.statement import Prepared

T = schema.stops
_GET = Prepared(select(T.c.data).where(T.c.organization_id == bindparam("organization_id")))
Stop = dict[str, Any]  # {by: {id, name, email}, reason, at, executions: ids that the stop paused}


class Stops:
    def __init__(self, database: Database) -> None:
        self._db = database

    def get(self, organization_id: str) -> Stop | None:
        data = self._db.execute(_GET, {"organization_id": organization_id}).scalar()
        return json.loads(data) if data else None

    def set(self, organization_id: str, stop: Stop | None) -> None:
        """Store the stop in place of the one before; None lifts it."""
        before = self.get(organization_id)
        with self._db.transaction():
            self._db.execute(delete(T).where(T.c.organization_id == organization_id))
            if stop is not None:
                self._db.execute(insert(T), {"organization_id": organization_id, "data": dumps(stop)})
            verb = "lift" if stop is None else "set"
            sides = (_shown(before), _shown(stop))
            self._db.changed(Change(organization_id, "stop", organization_id, "all agents", *sides, verb=verb))


def _shown(stop: Stop | None) -> Stop | None:
    """Return the stop for a record; each execution that it paused has a record of its own."""
    return None if stop is None else {**stop, "executions": None, "paused": len(stop["executions"])}
