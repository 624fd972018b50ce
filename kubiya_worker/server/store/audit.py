"""This module removes old audit records, and records what was refused, with a limit: anybody can ask in vain for ever.

The chain of what is left begins after a cut, which is the head of the last removed record. It is noted beside the
records, moves only forward, and a record of the chain tells it: a check finds a cut that nobody told of.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from sqlalchemy import delete, func, select, text
from sqlalchemy.exc import DatabaseError

from kubiya_worker.event_log import EventLogger
from kubiya_worker.protocol.audit import CUT, Head
from kubiya_worker.server import actor
from kubiya_worker.server.person import Person
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.audit_records import AuditRecords
from kubiya_worker.server.store.database import Database
from kubiya_worker.server.store.journal import REFUSED, Change
from kubiya_worker.server.store.statement import Prepared

log = EventLogger(__name__)

T: Final = schema.audit
R = TypeVar("R")
MINUTE: Final = 60.0  # seconds
MOST_REFUSED: Final = 60  # records of refusals in a minute
LONGEST: Final = 500  # characters of why
_CUT: Final = Prepared(
    text(
        "insert into audit_cuts (organization_id, seq, hash) values (:organization, :seq, :hash) "
        "on conflict (organization_id) do update set seq = excluded.seq, hash = excluded.hash"
    )
)


class Audit(AuditRecords):
    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(database)
        self._db, self._clock = database, clock
        self._since, self._count, self._left_out = clock(), 0, 0

    async def reading(self, work: Callable[[AuditRecords], R], *, long: bool = False) -> R:
        """Return what `work` reads of what was committed."""
        return await self._db.reading(lambda reader: work(AuditRecords(reader)), long=long)

    # -- removing

    def cut(self, organization_id: str, last: Head, rule: str) -> None:
        """Let the records begin after `last`, and tell so by a record; `drop_part` deletes what is before."""
        values = {"organization": organization_id, "seq": last.seq, "hash": last.hash}
        about = {CUT: str(last), "detail": f"Removed because of {rule}"}
        name = f"records up to {last.seq}"
        with self._db.transaction():
            self._db.execute(_CUT, values)
            self._db.changed(Change(organization_id, "audit", str(last.seq), name, verb="cut", about=about))

    def drop_part(self, organization_id: str, most: int) -> bool:
        """Delete at most `most` records before the cut, and return whether there may be more."""
        mine, begin = T.c.organization_id == organization_id, self.begin(organization_id).seq
        some = select(T.c.seq).where(mine, T.c.seq <= begin).order_by(T.c.seq).limit(most).subquery()
        last = select(func.max(some.c.seq)).scalar_subquery()
        with self._db.transaction():
            return bool(self._db.execute(delete(T).where(mine, T.c.seq <= last)).rowcount)

    # -- refusals

    def refuse(self, organization_id: str, action: str, path: Mapping[str, Any], status: int, detail: Any) -> None:
        """Record that somebody was refused; more than MOST_REFUSED in a minute are only counted."""
        about_limit = self._limit_told()
        if about_limit is None:
            return
        kind, _, verb = action.partition(".")
        key = ",".join(str(value)[:100] for value in path.values())
        told_of = detail if isinstance(detail, str) else json.dumps(detail)
        about = {"outcome": REFUSED, "status": status, "detail": told_of[:LONGEST], **about_limit}
        try:
            with self._db.transaction():
                self._db.changed(Change(organization_id, kind, key, "", verb=verb, about=about))
        except DatabaseError as error:  # the answer is a refusal all the same
            log.error("audit.failed", error=error.orig)

    def refuse_key(self, trace: tuple[str, str], action: str, asked: str, headers: Mapping[str, str], at: str) -> None:
        """Record that somebody at an address asked with a bad key; `trace` is its organization and its public id."""
        organization_id, key_id = trace
        nobody = Person("", "", "", role="", key_id=key_id, address=at)
        with actor.acting(actor.of_request(nobody, asked, headers)):
            self.refuse(organization_id, action, {}, 401, "The API key is missing, unknown, revoked or expired")

    def _limit_told(self) -> dict[str, Any] | None:
        """Return what a record of a refusal adds: how many before it were left out; None when it is left out too."""
        now = self._clock()
        if now - self._since >= MINUTE:
            self._since, self._count = now, 0
        if self._count >= MOST_REFUSED:
            self._left_out += 1
            return None
        self._count += 1
        left_out, self._left_out = self._left_out, 0
        return {"left_out_before": left_out} if left_out else {}
