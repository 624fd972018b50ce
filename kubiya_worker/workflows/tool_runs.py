"""This module runs tools on workers: one activity for each time that a call is made.

The activity of a brief tool is a local one: it runs within the workflow's task. Only contexts with brief tools lead
there, which no history before them has, so none replays differently.
"""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import ActivityError, TimeoutError, is_cancelled_exception

from kubiya_worker.protocol import calls, names
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.workflows import activity_failures, options, outcomes
from kubiya_worker.workflows.call_places import CallPlaces
from kubiya_worker.workflows.mcp_servers import McpServers
from kubiya_worker.workflows.outbox import EventOutbox
from kubiya_worker.workflows.run import Run


class ToolRuns:
    """The runs of an execution's tools. A run that no worker can report has an outcome too."""

    def __init__(self, run: Run, outbox: EventOutbox, mcp_servers: McpServers, places: CallPlaces) -> None:
        self._run = run
        self._outbox = outbox
        self._mcp_servers = mcp_servers
        self._places = places

    async def make_brief(self, request: calls.ToolInput, activity_id: str) -> calls.ToolOutcome:
        """Make the call of a brief tool within this workflow task, or as `make` does where that does not succeed."""
        try:
            outcome: calls.ToolOutcome = await workflow.execute_local_activity(
                names.CALL_TOOL,
                request,
                result_type=calls.ToolOutcome,
                activity_id=f"{activity_id}-brief",
                **options.BRIEF_TOOL,
            )
        except activity_failures.LOCAL_FAILURE as error:
            if is_cancelled_exception(error):
                raise
        else:
            if not outcome.unheld:
                return self._made(request, outcome)
        return await self.make(request, activity_id)

    async def repeat(self, request: calls.ToolInput, activity_id: str, queue: str = "") -> calls.ToolOutcome:
        """Make a call again, as `make` does. Its events follow those that were kept meanwhile."""
        request.hold, request.behind = bool(self._outbox), self._outbox.predecessors()
        return await self.make(request, activity_id, queue)

    async def make(self, request: calls.ToolInput, activity_id: str, queue: str = "") -> calls.ToolOutcome:
        """Make the call. `queue` is one that may have no worker; raise ActivityError when none has taken the call."""
        spec = next((ToolSpec.parse(x) for x in self._run.context.tools if x["name"] == request.tool_name), None)
        timeout, idempotent = (spec.timeout, spec.idempotent) if spec else (10.0, True)
        undecrypted = unloaded = 0
        while True:
            scheduled = workflow.now()
            try:
                outcome: calls.ToolOutcome = await workflow.execute_activity(
                    names.CALL_TOOL,
                    request,
                    result_type=calls.ToolOutcome,
                    activity_id=activity_id,
                    **options.tool(timeout, idempotent=idempotent),
                    **(options.of_host(queue) if queue else {}),
                )
            except ActivityError as error:
                if is_cancelled_exception(error) or (queue and activity_failures.never_started(error)):
                    raise
                if activity_failures.undecrypted(error) and undecrypted < options.UNDECRYPTED_ATTEMPTS:
                    undecrypted += 1  # it never began: another worker of the queue may have the key
                    await workflow.sleep(options.UNDECRYPTED_PAUSE)
                    continue
                if activity_failures.kind_of(error) == names.MUST_RESTART and unloaded < options.UNDECRYPTED_ATTEMPTS:
                    unloaded += 1  # it never began either: another worker, or this one once it was restarted, can
                    await workflow.sleep(options.UNDECRYPTED_PAUSE)
                    continue
                status, text = outcomes.of_lost_call(request, error)
                if isinstance(error.cause, TimeoutError):
                    lost = outcomes.lost_call(request, self._run.context, activity_id, error.cause, status)
                    lost.attempt = options.tool_attempts(idempotent=idempotent)
                    lost.scheduled_at, lost.noticed_at = scheduled.isoformat(), workflow.now().isoformat()
                    self._outbox.keep_lost(lost)
                message = self._outbox.keep_unrun(request, status, text)
                return calls.ToolOutcome(message=message)
            return self._made(request, outcome)

    def _made(self, request: calls.ToolInput, outcome: calls.ToolOutcome) -> calls.ToolOutcome:
        """Take note of what a worker has told of a call, and return it."""
        self._outbox.settle(request, outcome)
        self._mcp_servers.relist(outcome.relisted)
        self._places.note(outcome.left)
        # A member works for long, so what was true at its start says nothing.
        self._run.crowded = outcome.crowded or outcome.delegation is not None
        return outcome
