"""What an execution leaves: its session, its turns, its tool calls."""

from __future__ import annotations

import json
import uuid
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps


class Results:
    def __init__(self, database: Database) -> None:
        self._db = database

    def save_session(self, execution_id: str, session: dict[str, Any]) -> None:
        data = dumps(session)
        statement = insert(schema.sessions).on_conflict_do_update(index_elements=["execution_id"], set_={"data": data})
        self._db.execute(statement, {"execution_id": execution_id, "data": data})
        self._db.commit()

    def session(self, execution_id: str) -> dict[str, Any] | None:
        query = select(schema.sessions.c.data).where(schema.sessions.c.execution_id == execution_id)
        found = self._db.execute(query).scalar()
        session: dict[str, Any] | None = json.loads(found) if found else None
        return session

    def add_turn(self, turn: dict[str, Any]) -> str:
        """The same turn_id counts once: a worker may have to post it again."""
        key = str(turn.get("turn_id") or uuid.uuid4())
        row = {"id": key, "execution_id": turn["execution_id"], "data": dumps(turn)}
        self._db.execute(insert(schema.turns).on_conflict_do_nothing(), row)
        self._db.commit()
        return key

    def add_tool_calls(self, calls: list[dict[str, Any]]) -> None:
        for call in calls:
            key = f"{call['execution_id']}:{call['tool_use_id']}" if call.get("tool_use_id") else str(uuid.uuid4())
            row = {"id": key, "execution_id": call["execution_id"], "data": dumps(call)}
            self._db.execute(insert(schema.tool_calls).on_conflict_do_nothing(), row)
        self._db.commit()

    def turns(self, execution_id: str) -> list[dict[str, Any]]:
        query = select(schema.turns.c.data).where(schema.turns.c.execution_id == execution_id)
        return [json.loads(row.data) for row in self._db.execute(query)]

    def tool_calls(self, execution_id: str) -> list[dict[str, Any]]:
        query = select(schema.tool_calls.c.data).where(schema.tool_calls.c.execution_id == execution_id)
        return [json.loads(row.data) for row in self._db.execute(query)]
