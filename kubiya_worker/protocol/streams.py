"""This module tells on which stream the events of a run show, and in which form. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol.execution import Member


def on_stream(execution_id: str, member: Member | None, events: Sequence[ev.Event]) -> tuple[str, list[ev.Event]]:
    """Return the stream and the form of a run's events. A member's events show on its team's stream."""
    if member is None:
        return execution_id, list(events)
    return member.stream, [ev.of_member(event, execution_id, member.event_fields()) for event in events]
