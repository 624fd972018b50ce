"""The control plane as one object: its stores, its Temporal, and who is told when an execution's log grows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol.events import Event
from kubiya_worker.server.auth import Keys
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.approvals import Approvals
from kubiya_worker.server.store.database import Database, now
from kubiya_worker.server.store.events import Events
from kubiya_worker.server.store.executions import Execution, Executions, next_status
from kubiya_worker.server.store.records import Records
from kubiya_worker.server.store.results import Results
from kubiya_worker.server.store.workers import Workers
from kubiya_worker.server.temporal import Temporal


class Plane:
    def __init__(self, database: Path, temporal: Temporal, *, litellm_url: str = "", litellm_key: str = "") -> None:
        self.database = Database(database)
        self.temporal = temporal
        self.litellm_url, self.litellm_key = litellm_url, litellm_key
        self.keys = Keys(self.database)
        self.environments = Records(self.database, schema.environments)
        self.queues = Records(self.database, schema.queues)
        self.agents = Records(self.database, schema.agents)
        self.teams = Records(self.database, schema.teams)
        self.rules = Records(self.database, schema.rules)
        self.workers = Workers(self.database)
        self.executions = Executions(self.database)
        self.events = Events(self.database)
        self.results = Results(self.database)
        self.approvals = Approvals(self.database)
        self.outbox = asyncio.Event()  # set when an execution waits to be given to Temporal
        self.closing = asyncio.Event()
        self._watchers: dict[str, set[asyncio.Event]] = {}

    # -- the log of an execution

    def publish(self, execution_id: str, events: Sequence[Event]) -> int:
        """Append to the log, commit, wake who watches. Returns how many events are new."""
        new = self.events.append(execution_id, events)
        self.database.commit()
        for watcher in self._watchers.get(execution_id, ()):
            watcher.set()
        return new

    def watch(self, execution_id: str) -> asyncio.Event:
        watcher = asyncio.Event()
        self._watchers.setdefault(execution_id, set()).add(watcher)
        return watcher

    def unwatch(self, execution_id: str, watcher: asyncio.Event) -> None:
        watching = self._watchers.get(execution_id, set())
        watching.discard(watcher)
        if not watching:
            self._watchers.pop(execution_id, None)

    def watchers(self) -> list[asyncio.Event]:
        return [watcher for group in self._watchers.values() for watcher in group]

    # -- changes of an execution

    def change(self, execution: Execution, changes: dict[str, Any]) -> Execution:
        """Apply a PATCH: the row, and the events that say so, in one transaction. What is final stays final."""
        asked = str(changes.get("status") or execution["status"])
        before, status = execution["status"], next_status(execution["status"], asked)
        if ex.is_final(before) and asked.lower() != before:
            return execution
        execution.update({k: v for k, v in changes.items() if k != "status"}, status=status)
        self.executions.save(execution)
        events: list[Event] = []
        if status != before:
            about = {"status": status, "execution_id": execution["id"]}
            events.append({"event_type": ev.STATUS, "data": about})
            if ex.is_final(status):
                execution.setdefault("completed_at", None)
                execution["completed_at"] = execution["completed_at"] or now()
                self.executions.save(execution)
                done = {
                    **about,
                    "response": execution.get("response"),
                    "usage": execution.get("usage") or {},
                    "error": execution.get("error_message"),
                }
                events.append({"event_id": f"done:{execution['id']}", "event_type": ev.DONE, "data": done})
        self.publish(execution["id"], events)
        return execution
