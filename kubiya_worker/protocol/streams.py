"""This module tells on which stream the events of a run show, and in which form. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol.execution import Member


@dataclass(frozen=True)
class RunStream:
    """The stream on which the events of a run show: its own, or that of its team for a member."""

    execution_id: str
    member: Member | None = None

    @property
    def id(self) -> str:
        return self.member.stream if self.member else self.execution_id

    def shown(self, events: Sequence[ev.Event]) -> list[ev.Event]:
        """Return the events in the form that they have on the stream."""
        if self.member is None:
            return list(events)
        return [ev.of_member(event, self.execution_id, self.member.event_fields()) for event in events]

    def hides(self, event: ev.Event) -> bool:
        """Return True for a piece of text of a quiet member, whose text is shown only when it is complete."""
        return self.member is not None and self.member.quiet and event["event_type"] in ev.PIECES
