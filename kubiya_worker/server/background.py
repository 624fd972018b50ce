"""This module finds workflows that ended without reporting a status, so that every execution ends."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Final

from kubiya_worker.protocol import execution as ex
from kubiya_worker.server.plane import Plane, workflow_of
from kubiya_worker.server.store.executions import Execution
from kubiya_worker.server.temporal import End, TemporalDown

log = logging.getLogger(__name__)

EVERY: Final = 5.0  # seconds between two checks
QUIET: Final = timedelta(seconds=4)  # an execution that changed within this time is not checked
AT_ONCE: Final = 50  # executions per check, so that a thousand waiting chats cost ten calls a second
MISSING: Final = timedelta(minutes=1)  # how long Temporal may not know a workflow (its row can be stored before)


def chosen(open_: list[Execution], after: str, limit: int = AT_ONCE) -> list[Execution]:
    """Return the next executions to check, ordered by id: those after `after`, then from the beginning again. Pure."""
    ordered = sorted(open_, key=lambda execution: str(execution["id"]))
    behind = [execution for execution in ordered if execution["id"] > after]
    return [*behind, *ordered[: len(ordered) - len(behind)]][:limit]


async def reconcile(plane: Plane) -> None:
    """Set the final status of executions whose workflow was terminated or failed without sending one."""
    after = ""
    while True:
        await asyncio.sleep(EVERY)
        try:
            after = await _look(plane, after)
        except Exception:  # a full disk, or a bug: the next check may succeed
            log.exception("reconcile.failed")


async def _look(plane: Plane, after: str) -> str:
    """Run one check and return the id after which the next one begins."""
    quiet = plane.executions.open((datetime.now(UTC) - QUIET).isoformat())
    for execution in chosen(quiet, after):
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
    current = plane.executions.get(execution["organization_id"], execution["id"])
    if current is None or ex.is_final(current["status"]):
        return
    fields = {"response": end.response, "error_message": end.error, "usage": end.usage}
    log.warning("execution.ended_silently execution_id=%s status=%s", execution["id"], end.status)
    plane.change(current, {"status": end.status, **{k: v for k, v in fields.items() if v is not None}})
