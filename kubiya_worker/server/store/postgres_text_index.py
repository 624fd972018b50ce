"""This module has PostgreSQL find executions by a text with an index of all its three-letter parts.

The index is one of the extension pg_trgm, which comes with PostgreSQL and has to be installed and allowed. The server
that works for all makes both beside its work, and nobody waits for that. Until then, and where it must not, a search
reads all texts.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import text

from kubiya_worker.errors import WorkerError
from kubiya_worker.event_log import EventLogger
from kubiya_worker.server.store.postgres_connection import connected, in_one_line
from kubiya_worker.server.store.statement import Prepared, Reader
from kubiya_worker.server.store.text_index import SHORTEST, beginning_with

if TYPE_CHECKING:
    from kubiya_worker.server.store.address import PostgresAddress

log = EventLogger(__name__)

INDEX: Final = "executions_words"
LOOK: Final = 30.0  # seconds between two looks for an index that another server makes
MAKING: Final = "kubiya text index"

_STATE: Final = (
    "select n.nspname from pg_index i join pg_class c on c.oid = i.indexrelid "
    "join pg_opclass o on o.oid = i.indclass[0] join pg_namespace n on n.oid = o.opcnamespace "
    "where c.relname = 'executions_words' and i.indisvalid "
    "and c.relnamespace = (select oid from pg_namespace where nspname = current_schema())"
)
_THERE: Final = Prepared(text(_STATE))
_EXTENSION: Final = (
    "select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_trgm'"
)
_FOUND: Final = Prepared(text("select id from executions where words like :pattern limit :most"), planned_anew=True)
_LETTERS: Final = re.compile(rf"[^\W_]{{{SHORTEST}}}")
_ASCII_LETTERS: Final = re.compile(rf"[a-z0-9]{{{SHORTEST}}}")


def pattern_of(words: str) -> str:
    """Return the pattern of LIKE for texts that have these words as they are. Pure."""
    return "%{}%".format(re.sub(r"([\\%_])", r"\\\1", words))


def has_parts(words: str, foreign: bool) -> bool:
    """Return whether the index has parts of these words: it leaves out what is neither a letter nor a digit.

    `foreign`: the database takes letters beyond ASCII for letters. Pure.
    """
    return bool((_LETTERS if foreign else _ASCII_LETTERS).search(words))


class PostgresTextIndex:
    def __init__(self, address: PostgresAddress) -> None:
        self._address = address
        self._foreign = False
        self._there = False
        self._looked = -LOOK
        self._tried = False
        self._lock = threading.Lock()
        self._maker: psycopg.Connection[Any] | None = None

    def ids(self, reader: Reader, words: str, most: int) -> list[str] | None:
        if not self._is_there(reader) or "\0" in words or not has_parts(words, self._foreign):
            return None
        values = {"pattern": pattern_of(words), "most": most + 1}
        ids = {row[0] for row in reader.execute(_FOUND, values)}
        ids.update(beginning_with(reader, words, most + 1))
        return sorted(ids) if len(ids) <= most else None

    def _is_there(self, reader: Reader) -> bool:
        if not self._there and time.monotonic() - self._looked >= LOOK:
            self._looked = time.monotonic()
            schema = reader.execute(_THERE).scalar()
            if schema is not None:
                letters = f"""select cardinality("{schema}".show_trgm('яжд')) > 0"""
                self._foreign = bool(reader.execute(text(letters)).scalar())
                self._there = True
        return self._there

    async def keep(self) -> bool:
        if not self._tried:
            self._tried = True
            fault = await asyncio.to_thread(self.make)
            if fault:
                log.warning("search.without_index", database=self._address, reason=fault)
        return False

    def make(self) -> str:
        """Make the index where there is none; return why it cannot be made, or an empty text."""
        began = time.monotonic()
        try:
            with contextlib.closing(connected(self._address)) as server:
                with self._lock:
                    self._maker = server
                if not _make_missing(server):
                    return ""
        except (psycopg.Error, WorkerError) as error:
            return in_one_line(str(error))
        finally:
            with self._lock:
                self._maker = None
        self._looked = -LOOK
        log.info("search.indexed", database=self._address, seconds=time.monotonic() - began)
        return ""

    def close(self) -> None:
        """Stop making it: the end of the process would wait for that. What is half made is made anew by the next."""
        with self._lock:
            if self._maker is not None:
                with contextlib.suppress(psycopg.Error):
                    self._maker.cancel()


def _make_missing(server: psycopg.Connection[Any]) -> bool:
    """Make the index, and return whether it was missing. Writes go on meanwhile."""
    server.execute("set statement_timeout = 0")
    server.execute("set lock_timeout = 0")
    lock = "select pg_try_advisory_lock(hashtext(%s), hashtext(current_schema()))"
    if not _value(server, lock, (MAKING,)) or _value(server, _STATE):
        return False
    schema = _value(server, _EXTENSION)
    if schema is None:
        # Where all schemas of the database find it. Two servers may do it at once, and one of them fails.
        server.execute("create extension if not exists pg_trgm schema public")
        schema = _value(server, _EXTENSION)
    server.execute(sql.SQL("drop index if exists {}").format(sql.Identifier(INDEX)))  # one that was half made
    statement = "create index concurrently {} on executions using gin (words {})"
    server.execute(sql.SQL(statement).format(sql.Identifier(INDEX), sql.Identifier(str(schema), "gin_trgm_ops")))
    return True


def _value(server: psycopg.Connection[Any], query: Any, values: Any = None) -> Any:
    row = server.execute(query, values).fetchone()
    return None if row is None else row[0]
