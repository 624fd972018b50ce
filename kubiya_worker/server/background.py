"""This module does what no request asks for.

It finds workflows that ended without reporting a status, deletes worker queues whose time is over, and moves what was
written from SQLite's log into its database.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from kubiya_worker.event_log import EventLogger
from kubiya_worker.protocol import execution as ex
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.run_workflows import workflow_of
from kubiya_worker.server.store import sqlite_file
from kubiya_worker.server.store.database import MEMORY
from kubiya_worker.server.store.executions import Execution
from kubiya_worker.server.temporal import End, TemporalDown

log = EventLogger(__name__)

EVERY: Final = 5.0  # seconds between two checks
QUIET: Final = timedelta(seconds=4)  # an execution that changed within this time is not checked
AT_ONCE: Final = 50  # executions per check, so that a thousand waiting chats cost ten calls a second
MISSING: Final = timedelta(minutes=1)  # how long Temporal may not know a workflow (its row can be stored before)

CHECKPOINT_EVERY: Final = 0.5  # seconds between two looks at the size of the log
CHECKPOINT_AT: Final = 4 << 20  # bytes
AGAIN: Final = 1.0  # seconds until failed work begins again
INDEX_EVERY: Final = 1.0  # seconds between two looks for texts that are not in the index of searches
INDEX_REST: Final = 0.005  # seconds for others between two steps, so that many texts take no more than half of the time
TIDY_EVERY: Final = 60.0  # seconds between two looks for queues whose time is over


async def reconcile(plane: Plane) -> None:
    """Set the final status of executions whose workflow was terminated or failed without sending one."""
    after = ""
    while True:
        await asyncio.sleep(EVERY)
        try:
            after = await _look(plane, after)
        except Exception as error:  # a full disk, or a bug: the next check may succeed
            log.fault("reconcile.failed", error)


async def checkpoint(plane: Plane) -> None:
    """Move written pages into the database from another thread, so that no request waits for it; until cancelled."""
    path = plane.database.path
    if path == MEMORY or plane.database.shared:
        return
    while True:
        await asyncio.sleep(CHECKPOINT_EVERY)
        try:
            if sqlite_file.log_size(path) > CHECKPOINT_AT:
                await asyncio.to_thread(sqlite_file.checkpoint, path)
        except Exception as error:  # a full disk, or a bug: SQLite does it by itself, from a larger log on
            log.fault("checkpoint.failed", error)


async def tidy(plane: Plane) -> None:
    """Delete worker queues whose `auto_cleanup_after_seconds` are over, old deliveries and files, until cancelled."""
    while True:
        try:
            drop_old_queues(plane, datetime.now(UTC))
            plane.stores.deliveries.forget_old(time.time())
            plane.stores.notification_deliveries.forget_old(time.time())
            plane.stores.answer_tokens.forget_old(time.time())
            plane.stores.hooks.forget_old(time.time())
            plane.run_files.sweep(time.time())
        except Exception as error:  # a full disk, or a bug: the next look may succeed
            log.fault("tidy.failed", error)
        await asyncio.sleep(TIDY_EVERY)


async def index_texts(plane: Plane) -> None:
    """Bring what was written into the index of searches for a text, some of it at a time, until cancelled."""
    while True:
        try:
            more = await plane.database.texts.keep()
        except Exception as error:  # a full disk, or a bug: the next look may succeed; searches know what is missing
            log.fault("index.failed", error)
            more = False
        await asyncio.sleep(INDEX_REST if more else INDEX_EVERY)


async def store_uses(plane: Plane) -> None:
    """Write when the keys that came to this server were last used, until cancelled."""
    while True:
        await asyncio.sleep(TIDY_EVERY)
        try:
            plane.stores.keys.store_uses()
        except Exception as error:  # a full disk, or a bug: the next time may succeed
            log.fault("uses.failed", error)


async def lasting(work: Callable[[], Awaitable[None]]) -> None:
    """Do what never ends; begin it again when it fails all the same, as where the database is away at its beginning."""
    while True:
        try:
            await work()
            return
        except Exception as error:
            log.fault("background.failed", error)
        await asyncio.sleep(AGAIN)


def drop_old_queues(plane: Plane, at: datetime) -> list[str]:
    """Delete the queues whose time is over at `at`, and return their ids.

    A queue stays while it has a live worker, an execution that is not over, or a job's schedule.
    """
    scheduled = {job.get("queue_id") for job in plane.stores.jobs.every()}
    dropped = []
    for queue in plane.stores.queues.every():
        seconds, key, organization = queue.get("auto_cleanup_after_seconds"), queue["id"], queue["organization_id"]
        if not seconds or at < datetime.fromisoformat(queue["created_at"]) + timedelta(seconds=seconds):
            continue
        busy = any(not ex.is_final(status) for status in plane.stores.executions.counts(organization, key, ""))
        if busy or key in scheduled or plane.stores.workers.live(organization, key):
            continue
        plane.stores.queues.delete(queue)
        log.info("queue.cleaned_up", queue=queue["name"])
        dropped.append(key)
    return dropped


async def _look(plane: Plane, after: str) -> str:
    """Run one check and return the id after which the next one begins."""
    quiet = (datetime.now(UTC) - QUIET).isoformat()
    chosen = plane.stores.executions.open(quiet, after, AT_ONCE)
    if len(chosen) < AT_ONCE:  # and those at the beginning, which were looked at before them
        known = {execution["id"] for execution in chosen}
        first = plane.stores.executions.open(quiet, limit=AT_ONCE - len(chosen))
        chosen += [execution for execution in first if execution["id"] not in known]
    for execution in chosen:
        try:
            end = await _end(plane, execution)
        except TemporalDown:
            break
        after = execution["id"]
        if end is not None:
            _apply(plane, execution, end)
    return after


async def _end(plane: Plane, execution: Execution) -> End | None:
    try:
        return await plane.temporal.end(workflow_of(execution))
    except LookupError:
        age = datetime.now(UTC) - datetime.fromisoformat(execution["updated_at"])
        return End(ex.FAILED, error="Temporal does not know its workflow any more") if age > MISSING else None


def _apply(plane: Plane, execution: Execution, end: End) -> None:
    current = plane.stores.executions.get(execution["organization_id"], execution["id"])
    if current is None or ex.is_final(current["status"]):
        return
    fields = {"response": end.response, "error_message": end.error, "usage": end.usage}
    log.warning("execution.ended_silently", execution_id=execution["id"], status=end.status)
    plane.runs.change(current, {"status": end.status, **{k: v for k, v in fields.items() if v is not None}})
