"""This module stores each execution's event log, numbered 1, 2, 3 … without gaps; each event_id is stored once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import insert, text

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol.events import Event, now
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps
from kubiya_worker.server.store.executions import TURN
from kubiya_worker.server.store.journal import Change
from kubiya_worker.server.store.statement import Prepared

T = schema.events
CACHED: Final = 10_000  # executions whose last number is kept in memory

_LAST = Prepared(text("select max(sequence) from events where execution_id = :e"))
_INSERT = Prepared(insert(T))
_KNOWN = Prepared(
    text("select event_id from events where execution_id = :e and event_id in (select value from json_each(:ids))"),
    postgresql=text(
        "select event_id from events where execution_id = :e and "
        "event_id in (select json_array_elements_text(cast(:ids as json)))"
    ),
)
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
_OWNER = Prepared(text("select organization_id from executions where id = :e"))
_BEGINS: Final = frozenset({ev.TOOL_STARTED, ev.MEMBER_TOOL_STARTED})
_ENDS: Final = frozenset({ev.TOOL_COMPLETED, ev.MEMBER_TOOL_COMPLETED})
_SUBJECTS = Prepared(
    text(
        "select sequence, subject from events where execution_id = :e and event_type in (:one, :other) "
        "order by sequence"
    )
)
_SAID = Prepared(
    text(
        "select event_id, event_type, subject, data, timestamp from events "
        "where execution_id = :e and sequence < :s order by sequence"
    )
)
_TAKEN_UP = Prepared(text("select 1 from events where execution_id = :e and sequence > :s and event_type = :t limit 1"))
_OUTLINE = Prepared(text("select sequence, event_type, subject from events where execution_id = :e order by sequence"))

SHARED: Final = frozenset({ev.MESSAGE, ev.TOOL_STARTED, ev.TOOL_COMPLETED})
OF_THE_RUN: Final = ("usage", "step", "duration_seconds")  # of an event: what it took and cost

ALLOWED: Final = "allowed"  # of `enforcement.decision`
DENIED: Final = "denied"
TOLD: Final = ("rule_id", "rules_version", "rules_age_seconds", "arguments_hash", "approval_id")  # of `enforcement`

# The key in an event's data that names its message, tool call or approval.
SUBJECTS: Final = {
    ev.MESSAGE: "message_id",
    ev.MESSAGE_CHUNK: "message_id",
    ev.RESET_CHUNKS: "message_id",
    ev.MEMBER_MESSAGE_CHUNK: "message_id",
    ev.MEMBER_MESSAGE_COMPLETE: "message_id",
    ev.MEMBER_TOOL_STARTED: "tool_execution_id",
    ev.MEMBER_TOOL_COMPLETED: "tool_execution_id",
    ev.TOOL_STARTED: "tool_execution_id",
    ev.TOOL_COMPLETED: "tool_execution_id",
    ev.APPROVAL_REQUESTED: "approval_id",
    ev.APPROVAL_RESOLVED: "approval_id",
}
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


def decision_of(event_type: str, data: Mapping[str, Any]) -> str:
    """Return the verb of the decision that an event tells: `allow` at a call's start, `deny` at its end, or none. Pure.

    A call that no rule, judge or person decided on has no `enforcement`.
    """
    decision = (data.get("enforcement") or {}).get("decision")
    if decision == ALLOWED and event_type in _BEGINS:
        return "allow"
    return "deny" if decision == DENIED and event_type in _ENDS else ""


class Events:
    def __init__(self, database: Database) -> None:
        self._db = database
        self.records_allowed = True  # whether a call that a rule, a judge or a person allowed leaves an audit record
        self._last: dict[str, int] = {}
        self._owners: dict[str, Any] = {}  # organizations, which never change
        self._rollbacks = 0

    def last(self, execution_id: str) -> int:
        """Return the highest number given out, or 0."""
        if self._db.shared:
            return self._db.execute(_LAST, {"e": execution_id}).scalar() or 0
        if self._rollbacks != self._db.rollbacks or len(self._last) > CACHED:
            self._owners.clear()
            self._last.clear()  # numbers counted in a transaction that failed were not stored
            self._rollbacks = self._db.rollbacks
        if execution_id not in self._last:
            found = self._db.execute(_LAST, {"e": execution_id}).scalar()
            self._last[execution_id] = found or 0
        return self._last[execution_id]

    def append(self, execution_id: str, events: Sequence[Event]) -> int:
        """Number and store events, dropping those whose event_id is already stored; return how many are new.

        Call this in a transaction: where other processes number events too, they wait for its end.
        """
        if self._db.shared:
            self._db.execute(TURN, {"e": execution_id})
        sequence = start = self.last(execution_id)
        known = self.known(execution_id, [e["event_id"] for e in events if e.get("event_id") is not None])
        micros = time.time_ns() // 1000
        rows, decisions = [], []
        for event in events:
            event_id = event.get("event_id")
            if event_id is not None:
                if event_id in known:
                    continue
                known.add(event_id)
            sequence += 1
            data = event.get("data") or {}
            verb = decision_of(event["event_type"], data)
            if verb == "deny" or (verb and self.records_allowed):
                decisions.append((verb, data, event.get("timestamp")))
            subject = data.get(SUBJECTS.get(event["event_type"], ""))
            rows.append(
                {
                    "execution_id": execution_id,
                    "sequence": sequence,
                    "event_id": event_id,
                    "event_type": event["event_type"],
                    "subject": None if subject is None else str(subject),
                    "data": dumps(data),
                    "timestamp": event.get("timestamp") or now(),
                    "micros": micros,
                }
            )
        if rows:
            with self._db.transaction():
                self._db.execute(_INSERT, rows)
                if not self._db.shared:
                    self._last[execution_id] = sequence
                if decisions:
                    self._told_decisions(execution_id, decisions)
        return sequence - start

    def _told_decisions(self, execution_id: str, decisions: Sequence[tuple[str, dict[str, Any], Any]]) -> None:
        """Have a worker's decisions on calls recorded: the rule, the version and age of the rules, the arguments' hash.

        Their time is the worker's: in an outage they come later.
        """
        if execution_id not in self._owners or self._db.shared:
            self._owners[execution_id] = self._db.execute(_OWNER, {"e": execution_id}).scalar()
        organization_id = self._owners[execution_id]
        for verb, data, at in decisions:
            told, key = data["enforcement"], str(data.get("tool_execution_id") or "")
            about = {"execution_id": execution_id, "detail": str(told.get("reason") or "")[:500], "decided_at": at}
            about |= {name: told.get(name) for name in TOLD}
            name = str(data.get("tool_name") or "")
            self._db.changed(Change(organization_id, "call", key, name, verb=verb, about=about))

    def known(self, execution_id: str, ids: Sequence[str]) -> set[str]:
        """Return those of the ids that are stored."""
        if not ids:
            return set()
        return {row[0] for row in self._db.execute(_KNOWN, {"e": execution_id, "ids": dumps(ids)})}

    def forget(self, execution_id: str) -> None:
        self._last.pop(execution_id, None)
        self._owners.pop(execution_id, None)

    def after(self, execution_id: str, sequence: int, limit: int = 200) -> list[Stored]:
        rows = self._db.execute(_PAGE, {"e": execution_id, "s": sequence, "n": limit})
        return [Stored(*row) for row in rows]

    def messages(self, execution_id: str, before: int, limit: int) -> list[Stored]:
        """Return the newest `limit` complete messages with a number below `before`, in order."""
        rows = self._db.execute(_MESSAGES, {"e": execution_id, "s": before, "n": limit})
        return [Stored(*row) for row in rows][::-1]

    def of_types(
        self, execution_id: str, types: Sequence[str], after: int
    ) -> Iterator[tuple[int, str, str, dict[str, Any]]]:
        """Return (number, type, time, data) of the events of some types behind a number, in order."""
        rows = self._db.execute(_OF_TYPES, {"e": execution_id, "s": after, "types": dumps(list(types))})
        return ((row[0], row[1], row[2], json.loads(row[3])) for row in rows)

    def subjects(self, execution_id: str, one: str, other: str = "") -> list[tuple[int, str]]:
        """Return the number and the subject of each event of one type, or of two, in order."""
        rows = self._db.execute(_SUBJECTS, {"e": execution_id, "one": one, "other": other or one})
        return [(row[0], str(row[1])) for row in rows]

    def share(self, origin: str, before: int, execution_id: str) -> None:
        """Put what was said and done in another execution before the event number `before` into a log that is empty.

        What was spent for it is left out: that is the other execution's.
        """
        rows: list[dict[str, Any]] = []
        for event_id, event_type, subject, told, at in self._db.execute(_SAID, {"e": origin, "s": before}):
            data = json.loads(told) if event_type in SHARED else {}
            if not data or data.get("role") == "system":
                continue
            data = {**{k: v for k, v in data.items() if k not in OF_THE_RUN}, "shared": True}
            kept = {"event_id": event_id, "event_type": event_type, "subject": subject, "timestamp": at}
            row = {**kept, "execution_id": execution_id, "sequence": len(rows) + 1, "data": dumps(data)}
            rows.append({**row, "micros": time.time_ns() // 1000})
        if rows:
            with self._db.transaction():
                self._db.execute(_INSERT, rows)
                self._last[execution_id] = len(rows)

    def taken_up(self, execution_id: str, sequence: int) -> bool:
        """Return whether the execution went on after the event of this number, which said that it was over."""
        return self._db.execute(_TAKEN_UP, {"e": execution_id, "s": sequence, "t": ev.STATUS}).first() is not None

    def history_end(self, execution_id: str) -> int:
        return history_end(tuple(row) for row in self._db.execute(_OUTLINE, {"e": execution_id}))


def data_of(event: Stored) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(event.data)
    return data
