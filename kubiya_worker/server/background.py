"""What runs by itself: giving waiting executions to Temporal, and noticing workflows that ended silently."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from kubiya_worker.protocol import execution as ex
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.temporal import TemporalDown

log = logging.getLogger(__name__)

RETRY: Final = 1.0  # seconds between tries while Temporal is away
RECONCILE: Final = 5.0
ENDED_AS: Final = {"FAILED": ex.FAILED, "TIMED_OUT": ex.FAILED, "CANCELED": ex.CANCELLED, "TERMINATED": ex.CANCELLED}


async def dispatch(plane: Plane) -> None:
    """The outbox. A row is marked only after Temporal has the workflow, and starting twice is starting once."""
    while True:
        plane.outbox.clear()
        down = False
        for execution, workflow_input in plane.executions.undispatched():
            try:
                await plane.temporal.start(execution, workflow_input)
                plane.executions.dispatched(execution["id"])
            except TemporalDown as error:
                log.warning("execution.not_started execution_id=%s error=%s", execution["id"], error)
                down = True
                break
        try:
            await asyncio.wait_for(plane.outbox.wait(), RETRY if down else None)
        except TimeoutError:
            pass  # try again


async def reconcile(plane: Plane) -> None:
    """A workflow that was terminated, or failed as a whole, has sent no last status: every execution gets its end."""
    while True:
        await asyncio.sleep(RECONCILE)
        for execution in plane.executions.open():
            try:
                closed = await plane.temporal.closed_as(execution)
            except LookupError:
                closed = "TERMINATED"
            except TemporalDown:
                break
            if closed in ENDED_AS:
                _end(plane, execution, closed)


def _end(plane: Plane, execution: dict[str, Any], closed: str) -> None:
    current = plane.executions.get(execution["organization_id"], execution["id"])
    if current is not None and not ex.is_final(current["status"]):
        text = f"The workflow ended as {closed.lower()}"
        plane.change(current, {"status": ENDED_AS[closed], "error_message": text})
