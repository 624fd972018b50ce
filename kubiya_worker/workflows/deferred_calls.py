"""This module makes tool calls again that a worker has put off: they wait for something, or belong on another host."""

from __future__ import annotations

import asyncio

from temporalio.exceptions import ActivityError

from kubiya_worker.protocol import calls
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows import activity_failures, outcomes
from kubiya_worker.workflows.call_places import CallPlaces
from kubiya_worker.workflows.call_waits import CallWaits
from kubiya_worker.workflows.outbox import EventOutbox
from kubiya_worker.workflows.tool_runs import ToolRuns


class DeferredCalls:
    """The calls of an execution that a worker has answered with a wait in place of a message."""

    def __init__(self, outbox: EventOutbox, runs: ToolRuns, waits: CallWaits, places: CallPlaces) -> None:
        self._outbox = outbox
        self._runs = runs
        self._waits = waits
        self._places = places

    async def make(self, request: calls.ToolInput, wait: calls.CallWait, activity_id: str) -> calls.ToolOutcome:
        """Wait for what a call waits for, then make it again."""
        try:
            request.wait = await self._waits.wait(wait)
        except asyncio.CancelledError:
            self._outbox.keep_unrun(request, m.TOOL_FAILED, "cancelled")  # clients have seen its start
            raise
        return await self._runs.repeat(request, activity_id)

    async def make_elsewhere(
        self, request: calls.ToolInput, place: calls.CallPlace, wait: calls.CallWait, activity_id: str
    ) -> calls.ToolOutcome:
        """Make a call again on the host that has what it is about, once a worker of that host answers."""
        self._places.note({wait.what: place})
        wait.woken = request.wait.woken if request.wait else ""
        try:
            reached, request.wait = await self._places.reach(place, wait)
        except asyncio.CancelledError:
            self._outbox.keep_unrun(request, m.TOOL_FAILED, "cancelled")
            raise
        if reached:
            try:
                return await self._runs.repeat(request, activity_id, place.queue)
            except ActivityError as error:
                if not activity_failures.never_started(error):
                    raise
                # The worker that answered is gone again; the call, which may be made twice, goes back to the wait.
                return calls.ToolOutcome(wait=request.wait, elsewhere=place)
        text = outcomes.of_absent_host(request, place, request.wait)
        return calls.ToolOutcome(message=self._outbox.keep_unrun(request, m.TOOL_UNKNOWN, text))
