"""This module looks for what no request tells: requests that end soon, silent workers, budgets near their end."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from kubiya_worker.event_log import EventLogger
from kubiya_worker.server.notify import budget_watch, events

if TYPE_CHECKING:
    from kubiya_worker.server.plane import Plane

log = EventLogger(__name__)

EVERY: Final = 10.0  # seconds between two looks
SOON: Final = timedelta(minutes=15)
SHARE: Final = 5  # a request that is open for less than 75 minutes ends soon in its last fifth
FORGOTTEN: Final = 3_600.0  # seconds: who was silent for longer is no news
GRACE: Final = 180.0  # seconds after the start of this process in which workers may find it again


async def watch(plane: Plane) -> None:
    """Look until cancelled."""
    while True:
        await asyncio.sleep(EVERY)
        try:
            look(plane, time.time())
            for _ in budget_watch.look(plane, time.time()):
                await asyncio.sleep(0)
        except Exception as error:  # a full disk, or a bug: the next look may succeed
            log.fault("watch.failed", error)


def look(plane: Plane, now: float) -> None:
    """Tell what is so at `now`; what was told before is not told again."""
    wanted = {event for definition in plane.stores.notifications.every() for event in definition["events"]}
    with plane.database.transaction():
        if events.APPROVAL_EXPIRES_SOON in wanted:
            _requests(plane, datetime.fromtimestamp(now, UTC))
        if events.WORKER_LOST in wanted and now - plane.began > GRACE:
            _workers(plane, now)


def ends_soon(approval: dict[str, Any], at: datetime) -> bool:
    """Return whether an open request is near its end. Pure."""
    began, end = datetime.fromisoformat(approval["created_at"]), datetime.fromisoformat(approval["expires_at"])
    return end - min(SOON, (end - began) / SHARE) <= at < end


def _requests(plane: Plane, at: datetime) -> None:
    for approval in plane.stores.approvals.ending((at + SOON).isoformat()):
        execution = plane.stores.executions.get(approval["organization_id"], approval["execution_id"])
        if execution is not None and ends_soon(approval, at):
            plane.notifier.tell(approval["organization_id"], events.of_end(approval, execution))


def _workers(plane: Plane, now: float) -> None:
    for worker in plane.stores.workers.silent(now, FORGOTTEN):
        queue = plane.stores.queues.find(worker["organization_id"], worker["queue_id"])
        if queue is not None and not queue.get("ephemeral"):
            plane.notifier.tell(worker["organization_id"], events.of_worker(worker, queue))
