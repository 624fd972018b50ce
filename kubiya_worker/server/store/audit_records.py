"""This module reads the audit records, by any reader of the database: its one connection, or one of a pool."""

from __future__ import annotations

import json
from typing import Any, Final

from sqlalchemy import bindparam, func, or_, select

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
        return [json.loads(row[0]) for row in self._reader.execute(query.order_by(T.c.seq.desc()).limit(limit))]
