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


EventKey = tuple[str, str]  # a stream, and an event on it: executions may have events of the same id


class InFlight:
    """The publications of this process, by their last event as on the stream. For one event loop."""

    def __init__(self) -> None:
        self._tasks: dict[EventKey, asyncio.Task[bool]] = {}
        self._stored: OrderedDict[EventKey, None] = OrderedDict()

    def add(self, stream_id: str, event_id: str, publication: Coroutine[Any, Any, bool]) -> None:
        """Go on with a publication. It returns whether the control plane has the events."""
        key = stream_id, event_id
        task = asyncio.create_task(publication)
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._end(key, done))

    def _end(self, key: EventKey, task: asyncio.Task[bool]) -> None:
        if self._tasks.get(key) is task:  # else another attempt of the step publishes the same event
            del self._tasks[key]
        if not task.cancelled() and task.exception() is None and task.result():
            self._note(key)

    def _note(self, key: EventKey) -> None:
        self._stored[key] = None
        while len(self._stored) > REMEMBERED:
            self._stored.popitem(last=False)

    def knows(self, stream_id: str, ids: Sequence[str]) -> bool:
        """Return whether this process has sent, or is sending, these events of the stream."""
        return all(key in self._stored or key in self._tasks for key in ((stream_id, each) for each in ids))

    async def stored(self, stream_id: str, ids: Sequence[str]) -> bool:
        """Wait for those of the stream's events that this process is sending.

        Return True when it knows that all of them have arrived.
        """
        keys = [(stream_id, event_id) for event_id in ids]
        under_way = [self._tasks[key] for key in keys if key in self._tasks]
        if under_way:
            await asyncio.wait(under_way)
        return all(key in self._stored for key in keys)

    async def confirm(
        self,
        writer: Writer,
        stream: RunStream,
        unconfirmed: Mapping[str, Sequence[Event]],
        behind: Sequence[str] = (),
    ) -> list[str]:
        """Make sure that the control plane has these events, whoever began to send them. Raises ControlPlaneError.

        `unconfirmed` has the events of each publication. Return those ids of `behind` that may not have arrived.
        """
        await self.stored(stream.id, [*unconfirmed, *behind])
        for event_id, events in unconfirmed.items():
            if (stream.id, event_id) not in self._stored:
                await _wait_for(writer, stream.id, event_id)
                await writer.publish(
                    stream.id, stream.shown(events)
                )  # always: after a minute of 425 a missing one counts as there
                self._note((stream.id, event_id))
        return [event_id for event_id in behind if (stream.id, event_id) not in self._stored]

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
