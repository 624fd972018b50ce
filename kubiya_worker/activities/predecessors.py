"""The events that the control plane has to have before those of a step, whichever worker sends them."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence

from kubiya_worker.activities.in_flight import InFlight


class Predecessors:
    """The predecessors of one step's events, by their ids on the stream `stream_id`.

    `send_missing` sends those that the control plane does not have; None: nobody can.
    """

    def __init__(
        self,
        stream_id: str,
        ids: Sequence[str] = (),
        in_flight: InFlight | None = None,
        send_missing: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._stream_id = stream_id
        self._ids = ids
        self._in_flight = in_flight or InFlight()
        self._send_missing = send_missing

    async def arrived(self) -> bool:
        """Wait for those that this process is sending. Return True when it knows that all have arrived."""
        return await self._in_flight.stored(self._stream_id, self._ids)

    async def sent(self) -> bool:
        """Send what is missing, unless that was done before. Return True when the step can go on at once."""
        if self._send_missing is None:
            return False
        with contextlib.suppress(Exception):  # else it is tried again, and sent when the turn ends
            await self._send_missing()
            self._send_missing = None
            return True
        return False
