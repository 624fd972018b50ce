"""This module stores deliveries of notifications: each is tried until its channel has it, or until it is dead."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import delete, func, select, update

from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps
from kubiya_worker.server.store.portable import add_once
from kubiya_worker.server.store.records import Object

WAITING: Final = "waiting"
SENT: Final = "sent"
DEAD: Final = "dead"  # not tried any more
DROPPED: Final = "dropped"  # not needed any more: what it asks was answered
STATES: Final = (WAITING, SENT, DEAD, DROPPED)
KEPT: Final = 30 * 86_400.0  # seconds that a delivery is kept after its end
LONGEST_ERROR: Final = 300  # characters
T: Final = schema.notification_deliveries
_COLUMNS: Final = (
    *("id", "organization_id", "notification_id", "key", "approval_id", "state", "attempts"),
    *("due_at", "not_before", "created_at", "data"),
)
_ADD: Final = add_once(T, _COLUMNS)


@dataclass(frozen=True)
class NotificationDelivery:
    """A delivery is what one channel is told once. `data` is what it says (notify/content.py)."""

    id: str
    organization_id: str
    notification_id: str
    approval_id: str | None
    state: str
    attempts: int
    due_at: float  # seconds since the epoch
    created_at: float  # seconds since the epoch
    data: Object
    error: str | None

    def json(self) -> Object:
        """Return what replies show."""
        return {
            "id": self.id,
            "state": self.state,
            "attempts": self.attempts,
            "error": self.error,
            "event": self.data["event"],
            "title": self.data["title"],
            "created_at": datetime.fromtimestamp(self.created_at, UTC).isoformat(),
        }


class NotificationDeliveries:
    def __init__(self, database: Database) -> None:
        self._db = database

    def add(
        self,
        organization_id: str,
        notification_id: str,
        key: str,
        data: Object,
        *,
        now: float,
        due_at: float | None = None,
        approval_id: str | None = None,
    ) -> str:
        """Store a delivery and return its id; an empty text where this definition tells the same already."""
        row = {
            "id": f"msg_{uuid.uuid4().hex}",
            "organization_id": organization_id,
            "notification_id": notification_id,
            "key": key,
            "approval_id": approval_id,
            "state": WAITING,
            "attempts": 0,
            "due_at": now if due_at is None else due_at,
            "not_before": now if due_at is None else due_at,
            "created_at": now,
            "data": dumps(data),
        }
        with self._db.transaction():
            added = self._db.execute(_ADD, row).rowcount
        return str(row["id"]) if added else ""

    def get(self, key: str) -> NotificationDelivery | None:
        row = self._db.execute(select(T).where(T.c.id == key)).first()
        return _delivery(row) if row else None

    def channels_due(self, now: float) -> list[str]:
        """Return the definitions that have a delivery to try now."""
        query = select(T.c.notification_id).where(T.c.state == WAITING, T.c.due_at <= now).distinct()
        return [row[0] for row in self._db.execute(query)]

    def next_due(self, notification_id: str, now: float) -> NotificationDelivery | None:
        query = select(T).where(T.c.notification_id == notification_id, T.c.state == WAITING, T.c.due_at <= now)
        row = self._db.execute(query.order_by(T.c.due_at, T.c.created_at).limit(1)).first()
        return _delivery(row) if row else None

    def due_at(self, without: Iterable[str]) -> float | None:
        """Return when the next delivery is to be tried, but for those of some definitions; None without any."""
        query = select(func.min(T.c.due_at)).where(T.c.state == WAITING, T.c.notification_id.not_in(list(without)))
        moment: float | None = self._db.execute(query).scalar()
        return moment

    def began(self, delivery: NotificationDelivery, again_at: float) -> None:
        """Count a try before it is made; after a crash in it, it is tried again at `again_at`."""
        mine = (T.c.id == delivery.id) & (T.c.state == WAITING)
        with self._db.transaction():
            self._db.execute(update(T).where(mine).values(attempts=delivery.attempts + 1, due_at=again_at))

    def held(self, delivery: NotificationDelivery, until: float) -> None:
        """Let a delivery wait for the end of quiet hours; this is no try."""
        mine = (T.c.id == delivery.id) & (T.c.state == WAITING)
        with self._db.transaction():
            self._db.execute(update(T).where(mine).values(due_at=until))

    def failed(self, delivery: NotificationDelivery, error: str, again_at: float) -> None:
        """Note a failed try. What else waits for the same channel is not tried before either: it would fail, too."""
        mine = (T.c.id == delivery.id) & (T.c.state == WAITING)
        others = (T.c.notification_id == delivery.notification_id) & (T.c.state == WAITING) & (T.c.due_at < again_at)
        with self._db.transaction():
            self._db.execute(update(T).where(mine).values(due_at=again_at, error=error[:LONGEST_ERROR]))
            self._db.execute(update(T).where(others).values(due_at=again_at))

    def ended(self, delivery: NotificationDelivery, state: str, now: float, error: str | None = None) -> None:
        reason = None if error is None else error[:LONGEST_ERROR]
        with self._db.transaction():
            self._db.execute(update(T).where(T.c.id == delivery.id).values(state=state, ended_at=now, error=reason))

    def look_again(self, notification_id: str, now: float) -> None:
        """Let what was never tried be looked at now, unless it is for when nobody answers, which has its own time."""
        mine = (T.c.notification_id == notification_id) & (T.c.state == WAITING) & (T.c.attempts == 0)
        with self._db.transaction():
            self._db.execute(update(T).where(mine, T.c.not_before <= now).values(due_at=now))

    def revive(self, notification_id: str, now: float) -> int:
        """Let the dead deliveries of a definition be tried again; return how many there are."""
        mine = (T.c.notification_id == notification_id) & (T.c.state == DEAD)
        with self._db.transaction():
            changed = self._db.execute(update(T).where(mine).values(state=WAITING, due_at=now, attempts=0))
        return int(changed.rowcount)

    def of(self, notification_id: str, limit: int) -> list[NotificationDelivery]:
        """Return the newest deliveries of a definition."""
        query = select(T).where(T.c.notification_id == notification_id).order_by(T.c.created_at.desc()).limit(limit)
        return [_delivery(row) for row in self._db.execute(query)]

    def counts(self) -> dict[str, int]:
        """Return the number of deliveries by state."""
        return {row[0]: row[1] for row in self._db.execute(select(T.c.state, func.count()).group_by(T.c.state))}

    def tallies(self, organization_id: str) -> dict[str, Object]:
        """Return {waiting, sent, dead, dropped, last_error} of each definition that has some."""
        query = select(T.c.notification_id, T.c.state, func.count()).where(T.c.organization_id == organization_id)
        tallies: dict[str, Object] = {}
        for key, state, count in self._db.execute(query.group_by(T.c.notification_id, T.c.state)):
            tallies.setdefault(key, {**dict.fromkeys(STATES, 0), "last_error": None})[state] = count
        place = func.row_number().over(partition_by=T.c.notification_id, order_by=T.c.created_at.desc()).label("place")
        failed = select(T.c.notification_id, T.c.error, place).where(
            T.c.organization_id == organization_id, T.c.state.in_((WAITING, DEAD)), T.c.error.is_not(None)
        )
        last = failed.subquery()
        for key, error in self._db.execute(select(last.c.notification_id, last.c.error).where(last.c.place == 1)):
            tallies[key]["last_error"] = error
        return tallies

    def forget_old(self, now: float) -> None:
        with self._db.transaction():
            self._db.execute(delete(T).where(T.c.ended_at < now - KEPT))


def _delivery(row: Any) -> NotificationDelivery:
    columns = ("id", "organization_id", "notification_id", "approval_id", "state")
    more = ("attempts", "due_at", "created_at", "error")
    return NotificationDelivery(**{name: getattr(row, name) for name in (*columns, *more)}, data=json.loads(row.data))
