"""What an execution leaves: its session, its turns, its tool calls."""

from __future__ import annotations

import json
import uuid
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.sqlite import insert

from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps

# Built once: building a statement costs as much as running it.
_SAVE_SESSION = insert(schema.sessions)
_SAVE_SESSION = _SAVE_SESSION.on_conflict_do_update(["execution_id"], set_={"data": _SAVE_SESSION.excluded.data})
_SESSION = select(schema.sessions.c.data).where(schema.sessions.c.execution_id == bindparam("execution_id"))
_ADD_ONCE = {table: insert(table).on_conflict_do_nothing() for table in (schema.turns, schema.tool_calls)}


class Results:
    def __init__(self, database: Database) -> None:
        self._db = database

    def save_session(self, execution_id: str, session: dict[str, Any]) -> None:
        """Replaces the one that is there."""
        with self._db.transaction():
            self._db.execute(_SAVE_SESSION, {"execution_id": execution_id, "data": dumps(session)})

    def session(self, execution_id: str) -> dict[str, Any] | None:
        found = self._db.execute(_SESSION, {"execution_id": execution_id}).scalar()
        session: dict[str, Any] | None = json.loads(found) if found else None
        return session

    def add_turn(self, execution_id: str, turn: dict[str, Any]) -> str:
        """The same turn_id counts once: a worker may have to post it again."""
        key = str(turn.get("turn_id") or uuid.uuid4())
        self._add(schema.turns, execution_id, key, turn)
        return key

    def add_tool_calls(self, execution_id: str, calls: list[dict[str, Any]]) -> None:
        """The same tool_use_id counts once."""
        with self._db.transaction():
            for call in calls:
                self._add(schema.tool_calls, execution_id, str(call.get("tool_use_id") or uuid.uuid4()), call)

    def _add(self, table: Any, execution_id: str, key: str, data: dict[str, Any]) -> None:
        row = {"execution_id": execution_id, "id": key, "data": dumps(data)}
        with self._db.transaction():
            self._db.execute(_ADD_ONCE[table], row)

    def turns(self, execution_id: str) -> list[dict[str, Any]]:
        return self._all(schema.turns, execution_id)

    def tool_calls(self, execution_id: str) -> list[dict[str, Any]]:
        return self._all(schema.tool_calls, execution_id)

    def _all(self, table: Any, execution_id: str) -> list[dict[str, Any]]:
        query = select(table.c.data).where(table.c.execution_id == execution_id)
        found = [json.loads(row.data) for row in self._db.execute(query)]
        return sorted(found, key=lambda entry: str(entry.get("started_at") or ""))
