"""This module tells a tool call where long commands are kept, and what the attempts and waits before it have left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio import activity

from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.protocol import calls, names
from kubiya_worker.tools.base import LongCommandsPlace
from kubiya_worker.tools.long_commands import folder as folders


def of(
    runtime: Runtime, asked: calls.ToolInput, announce: Callable[[dict[str, Any]], None]
) -> LongCommandsPlace | None:
    """Return the place; None for a worker without one. `announce` tells the next attempt where this one has begun."""
    if runtime.long_commands is None:
        return None
    info, host = activity.info(), runtime.hostname
    own = names.host_queue(runtime.task_queue, folders.place_id(runtime.long_commands)) if asked.places else ""
    details = next((x for x in info.heartbeat_details if isinstance(x, dict)), {})
    return LongCommandsPlace(
        root=runtime.long_commands,
        host=host,
        workflow_id=info.workflow_id or "",
        attempt=info.attempt,
        before=(str(details.get("host") or ""), str(details.get("place") or "")),
        announce=lambda place: announce({"host": host, "place": place}),
        may_wait=asked.may_wait,
        left=asked.wait.seconds if asked.wait else None,
        woken=asked.wait.woken if asked.wait else "",
        stopping=activity.is_worker_shutdown,
        may_move=asked.may_move,
        others={key: (each.host, each.queue) for key, each in asked.places.items() if each.queue != own},
        queue=lambda place: names.host_queue(runtime.task_queue, place),
    )
