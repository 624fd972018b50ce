"""This module stores each execution's event log, numbered 1, 2, 3 … without gaps; each event_id is stored once."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import insert, text

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol.events import Event, now
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps
from kubiya_worker.server.store.executions import take_turn
from kubiya_worker.server.store.journal import Change
from kubiya_worker.server.store.statement import Prepared
from kubiya_worker.server.store.stored_events import StoredEvents

T = schema.events
R = TypeVar("R")
CACHED: Final = 10_000  # executions whose last number is kept in memory
LOGS: Final = 1_000  # executions whose ids of events are kept in memory
IDS: Final = 200  # ids that are kept of one; where there are more, the database is asked

_INSERT = Prepared(insert(T))
_KNOWN = Prepared(
    text("select event_id from events where execution_id = :e and event_id in (select value from json_each(:ids))"),
    postgresql=text(
        "select event_id from events where execution_id = :e and "
        "event_id in (select json_array_elements_text(cast(:ids as json)))"
    ),
)
# What the next events are compared with, in one round trip.
_STATE = Prepared(
    text("select null, null"),
    postgresql=text(
        "select (select max(sequence) from events where execution_id = :e), "
        "array(select event_id from events where execution_id = :e and "
        "event_id in (select json_array_elements_text(cast(:ids as json))))"
    ),
)
_OWNER = Prepared(text("select organization_id from executions where id = :e"))
_BEGINS: Final = frozenset({ev.TOOL_STARTED, ev.MEMBER_TOOL_STARTED})
_ENDS: Final = frozenset({ev.TOOL_COMPLETED, ev.MEMBER_TOOL_COMPLETED})
_SAID = Prepared(
    text(
        "select event_id, event_type, subject, data, timestamp from events "
        "where execution_id = :e and sequence < :s order by sequence"
    )
)
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


def decision_of(event_type: str, data: Mapping[str, Any]) -> str:
    """Return the verb of the decision that an event tells: `allow` at a call's start, `deny` at its end, or none. Pure.

    A call that no rule, judge or person decided on has no `enforcement`.
    """
    decision = (data.get("enforcement") or {}).get("decision")
    if decision == ALLOWED and event_type in _BEGINS:
        return "allow"
    return "deny" if decision == DENIED and event_type in _ENDS else ""


class Events(StoredEvents):
    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._db = database
        self.records_allowed = True  # whether a call that a rule, a judge or a person allowed leaves an audit record
        self._last: dict[str, int] = {}
        self._owners: dict[str, Any] = {}  # organizations, which never change
        self._ids: OrderedDict[str, set[str]] = OrderedDict()  # of logs that began here and are not done: all ids
        self._rollbacks = 0

    def last(self, execution_id: str) -> int:
        """Return the highest number given out, or 0."""
        if self._db.shared:
            last_event = self._db.held.get(execution_id)
            return super().last(execution_id) if last_event is None else last_event
        self._drop_undone()
        if len(self._last) > CACHED:
            self._owners.clear()
            self._last.clear()
        if execution_id not in self._last:
            self._last[execution_id] = super().last(execution_id)
        return self._last[execution_id]

    @property
    def shared(self) -> bool:
        """Return whether other processes store events, too."""
        return self._db.shared

    async def reading(self, work: Callable[[StoredEvents], R]) -> R:
        """Return what `work` reads of what was committed."""
        if not self._db.shared:
            return work(self)
        return await self._db.reading(lambda reader: work(StoredEvents(reader)))

    def _drop_undone(self) -> None:
        """Forget what was noted in a transaction that failed: it was not stored."""
        if self._rollbacks != self._db.rollbacks:
            self._owners.clear()
            self._last.clear()
            self._ids.clear()
            self._rollbacks = self._db.rollbacks

    def append(self, execution_id: str, events: Sequence[Event]) -> int:
        """Number and store events, dropping those whose event_id is already stored; return how many are new.

        Call this in a transaction: where other processes number events too, they wait for its end.
        """
        take_turn(self._db, execution_id)
        ids = [e["event_id"] for e in events if e.get("event_id") is not None]
        start, known = self._state(execution_id, ids)
        sequence = start
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
                self._db.hold(execution_id, sequence)
                if not self._db.shared:
                    self._last[execution_id] = sequence
                    self._note(execution_id, rows)
                if decisions:
                    self._record_decisions(execution_id, decisions)
        return sequence - start

    def _state(self, execution_id: str, ids: Sequence[str]) -> tuple[int, set[str]]:
        """Return the highest number given out, or 0, and those of the ids that are stored."""
        if not self._db.shared or not ids or self._db.held.get(execution_id) is not None:
            return self.last(execution_id), self.known(execution_id, ids)
        last, known = self._db.execute(_STATE, {"e": execution_id, "ids": dumps(ids)}).first()
        self._db.hold(execution_id, last or 0)
        return last or 0, set(known)

    def _note(self, execution_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep the ids of a log from its first event on, so that the next events need no look into the database."""
        if rows[0]["sequence"] == 1:
            self._ids[execution_id] = set()
        kept = self._ids.get(execution_id)
        if kept is None:
            return
        kept.update(row["event_id"] for row in rows if row["event_id"] is not None)
        if len(kept) > IDS or rows[-1]["event_type"] == ev.DONE:
            del self._ids[execution_id]
        while len(self._ids) > LOGS:
            self._ids.popitem(last=False)

    def _record_decisions(self, execution_id: str, decisions: Sequence[tuple[str, dict[str, Any], Any]]) -> None:
        """Have a worker's decisions on calls recorded: the rule, the version and age of the rules, the arguments' hash.

        Their time is the worker's: in an outage they come later.
        """
        if execution_id not in self._owners or self._db.shared:
            self._owners[execution_id] = self._db.execute(_OWNER, {"e": execution_id}).scalar()
        organization_id = self._owners[execution_id]
        for verb, data, at in decisions:
            decision, key = data["enforcement"], str(data.get("tool_execution_id") or "")
            about = {"execution_id": execution_id, "detail": str(decision.get("reason") or "")[:500], "decided_at": at}
            about |= {name: decision.get(name) for name in TOLD}
            name = str(data.get("tool_name") or "")
            self._db.changed(Change(organization_id, "call", key, name, verb=verb, about=about))

    def known(self, execution_id: str, ids: Sequence[str]) -> set[str]:
        """Return those of the ids that are stored."""
        if not ids:
            return set()
        self._drop_undone()
        kept = self._ids.get(execution_id)
        if kept is not None:
            return kept.intersection(ids)
        return {row[0] for row in self._db.execute(_KNOWN, {"e": execution_id, "ids": dumps(ids)})}

    def forget(self, execution_id: str) -> None:
        self._last.pop(execution_id, None)
        self._ids.pop(execution_id, None)
        self._owners.pop(execution_id, None)

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
                self._db.hold(execution_id, len(rows))
