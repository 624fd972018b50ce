"""This module finds executions: by what they are, newest or oldest first, page by page.

Each page begins where an index says, so the last page of many costs what the first one does. One search looks at a
limited number of executions: this server has one thread, which others wait for. A search that finds few of many may
therefore end with a cursor and less than was asked for.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, literal, select, tuple_

from kubiya_worker.protocol import execution as ex
from kubiya_worker.server.person import EVERYTHING, Scope
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.far_part import read_part
from kubiya_worker.server.store.statement import Reader
from kubiya_worker.server.store.text_index import LAST_CHARACTER, TextIndex

T = schema.executions
A = schema.approvals
LOOKED_AT: Final = 1_000  # executions that one search reads: 1 to 5 ms in the database
MOST_VALUES: Final = 20  # of a column that one search begins with, each by a statement of its own
WORDS: Final = 2_000  # characters of the prompt that a search for a text reads

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
    many: bool = False  # so many have the text that they are found sooner by looking at one after the other

    def conditions(self, row: Any) -> list[ColumnElement[bool]]:
        """Return what is true of each of them, as far as the columns of `row` say so."""
        return [
            row.organization_id == self.organization_id,
            *([row.status.in_(sorted(self.statuses))] if self.statuses else []),
            *([row.execution_type == self.kind] if self.kind else []),
            *([row.queue_id == self.queue_id] if self.queue_id else []),
            *([row.entity_id == self.entity_id] if self.entity_id else []),
            *([row.requester == self.requester] if self.requester else []),
            *([_begins(row.id, self.beginning)] if self.beginning else []),
            *([row.words.contains(self.text, autoescape=True) | _begins(row.id, self.text)] if self.text else []),
            *([row.queue_id.in_(sorted(self.scope.queues))] if self.scope.queues is not None else []),
            *([row.entity_id.in_(sorted(self.scope.agents))] if self.scope.agents is not None else []),
        ]

    def begins_with(self) -> tuple[str, list[str]] | None:
        """Return the column, with its values, that leaves the fewest executions to look at; None for no column."""
        values: dict[str, list[str]] = {
            "status": sorted(self.statuses) if ex.COMPLETED not in self.statuses else [],
            "entity_id": [self.entity_id] if self.entity_id else sorted(self.scope.agents or ()),
            "requester": [self.requester] if self.requester else [],
            "queue_id": [self.queue_id] if self.queue_id else sorted(self.scope.queues or ()),
        }
        usable = ((column, texts) for column, texts in values.items() if 0 < len(texts) <= MOST_VALUES)
        return next(usable, ("status", sorted(self.statuses)) if self.statuses else None)

    @property
    def is_exact(self) -> bool:
        """Return whether the statement finds these and no others, so that a part of the list can be skipped unread."""
        scope = (self.scope.agents is not None, self.scope.queues is not None)
        exact = [self.statuses, self.queue_id, self.entity_id, self.requester, *scope]
        begins = self.begins_with()
        if self.kind or self.text or self.beginning or self.waits:
            return False
        return not any(exact) if begins is None else sum(map(bool, exact)) == 1 and len(begins[1]) == 1


def find(
    reader: Reader,
    query: ExecutionQuery,
    texts: TextIndex | None = None,
    *,
    after: Place | None = None,
    skip: int = 0,
    limit: int,
) -> tuple[list[str], Place | None]:
    """Return the ids of at most `limit` executions behind `after`, and where the next search begins; None at the end.

    Where it is not None, more may follow, even if less than `limit` were found. Only an exact query skips some. `texts`
    knows which executions are to be looked at for a text; without it one after the other is.
    """
    few = texts.ids(reader, query.text, LOOKED_AT) if texts is not None and query.text and not query.many else None
    if few == []:
        return [], None
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
    first = min if query.oldest else max  # of places, in the order of the list
    places: list[Place] = []
    end: Place | None = None
    statements = [base.where(T.c.id.in_(few))] if few else _statements(query, base)
    for statement in statements:
        hits, last = _look(reader, query, statement, LOOKED_AT // len(statements), skip, limit + 1)
        places += hits
        if last is not None:
            end = last if end is None else first(end, last)
    places.sort(reverse=not query.oldest)
    if end is not None:  # what is behind it was looked at by some statements, and not by all
        places = [place for place in places if first(place, end) == place]
    if len(places) > limit:
        places, end = places[:limit], places[limit - 1]
    return [key for _, key in places], end


def _look(
    reader: Reader, query: ExecutionQuery, statement: Select[Any], most: int, skip: int, limit: int
) -> tuple[list[Place], Place | None]:
    """Return the first places, at most `limit`, of what is found among `most` executions, and the last of these.

    None in its place: there were no more executions, or all that are wanted were found.
    """
    if query.is_exact:
        places = statement.with_only_columns(T.c.created_at, T.c.id).order_by(None)
        part = read_part(reader, places, (T.c.created_at, T.c.id), query.oldest, skip, limit)
        return [(row[0], row[1]) for row in part], None
    # Both databases read a part with a limit row by row in its order, and no more of it than is wanted.
    some = statement.limit(most).subquery()
    wanted = select(some.c.created_at, some.c.id).where(*query.conditions(some.c)).limit(limit)
    hits = [(row[0], row[1]) for row in reader.execute(wanted)]
    if len(hits) == limit:
        return hits, None
    ends = statement.with_only_columns(T.c.created_at, T.c.id).limit(1).offset(most - 1)
    last = reader.execute(ends).first()
    return hits, None if last is None else (last[0], last[1])


def _statements(query: ExecutionQuery, base: Select[Any]) -> list[Select[Any]]:
    """Return the statements that together read what is looked at, each by an index, in the order of the list.

    Ids lead to few rows. The organization would only tempt the database to read all of its rows in order instead.
    """
    if query.waits:
        open_requests = (A.c.organization_id == query.organization_id, A.c.status == "pending")
        return [base.where(T.c.id.in_(select(A.c.execution_id).where(*open_requests)))]
    if query.beginning:
        return [base.where(_begins(T.c.id, query.beginning))]
    base, begins = base.where(T.c.organization_id == query.organization_id), query.begins_with()
    if begins is None:
        return [base]
    column, values = begins
    return [base.where(T.c[column] == value) for value in values]


def _begins(column: Any, text: str) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = and_(column >= text, column < text + LAST_CHARACTER)
    return condition
