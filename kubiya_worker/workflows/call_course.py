"""This module follows one tool call to its message: approvals, waits, other hosts, and runs of members."""

from __future__ import annotations

from kubiya_worker.protocol import calls
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows.approvals import Approvals
from kubiya_worker.workflows.deferred_calls import DeferredCalls
from kubiya_worker.workflows.members import Members
from kubiya_worker.workflows.outbox import EventOutbox
from kubiya_worker.workflows.run import Run
from kubiya_worker.workflows.tool_runs import ToolRuns


class CallCourse:
    """The course of an execution's tool calls. Each call goes its own way; several may be on their way at once."""

    def __init__(
        self,
        run: Run,
        outbox: EventOutbox,
        approvals: Approvals,
        members: Members,
        tool_runs: ToolRuns,
        deferred_calls: DeferredCalls,
    ) -> None:
        self._run = run
        self._outbox = outbox
        self._approvals = approvals
        self._members = members
        self._tool_runs = tool_runs
        self._deferred_calls = deferred_calls

    async def follow(
        self, request: calls.ToolInput, *, brief: bool = False
    ) -> tuple[m.Message, calls.ToolOutcome | None]:
        """Make one call. Return its message, and the outcome where the tool was run, or refused, by a worker.

        `brief`: make it within the workflow's task, as `ToolSpec.brief` says.
        """
        activity_id = f"tool-{request.tool_execution_id}"
        make = self._tool_runs.make_brief if brief else self._tool_runs.make
        outcome = await make(request, activity_id)
        waits = moves = 0
        while True:
            if outcome.wait is not None and outcome.elsewhere is not None:
                moves += 1
                outcome = await self._deferred_calls.make_elsewhere(
                    request, outcome.elsewhere, outcome.wait, f"{activity_id}-host-{moves}"
                )
            elif outcome.wait is not None:
                waits += 1
                outcome = await self._deferred_calls.make(request, outcome.wait, f"{activity_id}-wait-{waits}")
            elif outcome.approval is not None:
                decision = await self._approvals.ask(request, outcome.approval)
                if not decision.approved:
                    text = f"{request.tool_name} was not run. {decision.text}"
                    return self._outbox.keep_unrun(request, decision.status, text), None
                await self._run.unpaused()
                request.grant = calls.Grant(decision.approval_id, decision.arguments_hash, decision.approver)
                request.arguments = decision.arguments if decision.arguments is not None else request.arguments
                outcome = await self._tool_runs.repeat(request, f"{activity_id}-{decision.approval_id[:8]}")
            else:
                break
        if outcome.delegation is not None:
            return await self._members.delegate(request, outcome.delegation, outcome.delegate), None
        assert outcome.message is not None
        self._run.tainted = self._run.tainted or outcome.taints
        return outcome.message, outcome
