"""This module stores an execution's results: its session, its turns, its tool calls."""

from __future__ import annotations

import json
import uuid
from typing import Any

from sqlalchemy import bindparam, delete, select, text

from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, Reader, dumps
from kubiya_worker.server.store.portable import add_once, put
from kubiya_worker.server.store.statement import Prepared

_SAVE_SESSION = Prepared(put(schema.sessions, ["execution_id"]))
_ADD_SESSION = Prepared(add_once(schema.sessions))
_PART = schema.session_parts.c
_SAVE_PART = Prepared(put(schema.session_parts, ["execution_id", "first"]))
_DROP_PARTS = Prepared(
    delete(schema.session_parts).where(_PART.execution_id == bindparam("of"), _PART.first > bindparam("after"))
)
# One statement, and so one state: another connection may replace the session between two.
_SESSION = Prepared(
    text(
        "select -1 as first, data from sessions where execution_id = :e "
        "union all select first, data from session_parts where execution_id = :e order by first"
    )
)
_ADD_ONCE = {table: Prepared(add_once(table)) for table in (schema.turns, schema.tool_calls)}


def session_of(reader: Reader, execution_id: str) -> dict[str, Any] | None:
    """Return an execution's stored session with the parts that were added to it; None without one."""
    session: dict[str, Any] | None = None
    for first, data in reader.execute(_SESSION, {"e": execution_id}):
        part = json.loads(data)
        if session is None:
            if first >= 0:
                return None
            session = part
        else:
            session |= {"messages": session["messages"][:first] + part["messages"], "metadata": part["metadata"]}
    return session


class Results:
    def __init__(self, database: Database) -> None:
        self._db = database

    def save_session(self, execution_id: str, session: dict[str, Any], first: int = 0) -> None:
        """Replace the stored session from the message number `first` on."""
        with self._db.transaction():
            self._db.execute(_DROP_PARTS, {"of": execution_id, "after": first})
            if not first:
                self._db.execute(_SAVE_SESSION, {"execution_id": execution_id, "data": dumps(session)})
                return
            empty = dumps({**session, "messages": []})
            self._db.execute(_ADD_SESSION, {"execution_id": execution_id, "data": empty})
            part = {"messages": session["messages"], "metadata": session["metadata"]}
            self._db.execute(_SAVE_PART, {"execution_id": execution_id, "first": first, "data": dumps(part)})

    def session(self, execution_id: str) -> dict[str, Any] | None:
        return session_of(self._db, execution_id)

    def add_turn(self, execution_id: str, turn: dict[str, Any]) -> str:
        """Store a turn; the same turn_id counts once, as a worker may have to send it again."""
        key = str(turn.get("turn_id") or uuid.uuid4())
        self._add(schema.turns, execution_id, key, turn)
        return key

    def add_tool_calls(self, execution_id: str, calls: list[dict[str, Any]]) -> None:
        """Store tool calls; the same tool_use_id counts once."""
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
        rows = [json.loads(row.data) for row in self._db.execute(query)]
        return sorted(rows, key=lambda entry: str(entry.get("started_at") or ""))
