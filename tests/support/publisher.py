"""A publisher of events that sends to any object with the writer's `publish`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from kubiya_worker.activities.event_handover import EventHandover
from kubiya_worker.activities.event_queue import EventQueue
from kubiya_worker.activities.event_sender import EventSender
from kubiya_worker.activities.in_flight import InFlight
from kubiya_worker.activities.pacing import EventPacing
from kubiya_worker.activities.predecessors import Predecessors
from kubiya_worker.activities.publisher import Publisher
from kubiya_worker.control_plane.spool import Spool
from kubiya_worker.control_plane.writer import Writer
from kubiya_worker.protocol.execution import Member
from kubiya_worker.protocol.streams import RunStream


def publisher_to(
    plane: Any,
    *,
    hold: bool = False,
    member: Member | None = None,
    spool: Spool | None = None,
    behind: Sequence[str] = (),
    pace: EventPacing | None = None,
    in_flight: InFlight | None = None,
    send_missing: Callable[[], Awaitable[None]] | None = None,
) -> Publisher:
    """Return the publisher of a step of the execution `e`."""
    spool, in_flight = spool or Spool(), in_flight or InFlight()
    stream, queue = RunStream("e", member), EventQueue(behind, pace)
    predecessors = Predecessors(stream.id, behind, in_flight, send_missing)
    sender = EventSender(cast(Writer, plane), stream, queue, predecessors, spool)
    return Publisher(queue, sender, EventHandover(stream, spool, in_flight, predecessors, hold=hold))
