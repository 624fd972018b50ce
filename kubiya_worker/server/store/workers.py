"""This module stores workers and their heartbeats; a worker with a heartbeat within 150 s is live (protocol.md#a4)."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any, Final

from sqlalchemy import delete, insert, or_, select, update

from kubiya_worker.protocol import names
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps, now
from kubiya_worker.server.store.journal import Change

LIVE_SECONDS: Final = 150.0
FORGET_SECONDS: Final = 7 * 86_400.0  # a worker that was silent for so long is deleted
GONE_SECONDS: Final = 86_400.0  # how long a worker that left is told
MOST_GONE: Final = 100
DISCONNECTED: Final = "disconnected"
REPORTED: Final = ("tasks_processed", "worker_metadata", "system_info")
LOGS: Final = 100  # lines kept of each worker
T = schema.workers


def live_since() -> float:
    """Return the time, in seconds since the epoch, since when a live worker has sent a heartbeat."""
    return time.time() - LIVE_SECONDS


class Workers:
    def __init__(self, database: Database) -> None:
        self._db = database

    def register(
        self, organization_id: str, queue_id: str, system_info: dict[str, Any], worker_id: str | None = None
    ) -> str:
        """Return the worker's id: the requested one, unless it is another organization's; else a new one.

        Of two workers with the same id, the later one has the row.
        """
        worker_id = worker_id or str(uuid.uuid4())
        at = time.time()
        row = {
            "id": worker_id,
            "organization_id": organization_id,
            "queue_id": queue_id,
            "status": "active",
            "registered_at": now(),
            "heartbeat_at": at,
            "data": dumps({"system_info": system_info}),
        }
        with self._db.transaction():
            self._db.execute(delete(T).where(T.c.heartbeat_at < at - FORGET_SECONDS))
            mine = (T.c.id == worker_id) & (T.c.organization_id == organization_id)
            before = self._db.execute(select(T.c.data).where(mine)).scalar()
            wish = json.loads(before).get("wish") if before else None
            if wish and wish["action"] == names.WISH_RESTART:  # which is done with this registration
                wish = wish.get("after")
            if wish:
                row["data"] = dumps({"system_info": system_info, "wish": wish})
            self._db.execute(delete(T).where(mine))
            if self._db.execute(select(T.c.id).where(T.c.id == worker_id)).first() is not None:
                row["id"] = worker_id = str(uuid.uuid4())
            self._db.execute(insert(T), row)
        return worker_id

    def queue_of(self, organization_id: str, worker_id: str) -> str | None:
        """Return the id of the queue that a worker is registered on; None for an unknown worker."""
        query = select(T.c.queue_id).where(T.c.id == worker_id, T.c.organization_id == organization_id)
        queue_id: str | None = self._db.execute(query).scalar()
        return queue_id

    def wish(self, organization_id: str, worker_id: str, wish: dict[str, Any] | None, verb: str, reason: str) -> None:
        """Store what somebody wishes of a worker, or that nobody wishes anything; with a record of it."""
        mine = (T.c.id == worker_id) & (T.c.organization_id == organization_id)
        with self._db.transaction():
            data = json.loads(self._db.execute(select(T.c.data).where(mine)).scalar_one())
            hostname = (data.get("system_info") or {}).get("hostname") or worker_id
            self._db.execute(update(T).where(mine), {"data": dumps({**data, "wish": wish})})
            about = {"reason": reason} if reason else {}
            self._db.changed(Change(organization_id, "worker", worker_id, hostname, verb=verb, about=about))

    def wish_of(self, organization_id: str, worker_id: str) -> dict[str, Any] | None:
        """Return what somebody wishes of a worker."""
        data = self._db.execute(select(T.c.data).where(T.c.id == worker_id, T.c.organization_id == organization_id))
        wish = data.scalar()
        return json.loads(wish).get("wish") if wish else None

    def find(self, organization_id: str, worker_id: str) -> dict[str, Any] | None:
        """Return a live worker's WorkerDetail; None for one that is unknown, or is gone."""
        return next((one for one in self.live(organization_id) if one["id"] == worker_id), None)

    def beat(self, organization_id: str, worker_id: str, body: dict[str, Any]) -> bool:
        """Store a heartbeat.

        Return False for a worker that is unknown or disconnected. A light one keeps the system information.
        """
        mine = (T.c.id == worker_id) & (T.c.organization_id == organization_id) & (T.c.status != DISCONNECTED)
        with self._db.transaction():
            row = self._db.execute(select(T.c.data).where(mine).with_for_update()).first()
            if row is None:
                return False
            known = json.loads(row.data)
            data = {**known, **{name: body[name] for name in REPORTED if body.get(name) is not None}}
            data["current_task_id"] = body.get("current_task_id")  # a heartbeat without a task means that there is none
            data["logs"] = [*(known.get("logs") or []), *(body.get("logs") or [])][-LOGS:]
            values = {"heartbeat_at": time.time(), "status": str(body.get("status") or "active"), "data": dumps(data)}
            self._db.execute(update(T).where(mine), values)
        return True

    def disconnect(self, organization_id: str, worker_id: str, body: dict[str, Any]) -> bool:
        mine = (T.c.id == worker_id) & (T.c.organization_id == organization_id)
        with self._db.transaction():
            row = self._db.execute(select(T.c.data).where(mine).with_for_update()).first()
            if row is None:
                return False
            data = {**json.loads(row.data), "disconnect": body}
            self._db.execute(update(T).where(mine), {"status": DISCONNECTED, "data": dumps(data)})
        return True

    def silent(self, now: float, longest: float) -> list[dict[str, Any]]:
        """Return the workers of all organizations that send no heartbeats any more, for at most so many seconds."""
        query = select(T).where(
            T.c.status != DISCONNECTED, T.c.heartbeat_at < now - LIVE_SECONDS, T.c.heartbeat_at >= now - longest
        )
        more = ("organization_id", "heartbeat_at")
        return [{**_detail(row), **{name: getattr(row, name) for name in more}} for row in self._db.execute(query)]

    def live(self, organization_id: str, queue_id: str | None = None) -> list[dict[str, Any]]:
        """Return the WorkerDetail objects (docs/protocol.md#a3) of one queue or of all, newest first."""
        query = (
            select(T)
            .where(
                T.c.organization_id == organization_id,
                *([T.c.queue_id == queue_id] if queue_id is not None else []),
                T.c.status != DISCONNECTED,
                T.c.heartbeat_at >= live_since(),
            )
            .order_by(T.c.registered_at.desc())
        )
        return [_detail(row) for row in self._db.execute(query)]

    def gone(self, organization_id: str) -> list[dict[str, Any]]:
        """Return the workers that left or fell silent within `GONE_SECONDS`, the last one first."""
        query = (
            select(T)
            .where(
                T.c.organization_id == organization_id,
                or_(T.c.status == DISCONNECTED, T.c.heartbeat_at < live_since()),
                T.c.heartbeat_at >= time.time() - GONE_SECONDS,
            )
            .order_by(T.c.heartbeat_at.desc())
            .limit(MOST_GONE)
        )
        return [
            {**_detail(row), "disconnect": json.loads(row.data).get("disconnect")} for row in self._db.execute(query)
        ]


def _detail(row: Any) -> dict[str, Any]:
    data = json.loads(row.data)
    return {
        "id": row.id,
        "worker_id": row.id,
        "queue_id": row.queue_id,
        "status": row.status,
        "tasks_processed": int(data.get("tasks_processed") or 0),
        "current_task_id": data.get("current_task_id"),
        "last_heartbeat": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(row.heartbeat_at)),
        "registered_at": row.registered_at,
        "system_info": data.get("system_info") or {},
        "logs": data.get("logs") or [],
        "worker_metadata": data.get("worker_metadata") or {},
        "wish": data.get("wish"),
    }
