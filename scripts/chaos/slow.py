"""Show why a recovery took long: the gaps in the last execution's history."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

GAPS: Final = 2  # the longest ones are told
SHORTEST: Final = 3.0  # seconds


def reasons(address: str, workflow_id: str) -> list[str]:
    """The longest times between two events of a workflow's history; empty when Temporal does not answer."""
    try:
        return asyncio.run(asyncio.wait_for(_ask(address, workflow_id), 15))
    except (OSError, RuntimeError, TimeoutError) as error:
        return [f"its history cannot be read: {error}"[:120]]


async def _ask(address: str, workflow_id: str) -> list[str]:
    from temporalio.client import Client

    client = await Client.connect(address)
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    return told([(event.event_time.ToNanoseconds() / 1e9, name_of(event)) for event in history.events])


def told(events: Sequence[tuple[float, str]]) -> list[str]:
    """`events` are (seconds, name)."""
    gaps = sorted(((after - at, name, next_name) for (at, name), (after, next_name) in pairwise(events)), reverse=True)
    return [f"{gap:.1f} s from {name} to {then}" for gap, name, then in gaps[:GAPS] if gap >= SHORTEST]


def name_of(event: Any) -> str:
    """`ActivityTaskScheduled model-1-2`, `ActivityTaskStarted attempt 2 (activity Heartbeat timeout)`."""
    from temporalio.api.enums.v1 import EventType

    words = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").lower().split("_")
    name = "".join(word.capitalize() for word in words)
    scheduled, started = event.activity_task_scheduled_event_attributes, event.activity_task_started_event_attributes
    if scheduled.activity_id:
        return f"{name} {scheduled.activity_id}"
    if started.attempt > 1:
        return f"{name} attempt {started.attempt} ({started.last_failure.message})"
    failed = event.workflow_task_failed_event_attributes.failure.message
    return f"{name} ({failed[:80]})" if failed else name
