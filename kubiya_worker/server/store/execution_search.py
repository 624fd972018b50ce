"""This module finds executions: by what they are, newest or oldest first, page by page.

Each page begins where an index says, so the last page of many costs what the first one does. One search looks at a
limited number of executions: this server has one thread, which others wait for. A search that finds few of many may
therefore end with a cursor and less than was asked for.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import heapq
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Select, literal, select, tuple_

from kubiya_worker.protocol import execution as ex
from kubiya_worker.server.person import EVERYTHING, Scope
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database

T = schema.executions
A = schema.approvals
LOOKED_AT: Final = 2_000  # executions that one search reads; about 10 ms
MOST_VALUES: Final = 20  # of a column that one search begins with, each by a statement of its own
WORDS: Final = 2_000  # characters of the prompt that a search for a text reads
LAST_CHARACTER: Final = "\U0010ffff"

_LIGHT: Final = (
    *("created_at", "id", "organization_id", "status", "execution_type"),
    *("queue_id", "entity_id", "requester"),
)

Place = tuple[str, str]  # created_at and id: the order of all lists


def words_of(execution: dict[str, Any]) -> str:
    """Return what a search for a text reads of an execution."""
    text = f"{execution.get('entity_name') or ''}\n{str(execution.get('prompt') or '')[:WORDS]}"
    return text.replace("\0", "").casefold()  # PostgreSQL's texts have no NUL


def requester_of(execution: dict[str, Any]) -> str:
    """Return the id of the person who asked for an execution: the e-mail in lower case, where there is one."""
    by = execution.get("requested_by") or {}
    return str(by.get("id") or execution.get("user_email") or "").lower()


def cursor_of(place: Place) -> str:
    return base64.urlsafe_b64encode(" ".join(place).encode()).decode().rstrip("=")


def place_of(cursor: str) -> Place:
    """Return the place that a cursor names. Raises ValueError for a text that is none."""
    try:
        created_at, execution_id = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split(" ")
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise ValueError("is no cursor of this list") from error
    return created_at, execution_id


@dataclass(frozen=True)
class ExecutionQuery:
    """An execution query says which executions are wanted: an empty field excludes none."""

    organization_id: str
    statuses: frozenset[str] = frozenset()
    kind: str = ""
    queue_id: str = ""
    entity_id: str = ""
    requester: str = ""  # a person's id
    since: str = ""  # included
    until: str = ""  # not included
    text: str = ""
    beginning: str = ""  # of the id
    waits: bool = False  # those with an open request to a person
    oldest: bool = False  # the oldest ones first
    scope: Scope = field(default=EVERYTHING)

    def includes(self, row: Any) -> bool:
        """Return whether a row is one of them, as far as its own fields say so."""
        return (
            row.organization_id == self.organization_id
            and (not self.statuses or row.status in self.statuses)
            and (not self.kind or row.execution_type == self.kind)
            and (not self.queue_id or row.queue_id == self.queue_id)
            and (not self.entity_id or row.entity_id == self.entity_id)
            and (not self.requester or row.requester == self.requester)
            and (not self.beginning or row.id.startswith(self.beginning))
            and (not self.text or self.text in (row.words or "") or row.id.startswith(self.text))
            and self.scope.covers(row.queue_id, row.entity_id)
        )

    def begins_with(self) -> tuple[str, list[str]] | None:
        """Return the column, with its values, that leaves the fewest executions to look at; None for no column."""
        values: dict[str, list[str]] = {
            "status": sorted(self.statuses) if ex.COMPLETED not in self.statuses else [],
            "entity_id": [self.entity_id] if self.entity_id else sorted(self.scope.agents or ()),
            "requester": [self.requester] if self.requester else [],
            "queue_id": [self.queue_id] if self.queue_id else sorted(self.scope.queues or ()),
        }
        usable = ((column, found) for column, found in values.items() if 0 < len(found) <= MOST_VALUES)
        return next(usable, ("status", sorted(self.statuses)) if self.statuses else None)

    @property
    def is_exact(self) -> bool:
        """Return whether the statement finds these and no others, so that a part of the list can be skipped unread."""
        scope = (self.scope.agents is not None, self.scope.queues is not None)
        given = [self.statuses, self.queue_id, self.entity_id, self.requester, *scope]
        begins = self.begins_with()
        if self.kind or self.text or self.beginning or self.waits:
            return False
        return not any(given) if begins is None else sum(map(bool, given)) == 1 and len(begins[1]) == 1


def find(
    database: Database, query: ExecutionQuery, *, after: Place | None = None, skip: int = 0, limit: int
) -> tuple[list[str], Place | None]:
    """Return the ids of at most `limit` executions behind `after`, and where the next search begins; None at the end.

    Where it is not None, more may follow, even if less than `limit` were found. Only an exact query skips some.
    """
    order = (T.c.created_at, T.c.id)
    base = select(*(T.c[name] for name in _LIGHT), *((T.c.words,) if query.text else ()))
    if query.since:
        base = base.where(T.c.created_at >= query.since)
    if query.until:
        base = base.where(T.c.created_at < query.until)
    if after is not None:
        here, there = tuple_(*order), tuple_(*map(literal, after))
        base = base.where(here > there if query.oldest else here < there)
    base = base.order_by(*(column.asc() if query.oldest else column.desc() for column in order))
    base = base.limit(LOOKED_AT + 1).offset(skip)
    found: list[Place] = []
    last: Place | None = None
    with contextlib.closing(_rows(database, _statements(query, base), oldest=query.oldest)) as rows:
        for number, row in enumerate(rows):
            if len(found) == limit:
                return [key for _, key in found], found[-1]
            if number == LOOKED_AT:
                return [key for _, key in found], last
            last = (row.created_at, row.id)
            if query.includes(row):
                found.append(last)
    return [key for _, key in found], None


def _statements(query: ExecutionQuery, base: Select[Any]) -> list[Select[Any]]:
    """Return the statements that together read what is looked at, each by an index, in the order of the list.

    Ids lead to few rows. The organization would only tempt the database to read all of its rows in order instead.
    """
    if query.waits:
        open_requests = (A.c.organization_id == query.organization_id, A.c.status == "pending")
        return [base.where(T.c.id.in_(select(A.c.execution_id).where(*open_requests)))]
    if query.beginning:
        return [base.where(T.c.id >= query.beginning, T.c.id < query.beginning + LAST_CHARACTER)]
    base, begins = base.where(T.c.organization_id == query.organization_id), query.begins_with()
    if begins is None:
        return [base]
    column, values = begins
    return [base.where(T.c[column] == value) for value in values]


def _rows(database: Database, statements: Sequence[Select[Any]], *, oldest: bool) -> Generator[Any]:
    """Yield the rows of all statements in one order, and read no more of them than is used."""
    results = [database.execute(each) for each in statements]
    try:
        if len(results) == 1:  # a merge would double what a row costs
            yield from results[0]
        else:
            yield from heapq.merge(*results, key=lambda row: (row.created_at, row.id), reverse=not oldest)
    finally:
        for result in results:
            result.close()
