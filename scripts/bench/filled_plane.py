"""A control plane's database with many executions, written straight into its tables: the same ones for the same seed.

The rows are as the server writes them, in size and in what differs: status, agent, queue, person, prompt, time.
"""

from __future__ import annotations

import contextlib
import functools
import random
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import insert

from kubiya_worker.server.store import execution_search, schema
from kubiya_worker.server.store.address import Place, PostgresAddress
from kubiya_worker.server.store.database import Database, dumps
from kubiya_worker.server.store.postgres_text_index import PostgresTextIndex
from kubiya_worker.server.store.statement import Prepared
from kubiya_worker.server.store.text_index import SqliteTextIndex

if TYPE_CHECKING:
    import psycopg

ORGANIZATION: Final = "local"
AGENTS, QUEUES, PERSONS = 40, 8, 60
DAYS: Final = 90
STATUSES: Final = {"completed": 900, "failed": 60, "cancelled": 30, "running": 8, "waiting_for_input": 2}
ENDED: Final = ("completed", "failed", "cancelled")
KEY: Final = "@@"
RARE: Final = "zanzibar"  # in the prompt of one execution alone, which is one of the oldest
WORDS: Final = (
    "check disk backup of node database the log host service restart cluster deploy certificate expires network why "
    "slow queue memory full volume mount pod pending report errors since yesterday find cause compare before after "
    "release rotate keys alert latency region upgrade kernel package list open ports users cron job failed retry"
)
_EXECUTION: Final = Prepared(insert(schema.executions)).sql
_EVENT: Final = Prepared(insert(schema.events)).sql
AT_ONCE: Final = 2_000  # executions in one transaction
_EVENTS_OF_SAMPLES: Final = """
insert into events (execution_id, sequence, event_id, event_type, subject, data, timestamp, micros)
select e.id, s.sequence, replace(s.event_id, %(key)s, e.id), s.event_type, replace(s.subject, %(key)s, e.id),
  replace(s.data, %(key)s, e.id), e.created_at, s.micros
from executions e join samples s on s.status = e.status order by e.id, s.sequence
"""

Row = dict[str, Any]


def key_of(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def fill(place: Place, executions: int, events: int, seed: int = 1) -> list[str]:
    """Write so many executions with so many events each into the database, which no server uses; return their ids."""
    rows = list(_executions(random.Random(seed), executions))
    if isinstance(place, PostgresAddress):
        _fill_server(place, rows, events)
    else:
        _fill_file(place, rows, events)
        _index_texts(place)
    return [row["id"] for row in rows]


def _fill_file(path: Path, executions: list[Row], events: int) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        # A crash would lose the file, which is made for one measurement.
        for pragma in ("synchronous=OFF", "cache_size=-500000", "wal_autocheckpoint=100000"):
            connection.execute(f"PRAGMA {pragma}")
        connection.executemany(_EXECUTION, executions)
        connection.commit()
        # In the order of their key, in which a B-tree is written fast.
        ordered = sorted(executions, key=lambda row: str(row["id"]))
        for at in range(0, len(ordered), AT_ONCE):
            for row in ordered[at : at + AT_ONCE]:
                connection.executemany(_EVENT, _events(row, events))
            connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _index_texts(path: Path) -> None:
    """Bring all texts into the index of searches, as a server does some at a time."""
    with contextlib.closing(Database(path)) as opened:
        assert isinstance(opened.texts, SqliteTextIndex)
        while opened.texts.step(1):
            pass


def _fill_server(address: PostgresAddress, executions: Sequence[Row], events: int) -> None:
    """Write the executions, and let the server itself write the events, which differ by their execution's status."""
    import psycopg

    samples = [
        event for status in STATUSES for event in _events({"id": KEY, "created_at": "", "status": status}, events)
    ]
    statuses = [status for status in STATUSES for _ in range(events)]
    with psycopg.connect(address.url) as connection:
        _copy(connection, "executions", executions)
        connection.execute("create temporary table samples (like events) on commit drop")
        connection.execute("alter table samples add column status text")
        _copy(connection, "samples", [{**row, "status": each} for row, each in zip(samples, statuses, strict=True)])
        connection.execute(_EVENTS_OF_SAMPLES, {"key": KEY})
    with psycopg.connect(address.url, autocommit=True) as connection:
        connection.execute("vacuum analyze")  # as a server of some age has done it by itself
    fault = PostgresTextIndex(address).make()
    assert not fault, fault


def _copy(connection: psycopg.Connection[Any], table: str, rows: Sequence[Row]) -> None:
    from psycopg import sql

    names = sql.SQL(", ").join(map(sql.Identifier, rows[0]))
    statement = sql.SQL("copy {} ({}) from stdin").format(sql.Identifier(table), names)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(tuple(row.values()))


def agent_of(number: int) -> str:
    return str(uuid.UUID(int=number + 1, version=4))


def _executions(chance: random.Random, count: int) -> Iterator[Row]:
    """Yield rows, the oldest first, as the server adds them."""
    words = WORDS.split()
    names, weights = tuple(STATUSES), tuple(STATUSES.values())
    # Some seconds ago, so that none is in the future and the reconciler has looked at none.
    end = datetime.now(UTC) - timedelta(minutes=5)
    for number in range(count):
        agent, person = chance.randrange(AGENTS), chance.randrange(PERSONS)
        at = (end - timedelta(days=DAYS) * ((count - number) / count)).isoformat()
        key, email = key_of(chance), f"person{person}@acme.example"
        prompt = " ".join(chance.choices(words, k=chance.randrange(8, 80)))
        if number == count // 50:
            prompt = f"{prompt} {RARE}"
        # What ran long ago is over; else the server would ask Temporal for a thousand that never were.
        status = chance.choices(names, weights)[0] if number > count * 0.95 else chance.choices(ENDED, weights[:3])[0]
        data = {
            "entity_name": f"agent-{agent}",
            "prompt": prompt,
            "requested_by": {"id": email, "name": f"Person {person}"},
            "user_email": email,
            "started_at": at,
            "completed_at": at if status in ENDED else None,
            "response": " ".join(chance.choices(words, k=120)),
            "usage": {"input_tokens": 4_210, "output_tokens": 312, "total_tokens": 4_522, "cost_usd": 0.0173},
            "execution_metadata": {"interactive": False},
            "request": {"prompt": prompt, "configuration": {}},
            "runner_name": f"queue-{agent % QUEUES}",
        }
        yield {
            "id": key,
            "organization_id": ORGANIZATION,
            "execution_type": "agent",
            "entity_id": agent_of(agent),
            "queue_id": agent_of(1_000 + agent % QUEUES),
            "status": status,
            "idempotency_key": None,
            "environment": "{}",
            "data": dumps(data),
            "created_at": at,
            "updated_at": at,
            "requester": execution_search.requester_of(data),
            "words": execution_search.words_of(data),
        }


def _events(execution: Row, count: int) -> Iterator[Row]:
    """Yield an execution's log: a question, steps with a streamed text and a call, the end."""
    key, at = execution["id"], execution["created_at"]
    over = execution["status"] in ENDED
    for sequence in range(1, count + 1):
        kind, subject, data = _event(sequence, execution["status"] if over and sequence == count else "")
        yield {
            "execution_id": key,
            "sequence": sequence,
            "event_id": f"{key}:{sequence}",
            "event_type": kind,
            "subject": subject and subject.replace(KEY, key),
            "data": data.replace(KEY, key),
            "timestamp": at,
            "micros": 1_760_000_000_000_000 + sequence,
        }


@functools.cache
def _event(sequence: int, end: str) -> tuple[str, str | None, str]:
    """Return the type, the subject and the data of an event, with `KEY` in place of the execution's id."""
    if end:
        return "done", None, dumps({"execution_id": KEY, "status": end, "response": "All is well. " * 30})
    step, part = divmod(sequence, 10)
    message = f"{KEY}_{step}"
    about: dict[str, Any] = {"message_id": message, "role": "assistant"}
    if part < 5:
        content = "The disk of the node fills by the log of one service. " * 2
        return "message_chunk", message, dumps({**about, "content": content})
    if part == 5:
        return "message", message, dumps({**about, "content": "The disk of the node fills. " * 20})
    subject = f"{message}_{part // 2}"
    call = {"tool_execution_id": subject, "tool_name": "shell", "message_id": message}
    if part % 2:
        return "tool_completed", subject, dumps({**call, "tool_output": "/dev/vda 252G 27G 76G 27% /srv/data\n" * 20})
    return "tool_started", subject, dumps({**call, "tool_arguments": {"command": "df -h /srv/data"}})
