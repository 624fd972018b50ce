"""This module joins the servers of one PostgreSQL database: what they tell each other, and which one works for all.

A server that has stored something tells the others beside its commit, as a NOTIFY within it would make all commits wait
for one another. What is not told, because the server was killed between the two, is found by a look each few seconds.

One server has the lease `leader`. It alone sends to Temporal and to channels, ends what is overdue, and so on. It
extends the lease each second, and stops this work before the lease ends when it cannot; then another one takes it. A
lease that begins later than now was taken before PostgreSQL's clock was set back, and is over too. An
old leader that was stopped may send once more what the new one has sent: what is sent carries an id, and counts once.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import text

from kubiya_worker.event_log import EventLogger
from kubiya_worker.server.store.database import Reader
from kubiya_worker.server.store.postgres_connection import options
from kubiya_worker.server.store.statement import Prepared

if TYPE_CHECKING:
    from kubiya_worker.server.plane import Plane
    from kubiya_worker.server.store.address import PostgresAddress

log = EventLogger(__name__)

LEASE: Final = 5.0  # seconds that a leader has without extending it
SAFE: Final = 3.0  # seconds after the last extension in which a leader works on
EXTEND: Final = 1.0  # seconds between two extensions, and between two looks of a leader
LOOK: Final = 2.0  # seconds between two looks for what nobody told
RETRY: Final = 0.5  # seconds until a lost connection is made again
EVENTS: Final = "e"  # of an execution: there are new ones
OUTBOX: Final = "o"  # of an execution: there is something for Temporal
FORM: Final = "f"  # of a caller and an approval: its form is closed
KEYS: Final = "k"  # one was changed or revoked

_EXTEND: Final = """
insert into leases (name, id, holder, began, seconds)
values ('leader', '', %(me)s, extract(epoch from clock_timestamp()), %(seconds)s)
on conflict (name) do update set holder = excluded.holder, began = excluded.began, seconds = excluded.seconds
where leases.holder = excluded.holder or leases.began + leases.seconds < excluded.began
    or leases.began - leases.seconds > excluded.began
returning holder
"""
_GIVE_BACK: Final = "delete from leases where name = 'leader' and holder = %(me)s"
_HEADS: Final = Prepared(
    text("select null, null"),
    postgresql=text(
        "select asked, (select max(sequence) from events where execution_id = asked) "
        "from unnest(cast(:ids as text[])) as asked"
    ),
)
Work = Callable[[], Awaitable[None]]


def _heads(reader: Reader, executions: list[str]) -> dict[str, int]:
    """Return the last number of each log."""
    return {row[0]: row[1] or 0 for row in reader.execute(_HEADS, {"ids": executions})}


class Replicas:
    def __init__(self, plane: Plane, address: PostgresAddress) -> None:
        self._plane, self._address = plane, address
        self.me = uuid.uuid4().hex
        self.leads = False
        self._to_tell: set[str] = set()
        self._told = asyncio.Event()
        plane.sender.elsewhere = lambda execution_id: self.tell(OUTBOX, execution_id)
        plane.forms.told = lambda key: self.tell(FORM, key)
        plane.watchers.told = lambda execution_id: self.tell(EVENTS, execution_id)
        plane.stores.keys.told = lambda: self.tell(KEYS, "")

    def tell(self, kind: str, key: str) -> None:
        """Tell the other servers, after the transaction that is open."""
        self._to_tell.add(f"{kind}{key}")
        self._told.set()

    async def run(self, lead: Work) -> None:
        """Tell, listen, look, and do `lead` while this server is the leader, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for work in (self._tell, self._listen, self._look, lambda: self._take_part(lead)):
                group.create_task(self._always(work))

    async def _always(self, work: Work) -> None:
        """Begin again after each failure: of the connection, mostly."""
        while True:
            try:
                await work()
            except (psycopg.Error, OSError, TimeoutError) as error:
                log.debug("replicas.away", error=error)
            except Exception as error:  # a bug: the next try may succeed
                log.fault("replicas.failed", error)
            await asyncio.sleep(RETRY)

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(self._address.url, autocommit=True, **options(self._address))

    async def _channel(self, connection: psycopg.AsyncConnection[Any]) -> str:
        """Return the channel of those who share a schema."""
        cursor = await connection.execute("select 'kubiya_' || current_schema()")
        row = await cursor.fetchone()
        return str(row[0]) if row else ""

    async def _tell(self) -> None:
        async with await self._connected() as connection:
            channel = await self._channel(connection)
            while True:
                await self._told.wait()
                self._told.clear()
                asked_for, self._to_tell = self._to_tell, set()
                query = "select pg_notify(%s, asked) from unnest(cast(%s as text[])) as asked"
                await connection.execute(query, (channel, sorted(asked_for)))

    async def _listen(self) -> None:
        async with await self._connected() as connection:
            channel = await self._channel(connection)
            await connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
            self._plane.watchers.wake_all()  # what was told while nobody listened
            self._plane.stores.keys.forget()
            self._plane.budgets.look_at_all()  # and so all open executions are looked at
            async for notice in connection.notifies():
                self._hear(notice.payload[:1], notice.payload[1:])

    def _hear(self, kind: str, key: str) -> None:
        if kind == EVENTS:
            self._plane.watchers.wake(key)
            self._plane.budgets.look_at(key)
        elif kind == FORM:
            self._plane.forms.wake(key)
        elif kind == KEYS:
            self._plane.stores.keys.forget()
        elif kind == OUTBOX and self.leads:
            self._plane.sender.wake(key)

    async def _look(self) -> None:
        """Wake who follows an execution that has grown without a word of it."""
        seen: dict[str, int] = {}
        while True:
            await asyncio.sleep(LOOK)
            followed = self._plane.watchers.followed()
            if not followed:
                continue
            with contextlib.suppress(Exception):  # the database is away, of which requests tell
                heads = await self._plane.database.reading(functools.partial(_heads, executions=followed))
                for execution_id, last in heads.items():
                    if seen.get(execution_id, last) != last:
                        self._plane.watchers.wake(execution_id)
                seen = heads

    # -- the leader

    async def _take_part(self, lead: Work) -> None:
        """Take the lease when it is free, and keep it; work as long as it is sure to be this server's."""
        working: asyncio.Task[None] | None = None
        until = 0.0
        try:
            async with await self._connected() as connection:
                while True:
                    asked = time.monotonic()
                    async with asyncio.timeout(SAFE - EXTEND if working is None else max(0.1, until - asked)):
                        cursor = await connection.execute(_EXTEND, {"me": self.me, "seconds": LEASE})
                        mine = await cursor.fetchone() is not None
                    until = asked + SAFE if mine else 0.0
                    if mine and (working is None or working.done()):
                        working = self._begin(lead)
                    elif not mine and working is not None:
                        await self._end(working)
                        working = None
                    elif mine:
                        self._again()
                    await asyncio.sleep(EXTEND)
        except asyncio.CancelledError:
            if working is not None:
                await self._end(working)
                working = None
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(EXTEND), await self._connected() as connection:
                        await connection.execute(_GIVE_BACK, {"me": self.me})
            raise
        finally:
            if working is not None:
                await self._end(working)

    def _begin(self, lead: Work) -> asyncio.Task[None]:
        log.info("replica.leads", replica=self.me)
        self.leads, self._plane.sender.elsewhere = True, None
        return asyncio.ensure_future(lead())

    async def _end(self, working: asyncio.Task[None]) -> None:
        log.info("replica.leads_no_more", replica=self.me)
        self.leads = False
        self._plane.sender.elsewhere = lambda execution_id: self.tell(OUTBOX, execution_id)
        self._plane.sender.stop()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)

    def _again(self) -> None:
        """Look for what other servers have stored."""
        with contextlib.suppress(Exception):  # the database is away, of which requests tell
            self._plane.sender.resume()
        self._plane.scheduler.wake()
        self._plane.notifier.wake()
