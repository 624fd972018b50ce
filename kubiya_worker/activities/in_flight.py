"""Publications that go on after the end of their step, so that the next step need not wait for the control plane.

The workflow has the events too (protocol/unconfirmed.py), until it learns that the control plane has them. So a worker
that is killed in between loses none, and the ids of the events make a second sending harmless.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final

from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.control_plane.writer import Writer
from kubiya_worker.protocol.events import Event
from kubiya_worker.protocol.streams import RunStream

TOO_EARLY: Final = 425  # status: an event that has to come before is not stored
LOOKS: Final = (0.05, 0.1, 0.2, 0.4)  # seconds between looks for an event that another worker may be sending
REMEMBERED: Final = 4096  # ids of events that arrived


class InFlight:
    """The publications of this process, by the id of their last event as on the stream. For one event loop."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[bool]] = {}
        self._stored: OrderedDict[str, None] = OrderedDict()

    def add(self, event_id: str, publication: Coroutine[Any, Any, bool]) -> None:
        """Go on with a publication. It returns whether the control plane has the events."""
        task = asyncio.create_task(publication)
        self._tasks[event_id] = task
        task.add_done_callback(lambda done: self._end(event_id, done))

    def _end(self, event_id: str, task: asyncio.Task[bool]) -> None:
        del self._tasks[event_id]
        if not task.cancelled() and task.exception() is None and task.result():
            self._note(event_id)

    def _note(self, event_id: str) -> None:
        self._stored[event_id] = None
        while len(self._stored) > REMEMBERED:
            self._stored.popitem(last=False)

    async def stored(self, ids: Sequence[str]) -> bool:
        """Wait for those of the events that this process is sending.

        Return True when it knows that all of them have arrived.
        """
        under_way = [self._tasks[event_id] for event_id in ids if event_id in self._tasks]
        if under_way:
            await asyncio.wait(under_way)
        return all(event_id in self._stored for event_id in ids)

    async def confirm(
        self,
        writer: Writer,
        stream: RunStream,
        unconfirmed: Mapping[str, Sequence[Event]],
        behind: Sequence[str] = (),
    ) -> list[str]:
        """Have the control plane store the events, whoever began to send them. Raises ControlPlaneError.

        `unconfirmed` has the events of each publication. Return those ids of `behind` that may not have arrived.
        """
        await self.stored([*unconfirmed, *behind])
        for event_id, events in unconfirmed.items():
            if event_id not in self._stored:
                await _wait_for(writer, stream.id, event_id)
                await writer.publish(
                    stream.id, stream.shown(events)
                )  # always: after a minute of 425 a missing one counts as there
                self._note(event_id)
        return [event_id for event_id in behind if event_id not in self._stored]

    async def close(self) -> None:
        """Wait for the publications. Each has its own time limit."""
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))


async def _wait_for(writer: Writer, stream_id: str, event_id: str) -> None:
    """Wait up to a second for an event that another worker may be sending: its text would else come too late."""
    for pause in LOOKS:
        try:
            await writer.publish(stream_id, [], [event_id])
        except ControlPlaneError as error:
            if error.status != TOO_EARLY:
                raise
            await asyncio.sleep(pause)
        else:
            return
