"""This module reads executions' event logs, by any reader of the database: its one connection, or one of a pool."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import text

from kubiya_worker.protocol import events as ev
from kubiya_worker.server.store.database import Reader, dumps
from kubiya_worker.server.store.statement import Prepared

_LAST = Prepared(text("select max(sequence) from events where execution_id = :e"))
_AFTER = "select sequence, event_type, data, timestamp, micros from events where execution_id = :e and sequence > :s"
_PAGE = Prepared(text(f"{_AFTER} order by sequence limit :n"))
_MESSAGES = Prepared(
    text(
        "select sequence, event_type, data, timestamp, micros from events "
        "where execution_id = :e and event_type = 'message' and sequence < :s order by sequence desc limit :n"
    )
)
_OF_TYPES = Prepared(
    text(
        "select sequence, event_type, timestamp, data from events where execution_id = :e and sequence > :s "
        "and event_type in (select value from json_each(:types)) order by sequence"
    ),
    postgresql=text(
        "select sequence, event_type, timestamp, data from events where execution_id = :e and sequence > :s "
        "and event_type in (select json_array_elements_text(cast(:types as json))) order by sequence"
    ),
)
_SUBJECTS = Prepared(
    text(
        "select sequence, subject from events where execution_id = :e and event_type in (:one, :other) "
        "order by sequence"
    )
)
_TAKEN_UP = Prepared(text("select 1 from events where execution_id = :e and sequence > :s and event_type = :t limit 1"))
_OUTLINE = Prepared(text("select sequence, event_type, subject from events where execution_id = :e order by sequence"))


# Event types that end what an earlier event of the same subject began.
_CLOSES: Final = {
    ev.MESSAGE: ev.MESSAGE_CHUNK,
    ev.RESET_CHUNKS: ev.MESSAGE_CHUNK,
    ev.TOOL_COMPLETED: ev.TOOL_STARTED,
    ev.MEMBER_MESSAGE_COMPLETE: ev.MEMBER_MESSAGE_CHUNK,
    ev.MEMBER_TOOL_COMPLETED: ev.MEMBER_TOOL_STARTED,
    ev.APPROVAL_RESOLVED: ev.APPROVAL_REQUESTED,
}
_OPENS: Final = frozenset(_CLOSES.values())


@dataclass(frozen=True)
class Stored:
    """A stored event; `data` is JSON text that a stream sends unchanged."""

    sequence: int
    event_type: str
    data: str
    timestamp: str
    micros: int


def history_end(outline: Iterable[tuple[int, str, str | None]]) -> int:
    """Return the number up to which the log's complete messages tell everything. Pure.

    That is after the last complete message, or earlier: at the first event of something that is still open (text that
    is being written, a running tool, an unanswered question). `outline` holds (sequence, type, subject).
    """
    end = 1
    began: dict[tuple[str, str | None], int] = {}
    for sequence, event_type, subject in outline:
        if event_type == ev.MESSAGE:
            end = sequence + 1
        if event_type in _CLOSES:
            began.pop((_CLOSES[event_type], subject), None)
        elif event_type in _OPENS:
            began.setdefault((event_type, subject), sequence)
    return min([end, *began.values()])


def data_of(event: Stored) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(event.data)
    return data


class StoredEvents:
    """The numbers of a log have no gap for any reader.

    Who numbers events holds the execution's row until its commit (`TURN`), so a number is given only when all lower
    ones are committed, and whoever sees it sees them.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def last(self, execution_id: str) -> int:
        """Return the highest number given out, or 0."""
        return self._reader.execute(_LAST, {"e": execution_id}).scalar() or 0

    def after(self, execution_id: str, sequence: int, limit: int = 200) -> list[Stored]:
        rows = self._reader.execute(_PAGE, {"e": execution_id, "s": sequence, "n": limit})
        return [Stored(*row) for row in rows]

    def messages(self, execution_id: str, before: int, limit: int) -> list[Stored]:
        """Return the newest `limit` complete messages with a number below `before`, in order."""
        rows = self._reader.execute(_MESSAGES, {"e": execution_id, "s": before, "n": limit})
        return [Stored(*row) for row in rows][::-1]

    def of_types(
        self, execution_id: str, types: Sequence[str], after: int
    ) -> Iterator[tuple[int, str, str, dict[str, Any]]]:
        """Return (number, type, time, data) of the events of some types behind a number, in order."""
        rows = self._reader.execute(_OF_TYPES, {"e": execution_id, "s": after, "types": dumps(list(types))})
        return ((row[0], row[1], row[2], json.loads(row[3])) for row in rows)

    def subjects(self, execution_id: str, one: str, other: str = "") -> list[tuple[int, str]]:
        """Return the number and the subject of each event of one type, or of two, in order."""
        rows = self._reader.execute(_SUBJECTS, {"e": execution_id, "one": one, "other": other or one})
        return [(row[0], str(row[1])) for row in rows]

    def taken_up(self, execution_id: str, sequence: int) -> bool:
        """Return whether the execution went on after the event of this number, which said that it was over."""
        return self._reader.execute(_TAKEN_UP, {"e": execution_id, "s": sequence, "t": ev.STATUS}).first() is not None

    def history_end(self, execution_id: str) -> int:
        return history_end(tuple(row) for row in self._reader.execute(_OUTLINE, {"e": execution_id}))
