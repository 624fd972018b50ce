"""This module makes the tool calls that a model asks for, after a person's approval where the policy requires one."""

from __future__ import annotations

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError, TimeoutError, is_cancelled_exception

from kubiya_worker.protocol import calls, names
from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.workflows import activity_failures, options, outcomes
from kubiya_worker.workflows.approvals import Approvals
from kubiya_worker.workflows.budget import Budget
from kubiya_worker.workflows.call_places import CallPlaces
from kubiya_worker.workflows.call_waits import CallWaits
from kubiya_worker.workflows.conversation import Conversation
from kubiya_worker.workflows.mcp_servers import McpServers
from kubiya_worker.workflows.members import Members
from kubiya_worker.workflows.outbox import EventOutbox
from kubiya_worker.workflows.repeated_failures import RepeatedFailures
from kubiya_worker.workflows.run import Run
from kubiya_worker.workflows.turn import Turn


class ToolCalls:
    """The tool calls of an execution, one activity each; a call of a member becomes a run of it."""

    def __init__(
        self,
        run: Run,
        conversation: Conversation,
        turn: Turn,
        outbox: EventOutbox,
        approvals: Approvals,
        budget: Budget,
        mcp_servers: McpServers,
        members: Members,
        repeated_failures: RepeatedFailures,
        call_waits: CallWaits,
        call_places: CallPlaces,
    ) -> None:
        self._run = run
        self._conversation = conversation
        self._turn = turn
        self._outbox = outbox
        self._approvals = approvals
        self._budget = budget
        self._mcp_servers = mcp_servers
        self._members = members
        self._repeated_failures = repeated_failures
        self._call_waits = call_waits
        self._call_places = call_places

    async def make(self, asked_by: m.Message) -> list[m.Message]:
        """Make all calls of a message at the same time. Return their messages in the order of the calls."""
        tool_calls: list[m.ToolCall] = asked_by["tool_calls"]
        await self._mcp_servers.ready_for(tool_calls)
        self._budget.tools_begin()
        results = await asyncio.gather(*(self._make(call, asked_by) for call in tool_calls))
        for result in results:
            self._conversation.append(result)
        self._budget.tools_end()
        return results

    async def _make(self, call: m.ToolCall, asked_by: m.Message) -> m.Message:
        message, outcome = await self._carry_out(call, asked_by)
        return self._repeated_failures.note(call, message, outcome)

    async def _carry_out(self, call: m.ToolCall, asked_by: m.Message) -> tuple[m.Message, calls.ToolOutcome | None]:
        """Make one call. Return its message, and the outcome where the tool was run, or refused, by a worker."""
        request = self._input(call, asked_by)
        outcome = await self._run_tool(request, f"tool-{call['id']}")
        waits = moves = 0
        while outcome.approval is not None or outcome.wait is not None:
            if outcome.wait is not None and outcome.elsewhere is not None:
                moves += 1
                outcome = await self._move(request, outcome.elsewhere, outcome.wait, f"tool-{call['id']}-host-{moves}")
                continue
            if outcome.wait is not None:
                waits += 1
                outcome = await self._wait_and_go_on(request, outcome.wait, f"tool-{call['id']}-wait-{waits}")
                continue
            assert outcome.approval is not None
            decision = await self._approvals.ask(request, outcome.approval)
            if not decision.approved:
                text = f"{call['name']} was not run. {decision.text}"
                return self._outbox.keep_unrun(request, decision.status, text), None
            await self._run.unpaused()
            request.grant = calls.Grant(decision.approval_id, decision.arguments_hash, decision.approver)
            request.arguments = decision.arguments if decision.arguments is not None else request.arguments
            request.hold, request.behind = bool(self._outbox), self._outbox.predecessors()
            outcome = await self._run_tool(request, f"tool-{call['id']}-{decision.approval_id[:8]}")
        if outcome.delegation is not None:
            return await self._members.delegate(request, outcome.delegation, outcome.delegate), None
        assert outcome.message is not None
        self._call_places.note(outcome.left)
        self._run.tainted = self._run.tainted or outcome.taints
        if outcome.record:
            self._turn.note_tool(outcome.record)
        return outcome.message, outcome

    async def _wait_and_go_on(
        self, request: calls.ToolInput, wait: calls.CallWait, activity_id: str
    ) -> calls.ToolOutcome:
        """Wait for what a call waits for, then make it again."""
        try:
            request.wait = await self._call_waits.wait(wait)
        except asyncio.CancelledError:
            self._outbox.keep_unrun(request, m.TOOL_FAILED, "cancelled")  # clients have seen its start
            raise
        request.hold, request.behind = bool(self._outbox), self._outbox.predecessors()
        return await self._run_tool(request, activity_id)

    async def _move(
        self, request: calls.ToolInput, place: calls.CallPlace, wait: calls.CallWait, activity_id: str
    ) -> calls.ToolOutcome:
        """Make a call again on the host that has what it is about, once a worker of that host answers."""
        self._call_places.note({wait.what: place})
        wait.woken = request.wait.woken if request.wait else ""
        try:
            reached, request.wait = await self._call_places.reach(place, wait)
        except asyncio.CancelledError:
            self._outbox.keep_unrun(request, m.TOOL_FAILED, "cancelled")
            raise
        request.hold, request.behind = bool(self._outbox), self._outbox.predecessors()
        if reached:
            try:
                return await self._run_tool(request, activity_id, place.queue)
            except ActivityError as error:
                if not activity_failures.never_started(error):
                    raise
                # The worker that answered is gone again; the call, which may be made twice, goes back to the wait.
                return calls.ToolOutcome(wait=request.wait, elsewhere=place)
        text = outcomes.of_absent_host(request, place, request.wait)
        return calls.ToolOutcome(message=self._outbox.keep_unrun(request, m.TOOL_UNKNOWN, text))

    def _input(self, call: m.ToolCall, asked_by: m.Message) -> calls.ToolInput:
        arguments: str | None = call["arguments"]
        if len(arguments or "") > calls.INLINE_BYTES:
            arguments = None  # the worker reads them from the conversation
        failed, note = self._repeated_failures.before(call)
        return calls.ToolInput(
            execution_id=self._run.execution_id,
            tool_execution_id=call["id"],
            tool_name=call["name"],
            message_id=str(asked_by["message_id"]),
            step=self._turn.step,
            arguments=arguments,
            hold=bool(self._outbox),
            behind=self._outbox.predecessors(),
            tainted=self._run.tainted,
            tools_version=self._run.context.tools_version,
            cut=call.get("cut", ""),
            failed=failed,
            failure_note=note,
            turn=self._turn.number,
            may_wait=True,
            leave=True,
            may_move=True,
            places=dict(self._call_places.known),
            **self._outbox.room(),
        )

    async def _run_tool(self, request: calls.ToolInput, activity_id: str, queue: str = "") -> calls.ToolOutcome:
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
            self._outbox.settle(request, outcome)
            self._mcp_servers.relist(outcome.relisted)
            # A member works for long, so what was true at its start says nothing.
            self._run.crowded = outcome.crowded or outcome.delegation is not None
            return outcome
