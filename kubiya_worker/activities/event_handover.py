"""The handover of a step's last events when the step ends before the control plane has them.

Where the workflow allows it, they are still on their way when the step's result is (in_flight.py). What the control
plane cannot take goes to the spool on disk, and where that takes nothing, back to the workflow, which keeps it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from temporalio import activity

from kubiya_worker.activities.event_queue import EventQueue
from kubiya_worker.activities.event_sender import EventSender
from kubiya_worker.activities.in_flight import InFlight
from kubiya_worker.activities.predecessors import Predecessors
from kubiya_worker.control_plane.spool import Spool, without_pieces
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import unconfirmed
from kubiya_worker.protocol.streams import RunStream

HANDED_BACK: Final = 262_144  # bytes of events that a history takes from one step when the spool takes none


@dataclass(frozen=True)
class EventOutcome:
    """The outcome tells the workflow where a step's events are.

    `undelivered` is what it has to keep. `spooled` says what later events have to come after in place of the step's
    predecessors: the last event that waits on disk, or nothing as all is delivered; None: as before. `unconfirmed` has
    the events that may still be on their way.
    """

    undelivered: list[ev.Event] = field(default_factory=list)
    spooled: list[str] | None = None
    unconfirmed: list[ev.Event] = field(default_factory=list)


class EventHandover:
    """The handover of one step. `hold`: something older is the workflow's still, so nothing may go out."""

    def __init__(
        self, stream: RunStream, spool: Spool, in_flight: InFlight, predecessors: Predecessors, *, hold: bool = False
    ) -> None:
        self.stream = stream
        self._spool = spool
        self._in_flight = in_flight
        self._predecessors = predecessors
        self.hold = hold

    async def leave(self, queue: EventQueue, sender: EventSender, message: Mapping[str, Any]) -> EventOutcome | None:
        """Let the last events go on without the step, if the workflow can send them again. `message` is its result's.

        Return None where the step has to wait for them.
        """
        if not sender.running or activity.is_worker_shutdown():
            return None
        if self._spool.holds(self.stream.id) or not queue.fits_in_batch or not await self._predecessors.arrived():
            return None
        events = queue.rest()
        packed = unconfirmed.packed(events, message)
        if not events or unconfirmed.size(packed) > unconfirmed.MOST:
            return None
        last: str = self.stream.shown(events[-1:])[0]["event_id"]
        self._in_flight.add(self.stream.id, last, self.send_alone(sender))
        return EventOutcome(spooled=[last], unconfirmed=packed)

    async def send_alone(self, sender: EventSender) -> bool:
        """Send what is left when the step is over, or keep it on disk. Return whether the control plane has it."""
        left = await sender.finish()
        if left:  # what the disk does not take either, the workflow sends at the end of the turn
            await asyncio.to_thread(self._spool.add, self.stream.id, self.stream.shown(left))
        return not left

    async def keep(self, events: Sequence[ev.Event]) -> EventOutcome:
        """Keep events that could not be sent: on disk, else in the workflow; else they are counted as lost."""
        small = _size(events) <= HANDED_BACK
        # With what the workflow has still to deliver; and a worker that ends may take its disk with it.
        if small and (self.hold or activity.is_worker_shutdown()):
            return EventOutcome(list(events))
        shown = self.stream.shown(events)
        if await asyncio.to_thread(self._spool.add, self.stream.id, shown):
            return EventOutcome(spooled=[shown[-1]["event_id"]])
        if small:
            return EventOutcome(list(events))
        complete = without_pieces(events)
        kept = complete if _size(complete) <= HANDED_BACK else []
        self._spool.count_lost(len(events) - len(kept), "too large for the spool and for a history")
        return EventOutcome(kept)


def _size(events: Sequence[ev.Event]) -> int:
    return len(json.dumps(events, default=str))
