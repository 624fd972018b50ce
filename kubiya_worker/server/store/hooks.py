"""This module stores hooks, the things that they were told of, and their last deliveries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import delete, func, insert, or_, select, update

from kubiya_worker.server.hooks.alert import FIRING, Alert
from kubiya_worker.server.hooks.decision import WINDOW, Thread
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps
from kubiya_worker.server.store.journal import Change
from kubiya_worker.server.store.records import Object, Records
from kubiya_worker.server.store.statement import Prepared

H: Final = schema.hooks
T: Final = schema.hook_threads
D: Final = schema.hook_deliveries
KEPT: Final = 200  # deliveries of a hook
KEPT_REFUSED: Final = 50  # of those without a proof, which anybody can send
REMEMBERED: Final = 30 * 86_400.0  # seconds that a thing is remembered after its last run
BODY: Final = 65_536  # characters of a body that are kept
_WAITING: Final = Prepared(select(H).where(H.c.id.in_(select(T.c.hook_id).where(T.c.held.is_not(None)).distinct())))


@dataclass(frozen=True, kw_only=True)
class HookDelivery:
    """A delivery as it is kept: what was decided about it, and by what a repetition of it is known."""

    verdict: str
    data: Object
    body: str = ""
    signature: str = ""
    number: str = ""  # that the sender gave it
    execution_id: str = ""

    def row(self) -> Object:
        return {
            "verdict": self.verdict,
            "signature": self.signature or None,
            "number": self.number or None,
            "execution_id": self.execution_id or None,
            "data": dumps(self.data),
            "body": self.body[:BODY] or None,
        }


class Hooks(Records):
    def __init__(self, database: Database) -> None:
        super().__init__(database, H, "hook")

    def named(self, name: str) -> list[Object]:
        """Return the hooks of all organizations with this name, by which a sender without a key asks."""
        return [self._object(row) for row in self._db.execute(select(H).where(H.c.name == name))]

    # -- the things that a hook was told of

    def thread(self, hook_id: str, alert: Alert) -> Any:
        """Return the row of the alert's thing, or None."""
        mine = select(T).where(T.c.hook_id == hook_id, T.c.thing == alert.thing)
        return self._db.execute(mine.with_for_update()).first()

    def starts(self, hook_id: str, now: float) -> int:
        """Return how many runs a hook has started lately; a run for a list of alerts counts once."""
        query = select(func.count(func.distinct(T.c.execution_id)))
        return int(self._db.execute(query.where(T.c.hook_id == hook_id, T.c.started_at > now - WINDOW)).scalar() or 0)

    def note(self, hook_id: str, alert: Alert, **fields: Any) -> None:
        """Store what was told of the alert's thing, and what was made of it: execution_id, starts, started_at, held."""
        state = {"status": alert.status, "state": alert.state, **fields}
        mine = (T.c.hook_id == hook_id) & (T.c.thing == alert.thing)
        with self._db.transaction():
            if self.thread(hook_id, alert) is None:
                row = {"hook_id": hook_id, "thing": alert.thing, "starts": 0, "started_at": 0.0, **state}
                self._db.execute(insert(T), row)
            else:
                self._db.execute(update(T).where(mine).values(state))

    def held(self, hook_id: str) -> list[Any]:
        """Return the rows of the things that wait for a run with a list."""
        query = select(T).where(T.c.hook_id == hook_id, T.c.held.is_not(None))
        return list(self._db.execute(query.order_by(T.c.thing)).all())

    def release(self, hook_id: str, things: Sequence[str], execution_id: str, now: float) -> None:
        """Store that one run works on several things."""
        mine = (T.c.hook_id == hook_id) & T.c.thing.in_(things)
        with self._db.transaction():
            changed = {"execution_id": execution_id, "starts": T.c.starts + 1, "started_at": now, "held": None}
            self._db.execute(update(T).where(mine).values(changed))

    def waiting(self) -> list[Object]:
        """Return the hooks of which things wait for a run with a list."""
        return [self._object(row) for row in self._db.execute(_WAITING)]

    @staticmethod
    def alert_of(row: Any) -> Object:
        """Return what a run with a list is told of a thing: title, severity, status, labels, started_at."""
        return dict(json.loads(row.held))

    def fires(self, execution_id: str) -> bool:
        """Return whether one of the things that a run works on is not resolved."""
        query = select(T.c.thing).where(T.c.execution_id == execution_id, T.c.status == FIRING)
        return self._db.execute(query.limit(1)).first() is not None

    def ran(self, hook: Object, execution_id: str) -> None:
        """Have the start of a run recorded."""
        about = {"execution_id": execution_id}
        self._db.changed(Change(hook["organization_id"], "hook", hook["id"], hook["name"], verb="run", about=about))

    # -- deliveries

    def answered(self, hook_id: str, signature: str, number: str) -> Object | None:
        """Return what a delivery was answered with when it came first; None for a new one."""
        same = [column == value for column, value in ((D.c.signature, signature), (D.c.number, number)) if value]
        if not same:
            return None
        query = select(D.c.data).where(D.c.hook_id == hook_id, or_(*same)).order_by(D.c.id)
        row = self._db.execute(query.limit(1)).first()
        answer = json.loads(row.data).get("answer") if row else None
        return dict(answer) if answer else None

    def keep(self, hook_id: str, now: float, delivery: HookDelivery) -> int:
        """Store a delivery and return its number. Older ones than are kept go."""
        row = {"hook_id": hook_id, "taken_at": now, **delivery.row()}
        refused = D.c.verdict == "refused"
        with self._db.transaction():
            number = int(self._db.execute(insert(D), row).inserted_primary_key[0])
            for same, most in ((refused, KEPT_REFUSED), (~refused, KEPT)):
                oldest = (
                    select(D.c.id).where(D.c.hook_id == hook_id, same).order_by(D.c.id.desc()).offset(most).limit(1)
                )
                last = self._db.execute(oldest).scalar()
                if last is not None:
                    self._db.execute(delete(D).where(D.c.hook_id == hook_id, same, D.c.id <= last))
        return number

    def deliveries(self, hook_id: str, limit: int, verdict: str = "") -> list[Object]:
        """Return the last deliveries, newest first, with the bodies as they came."""
        query = select(D).where(D.c.hook_id == hook_id).order_by(D.c.id.desc()).limit(limit)
        if verdict:
            query = query.where(D.c.verdict == verdict)
        names = ("id", "taken_at", "verdict", "execution_id", "number", "body")
        return [
            {**json.loads(row.data), **{name: getattr(row, name) for name in names}} for row in self._db.execute(query)
        ]

    def forget_old(self, now: float) -> None:
        """Forget things whose last run is long over."""
        old = (T.c.started_at < now - REMEMBERED) & T.c.held.is_(None)
        with self._db.transaction():
            self._db.execute(delete(T).where(old, T.c.started_at > 0))


def thread_of(row: Any, *, open_: bool, busy_until: float) -> Thread | None:
    """Return what the decision needs to know of a thing."""
    if row is None:
        return None
    return Thread(row.state, row.held is not None, row.execution_id or "", row.starts, open_, busy_until)
