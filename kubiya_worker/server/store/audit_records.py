"""This module reads the audit records, by any reader of the database: its one connection, or one of a pool."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, func, or_, select

from kubiya_worker.protocol.audit import EMPTY, Head
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Reader
from kubiya_worker.server.store.portable import json_text
from kubiya_worker.server.store.statement import Prepared

T: Final = schema.audit
H: Final = schema.audit_heads
C: Final = schema.audit_cuts
_PAGE: Final = Prepared(
    select(T.c.seq, T.c.record)
    .where(T.c.organization_id == bindparam("organization"), T.c.seq > bindparam("after"))
    .order_by(T.c.seq)
    .limit(bindparam("most"))
)
_BEGIN: Final = Prepared(select(C.c.seq, C.c.hash).where(C.c.organization_id == bindparam("organization")))
WHO: Final = ("id", "name", "email", "key")


def _field(path: str) -> Any:
    return json_text(T.c.record, path)


def _plain(word: str) -> str:
    """Return the text for a pattern, in which every character stands for itself."""
    return word.replace("!", "!!").replace("%", "!%").replace("_", "!_")


@dataclass(frozen=True, kw_only=True)
class AuditQuery:
    """Say which records are looked for; what is empty does not count.

    `since` is included and `until` is not. `person` is an id, name, e-mail or key id; `action` also the part before or
    after the point; `thing` is the kind, id or name of what a record is about, or the id of an execution.
    """

    since: str = ""
    until: str = ""
    person: str = ""
    action: str = ""
    thing: str = ""
    outcome: str = ""

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        if self.since:
            yield _field("at") >= self.since
        if self.until:
            yield _field("at") < self.until
        if self.outcome:
            yield _field("outcome") == self.outcome
        if self.person:
            yield or_(*(func.lower(_field(f"who.{part}")) == self.person.lower() for part in WHO))
        if self.action:
            action, words = _field("action"), _plain(self.action)
            parts = (f"{words}.%", f"%.{words}")
            yield or_(action == self.action, *(action.like(part, escape="!") for part in parts))
        if self.thing:
            places = ("object.kind", "object.id", "object.name", "execution_id")
            yield or_(*(_field(place) == self.thing for place in places))


class AuditRecords:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def head(self, organization_id: str) -> Head:
        """Return the last record's number and hash, as they were noted beside the records."""
        row = self._reader.execute(select(H.c.seq, H.c.hash).where(H.c.organization_id == organization_id)).first()
        return Head(row.seq, row.hash) if row else EMPTY

    def begin(self, organization_id: str) -> Head:
        """Return the cut after which the records begin."""
        row = self._reader.execute(_BEGIN, {"organization": organization_id}).first()
        return Head(row.seq, row.hash) if row else EMPTY

    def lines(self, organization_id: str, after: int, most: int) -> list[tuple[int, str]]:
        """Return the numbers and lines of at most `most` records after the number `after`."""
        after = max(after, self.begin(organization_id).seq)
        values = {"organization": organization_id, "after": after, "most": most}
        return [(row.seq, row.record) for row in self._reader.execute(_PAGE, values)]

    def search(
        self, organization_id: str, wanted: AuditQuery, *, before: int | None = None, limit: int = 50
    ) -> list[dict[str, Any]]:
        """Return the newest records that fit, newest first; `before` is the number where the next page begins."""
        begin = self.begin(organization_id).seq
        query = select(T.c.record).where(T.c.organization_id == organization_id, T.c.seq > begin, *wanted.conditions())
        if before is not None:
            query = query.where(T.c.seq < before)
        return [json.loads(row[0]) for row in self._reader.execute(query.order_by(T.c.seq.desc()).limit(limit))]
