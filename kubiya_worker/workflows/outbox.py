"""This module has the events that a workflow itself sends, and keeps the order of all events of its execution."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from temporalio import workflow
from temporalio.exceptions import is_cancelled_exception

from kubiya_worker.protocol import calls, event_limit, events, names, unconfirmed
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows import activity_failures, options, outcomes
from kubiya_worker.workflows.carried import Carried
from kubiya_worker.workflows.run import Run


class EventOutbox:
    """Events that the control plane has not taken yet, in order, and what newer events have to follow.

    It also counts events, since a published stream shows a limited number of them (protocol/event_limit.py).
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._events: list[events.Event] = []
        # Ids, as on the stream, of what waits on workers' disks or is on its way: newer events come after.
        self._behind: list[str] = []
        self._unconfirmed: calls.Unconfirmed = {}
        self._event_count = 0  # events on the stream so far, at most
        self._lost: list[calls.LostCall] = []  # sent with events, for the trace

    def start(self) -> None:
        self._behind = list(self._run.member.behind) if self._run.member else []

    def __len__(self) -> int:
        return len(self._events)

    @property
    def behind(self) -> list[str]:
        return self._behind

    @property
    def unconfirmed(self) -> calls.Unconfirmed:
        """Return a copy of the events that steps have left behind, for a worker that sends what is missing."""
        return dict(self._unconfirmed)

    def arrived(self, ids: Iterable[str]) -> None:
        """Forget events of steps that the control plane has."""
        for event_id in ids:
            if self._unconfirmed.pop(event_id, None) is not None:
                self._behind = [waiting for waiting in self._behind if waiting != event_id]

    # -- how many events there may be

    @property
    def sent(self) -> int:
        return self._event_count

    def count(self, number: int) -> None:
        """Count events that others send."""
        self._event_count += number

    def room(self, *, text: bool = False) -> dict[str, Any]:
        """Return how many events the next step may send. `text`: the step is an answer, which comes in chunks."""
        if not self._run.published:
            return {}
        least = int(self._run.member is not None)  # a member's text is shown by its chunks alone
        chunks = max(least, event_limit.allowed_chunks(self._event_count)) if text else 0
        return {"pieces": chunks, "sparing": event_limit.level(self._event_count)}

    # -- what is in it

    def keep(self, event: events.Event) -> None:
        """Keep an event for the next report. It follows the events that wait on workers' disks."""
        if self._run.published and not event_limit.is_sent(event, event_limit.level(self._event_count)):
            return
        self._event_count += 1
        self._events.append({**event, "after": list(self._behind)} if self._behind else event)

    def keep_unrun(self, request: calls.ToolInput, status: str, text: str) -> m.Message:
        """Keep the event of a tool call that no worker ran, and return the call's tool message."""
        now = workflow.now().isoformat()
        self.keep(outcomes.tool_completed(request, text, status, now))
        return outcomes.tool_message(request, text, status, now)

    def keep_lost(self, call: calls.LostCall) -> None:
        """Keep a call whose worker is gone; whoever sends the next events tells of it."""
        self._lost.append(call)

    def predecessors(self) -> list[str]:
        """Return the ids, as on the stream, of the events that a step's events have to follow."""
        last = [self._events[-1]["event_id"]] if self._events else []
        return [
            *self._behind,
            *(f"{self._run.execution_id}:{waiting}" if self._run.member else waiting for waiting in last),
        ]

    def settle(
        self,
        request: calls.ModelInput | calls.ToolInput | calls.ServerInput,
        result: calls.ModelResult | calls.ToolOutcome | calls.ServerResult,
    ) -> None:
        """Note which events of a step were sent, and which are left over, on a worker's disk, or on their way."""
        left = [] if isinstance(result, calls.ServerResult) else result.unconfirmed
        if left or result.spooled == []:  # all that had to come before has arrived
            for event_id in request.behind:
                self._unconfirmed.pop(event_id, None)
        if left and result.spooled and not isinstance(result, calls.ServerResult):
            self._unconfirmed[result.spooled[-1]] = unconfirmed.unpacked(left, result.message or {})
        self._event_count += result.events
        self._events += result.undelivered
        if result.spooled is not None:
            kept = [waiting for waiting in self._behind if waiting not in request.behind]
            self._behind = [*kept, *(waiting for waiting in result.spooled if waiting not in kept)]

    # -- sending

    def take_all(self) -> list[events.Event]:
        """Return all events and forget them: the caller sends them."""
        waiting, self._events = self._events, []
        return waiting

    def take_lost(self) -> list[calls.LostCall]:
        """Return the calls whose workers are gone, and forget them: the caller sends them."""
        lost, self._lost = self._lost, []
        return lost

    @property
    def pending(self) -> list[events.Event]:
        return self._events

    async def deliver(self, *, confirm: bool = False) -> None:
        """Try once to publish the events that are left over. Those that fail again stay here, in order.

        `confirm`: also when there is nothing but what steps have left behind.
        """
        if not self._events and not (confirm and self._unconfirmed):
            return
        sent, lost, left = self.take_all(), self.take_lost(), self.unconfirmed
        request = calls.ReportInput(self._run.execution_id, sent, member=self._run.member, lost=lost, unconfirmed=left)
        try:
            await workflow.execute_local_activity(names.REPORT, request, **options.LOCAL_ONCE)
            self.arrived(left)
        except activity_failures.LOCAL_FAILURE as error:
            if is_cancelled_exception(error):
                self._put_back(sent, lost)
                raise
            if not activity_failures.refused(error):  # away, or slower than it may be
                self._put_back(sent, lost)

    def _put_back(self, sent: list[events.Event], lost: list[calls.LostCall]) -> None:
        self._events, self._lost = sent + self._events, lost + self._lost

    async def report(
        self,
        *,
        patch: dict[str, Any],
        expire_approval: str | None = None,
        decided: calls.TracedApproval | None = None,
    ) -> None:
        """Update the execution at the control plane, after the events that are left over. Wait out any outage."""
        member = self._run.member
        patch = {} if member else patch  # the row is the whole team's
        sent, lost, left = self.take_all(), self.take_lost(), self.unconfirmed
        request = calls.ReportInput(
            self._run.execution_id,
            sent,
            patch,
            expire_approval,
            member,
            decided=decided,
            lost=lost,
            unconfirmed=left,
        )
        try:
            await self._run.call_control_plane(names.REPORT, request)
            self.arrived(left)
        except activity_failures.LOCAL_FAILURE as error:
            if is_cancelled_exception(error):
                self._put_back(sent, lost)
                raise
            # Refused: a status that cannot be shown does not end the work.
            workflow.logger.warning("report.refused %s", activity_failures.cause_of(error))

    def carry(self, into: Carried) -> None:
        into.outbox, into.behind, into.sent = self._events, self._behind, self._event_count
        into.lost = [asdict(call) for call in self._lost]
        into.unconfirmed = self._unconfirmed

    def restore(self, saved: Carried) -> None:
        self._events, self._event_count = saved.outbox, saved.sent
        self._behind = self._behind if saved.behind is None else saved.behind
        self._lost = [calls.LostCall(**call) for call in saved.lost]
        self._unconfirmed = saved.unconfirmed
