"""This module finds executions by a text with an index of all their three-letter parts, in an SQLite file.

The index is a table of SQLite's FTS5 extension with its `trigram` tokenizer. It says which executions may have a text:
they have all its parts, perhaps apart from each other, so the search looks at the text of each of them. Triggers note
in plain tables what was added and what was removed, which costs a write a few microseconds; `keep` brings some of it
into the index at once, which costs a tenth of bringing one after the other. A search adds what is only noted.

PostgreSQL has the same in postgres_text_index.py, and docs/decisions/018-text-index.md has the reasons.
"""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from typing import Final, Protocol

from sqlalchemy import Connection, text

from kubiya_worker.server.store.statement import Prepared, Reader

SHORTEST: Final = 3  # characters; a shorter text has no part to look for
PARTS: Final = 40  # of a text that are looked for; each costs a little, and the first ones leave few executions
AT_ONCE: Final = 50  # executions that are brought into the index at once: 2 ms, and 10 ms with the longest prompts
LAST_CHARACTER: Final = "\U0010ffff"

# `execution_text_rows` has the executions that are in the index, by its numbers: those of rows in `executions` itself
# may change with a VACUUM. `execution_text_new` has those that are not in it yet. `execution_text_gone` has what is to
# be taken out, with the text, as the index does not keep it.
_TABLES: Final = {
    "execution_text_rows": "(number integer primary key, execution_id text not null unique)",
    "execution_text_new": "(execution_id text primary key) without rowid",
    "execution_text_gone": "(number integer primary key, words text not null)",
}
_TAKE_OUT: Final = (
    "insert into execution_text_gone select number, coalesce(old.words, '') from execution_text_rows "
    "where execution_id = old.id; "
    "delete from execution_text_rows where execution_id = old.id; "
    "delete from execution_text_new where execution_id = old.id; "
)
_ADD: Final = "insert into execution_text_new values (new.id); "
_TRIGGERS: Final = {
    "execution_text_added": f"after insert on executions begin {_ADD}end",
    "execution_text_changed": (
        "after update of id, words on executions when old.words is not new.words or old.id != new.id "
        f"begin {_TAKE_OUT}{_ADD}end"
    ),
    "execution_text_removed": f"after delete on executions begin {_TAKE_OUT}end",
}
_INDEX: Final = (
    "create virtual table execution_text using fts5"
    "(words, content='', detail='none', tokenize='trigram case_sensitive 1')"
)
# What was written is merged by each step, and not by SQLite in the middle of one, which took up to 44 ms then.
_SETTINGS: Final = {"automerge": 0, "crisismerge": 200}
_MERGED: Final = 16  # pages that a step merges
_NAMES: Final = frozenset({*_TABLES, *_TRIGGERS})

_NEW: Final = Prepared(text("select execution_id from execution_text_new limit :most"))
_FOUND: Final = Prepared(
    text(
        "select r.execution_id from execution_text f join execution_text_rows r on r.number = f.rowid "
        "where f.execution_text match :query limit :most"
    )
)
BEGINS: Final = Prepared(text("select id from executions where id >= :first and id < :last limit :most"))
_WAITING: Final = Prepared(
    text(
        "select (select count(*) from (select 1 from execution_text_new limit :most)), "
        "(select count(*) from (select 1 from execution_text_gone limit :most))"
    )
)
_GONE: Final = Prepared(text("select number, words from execution_text_gone limit :most"))
_ADDED: Final = Prepared(
    text(
        "select e.id, coalesce(e.words, '') from executions e "
        "where e.id in (select execution_id from execution_text_new limit :most)"
    )
)
# Not a number of what is still to be taken out: the index would have two texts with one number.
_NUMBER: Final = Prepared(
    text(
        "select max(coalesce((select max(number) from execution_text_rows), 0), "
        "coalesce((select max(number) from execution_text_gone), 0))"
    )
)
_DROP: Final = Prepared(
    text("insert into execution_text (execution_text, rowid, words) values ('delete', :number, :words)")
)
_MERGE: Final = Prepared(text("insert into execution_text (execution_text, rank) values ('merge', :pages)"))
_PUT: Final = Prepared(text("insert into execution_text (rowid, words) values (:number, :words)"))
_DROPPED: Final = Prepared(text("delete from execution_text_gone where number = :number"))
_ROW: Final = Prepared(text("insert into execution_text_rows values (:number, :id)"))
_NOTED: Final = Prepared(text("delete from execution_text_new where execution_id = :id"))


class IndexedDatabase(Reader, Protocol):
    """An indexed database is one whose statements can be one transaction."""

    connection: Connection

    def transaction(self) -> AbstractContextManager[None]: ...


class TextIndex(Protocol):
    """A text index says which executions may have a text, and is kept up to date by calls of `keep`."""

    def ids(self, reader: Reader, words: str, most: int) -> list[str] | None:
        """Return the ids of all executions that may have these words (in folded case), or an id that begins so.

        They are of any organization. Return None where the index does not know them, or knows more than `most`.
        """

    async def keep(self) -> bool:
        """Bring some of what was written into the index; return whether more can be done at once."""


def query_of(words: str) -> str:
    """Return what FTS5 is asked for: rows with all parts of the words. Quotes make each of them a plain text. Pure."""
    parts = dict.fromkeys(words[at : at + SHORTEST] for at in range(len(words) - SHORTEST + 1))
    return " AND ".join('"{}"'.format(part.replace('"', '""')) for part in list(parts)[:PARTS])


def beginning_with(reader: Reader, words: str, most: int) -> list[str]:
    values = {"first": words, "last": words + LAST_CHARACTER, "most": most}
    return [row[0] for row in reader.execute(BEGINS, values)]


class SqliteTextIndex:
    def __init__(self, database: IndexedDatabase, driver: sqlite3.Connection) -> None:
        self._db = database
        # A library without FTS5, or before version 3.34: searches read all texts, and what is written is noted.
        self.usable = _knows_parts(driver)

    def is_complete(self) -> bool:
        """Return whether the file has all that belongs to the index.

        A migration that builds `executions` anew drops its triggers.
        """
        names = {str(row[0]) for row in self._db.execute(text("select name from sqlite_master")).all()}
        return names >= _NAMES and ("execution_text" in names or not self.usable)

    def make(self) -> None:
        """Make what is missing, in the transaction that is open, and note all executions as new."""
        run = self._db.connection.exec_driver_sql
        for name in _TRIGGERS:
            run(f"drop trigger if exists {name}")
        for name in _TABLES:
            run(f"drop table if exists {name}")
        if self.usable:
            run("drop table if exists execution_text")
            run(_INDEX)
            for name, number in _SETTINGS.items():
                run("insert into execution_text (execution_text, rank) values (?, ?)", (name, number))
        for name, columns in _TABLES.items():
            run(f"create table {name} {columns}")
        for name, what in _TRIGGERS.items():
            run(f"create trigger {name} {what}")
        run("insert into execution_text_new select id from executions")

    def ids(self, reader: Reader, words: str, most: int) -> list[str] | None:
        if not self.usable or len(words) < SHORTEST or "\0" in words:
            return None
        ids: set[str] = {row[0] for row in reader.execute(_NEW, {"most": most + 1})}
        if len(ids) > most:
            return None
        ids.update(row[0] for row in reader.execute(_FOUND, {"query": query_of(words), "most": most + 1}))
        ids.update(beginning_with(reader, words, most + 1))
        return sorted(ids) if len(ids) <= most else None

    async def keep(self) -> bool:
        return self.step()

    def step(self, least: int = AT_ONCE) -> bool:
        """Do what `keep` does, where at least so many executions are new or some are gone."""
        if not self.usable:
            return False
        new, gone = self._db.execute(_WAITING, {"most": least}).first()
        if new < least and not gone:
            return False
        some = {"most": AT_ONCE}
        with self._db.transaction():
            self._take_out([{"number": row[0], "words": row[1]} for row in self._db.execute(_GONE, some)])
            self._bring_in([(row[0], row[1]) for row in self._db.execute(_ADDED, some)] if new >= least else [])
            self._db.execute(_MERGE, {"pages": _MERGED})
        return True

    def _take_out(self, rows: list[dict[str, object]]) -> None:
        if rows:
            self._db.execute(_DROP, rows)
            self._db.execute(_DROPPED, [{"number": row["number"]} for row in rows])

    def _bring_in(self, rows: list[tuple[str, str]]) -> None:
        if rows:
            first = self._db.execute(_NUMBER).scalar() + 1
            self._db.execute(_PUT, [{"number": n, "words": words} for n, (_, words) in enumerate(rows, first)])
            self._db.execute(_ROW, [{"number": n, "id": key} for n, (key, _) in enumerate(rows, first)])
            self._db.execute(_NOTED, [{"id": key} for key, _ in rows])


def _knows_parts(driver: sqlite3.Connection) -> bool:
    try:
        driver.execute("create virtual table temp.known using fts5(words, tokenize='trigram case_sensitive 1')")
    except sqlite3.OperationalError:
        return False
    driver.execute("drop table temp.known")
    driver.commit()
    return True
