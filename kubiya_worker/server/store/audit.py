"""This module reads the audit records, removes old ones, and records what was refused, with a limit: anybody can ask in
vain for ever.

The chain of what is left begins after a cut, which is the head of the last removed record. It is noted beside the
records, moves only forward, and a record of the chain tells it: a check finds a cut that nobody told of.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, or_, select, text
from sqlalchemy.exc import DatabaseError

from kubiya_worker.protocol.audit import CUT, EMPTY, Head
from kubiya_worker.server import actor
from kubiya_worker.server.person import Person
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database
from kubiya_worker.server.store.journal import REFUSED, Change
from kubiya_worker.server.store.portable import json_text
from kubiya_worker.server.store.statement import Prepared

log = logging.getLogger(__name__)

T: Final = schema.audit
H: Final = schema.audit_heads
C: Final = schema.audit_cuts
MINUTE: Final = 60.0  # seconds
MOST_REFUSED: Final = 60  # records of refusals in a minute
LONGEST: Final = 500  # characters of why
_PAGE: Final = Prepared(
    select(T.c.seq, T.c.record)
    .where(T.c.organization_id == bindparam("organization"), T.c.seq > bindparam("after"))
    .order_by(T.c.seq)
    .limit(bindparam("most"))
)
_BEGIN: Final = Prepared(select(C.c.seq, C.c.hash).where(C.c.organization_id == bindparam("organization")))
_CUT: Final = Prepared(
    text(
        "insert into audit_cuts (organization_id, seq, hash) values (:organization, :seq, :hash) "
        "on conflict (organization_id) do update set seq = excluded.seq, hash = excluded.hash"
    )
)


WHO: Final = ("id", "name", "email", "key")


def _field(path: str) -> Any:
    return json_text(T.c.record, path)


def _plain(word: str) -> str:
    """Return the text for a pattern, in which every character stands for itself."""
    return word.replace("!", "!!").replace("%", "!%").replace("_", "!_")


class Audit:
    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._db, self._clock = database, clock
        self._since, self._count, self._left_out = clock(), 0, 0

    # -- reading

    def head(self, organization_id: str) -> Head:
        """Return the last record's number and hash, as they were noted beside the records."""
        row = self._db.execute(select(H.c.seq, H.c.hash).where(H.c.organization_id == organization_id)).first()
        return Head(row.seq, row.hash) if row else EMPTY

    def begin(self, organization_id: str) -> Head:
        """Return the cut after which the records begin."""
        row = self._db.execute(_BEGIN, {"organization": organization_id}).first()
        return Head(row.seq, row.hash) if row else EMPTY

    def lines(self, organization_id: str, after: int, most: int) -> list[tuple[int, str]]:
        """Return the numbers and lines of at most `most` records after the number `after`."""
        after = max(after, self.begin(organization_id).seq)
        values = {"organization": organization_id, "after": after, "most": most}
        return [(row.seq, row.record) for row in self._db.execute(_PAGE, values)]

    def search(
        self,
        organization_id: str,
        *,
        since: str = "",
        until: str = "",
        person: str = "",
        action: str = "",
        thing: str = "",
        outcome: str = "",
        before: int | None = None,
        limit: int = 50,
    ) -> list[dict[str, Any]]:
        """Return the newest records that fit, newest first.

        `person` is an id, name, e-mail or key id; `action` also the part before or after the point; `thing` is the
        kind, id or name of what it is about.
        """
        begin = self.begin(organization_id).seq
        query = select(T.c.record).where(T.c.organization_id == organization_id, T.c.seq > begin)
        if before is not None:
            query = query.where(T.c.seq < before)
        if since:
            query = query.where(_field("at") >= since)
        if until:
            query = query.where(_field("at") < until)
        if outcome:
            query = query.where(_field("outcome") == outcome)
        if person:
            query = query.where(or_(*(func.lower(_field(f"who.{k}")) == person.lower() for k in WHO)))
        if action:
            done = _field("action")
            query = query.where(
                or_(
                    done == action,
                    done.like(f"{_plain(action)}.%", escape="!"),
                    done.like(f"%.{_plain(action)}", escape="!"),
                )
            )
        if thing:
            query = query.where(
                or_(*(_field(f"object.{k}") == thing for k in ("kind", "id", "name")), _field("execution_id") == thing)
            )
        return [json.loads(row[0]) for row in self._db.execute(query.order_by(T.c.seq.desc()).limit(limit))]

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
        told = self._told()
        if told is None:
            return
        kind, _, verb = action.partition(".")
        key = ",".join(str(value)[:100] for value in path.values())
        told_of = detail if isinstance(detail, str) else json.dumps(detail)
        about = {"outcome": REFUSED, "status": status, "detail": told_of[:LONGEST], **told}
        try:
            with self._db.transaction():
                self._db.changed(Change(organization_id, kind, key, "", verb=verb, about=about))
        except DatabaseError as error:  # the answer is a refusal all the same
            log.error("audit.failed error=%s", error.orig)

    def refuse_key(self, trace: tuple[str, str], action: str, asked: str, headers: Mapping[str, str], at: str) -> None:
        """Record that somebody at an address asked with a bad key; `trace` is its organization and its public id."""
        organization_id, key_id = trace
        nobody = Person("", "", "", role="", key_id=key_id, address=at)
        with actor.acting(actor.of_request(nobody, asked, headers)):
            self.refuse(organization_id, action, {}, 401, "The API key is missing, unknown, revoked or expired")

    def _told(self) -> dict[str, Any] | None:
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
