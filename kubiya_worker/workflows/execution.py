"""This module has the execution: one agent or team works on a task, and on what people say meanwhile and afterwards.

It begins, goes through turns until the control plane says that it is final, and ends. What it is made of stands in
`__init__`; each part has a module of its own.
"""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError, is_cancelled_exception

from kubiya_worker.protocol import calls, event_limit, names, taint
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows import activity_failures
from kubiya_worker.workflows.approvals import Approvals
from kubiya_worker.workflows.background import BackgroundTasks
from kubiya_worker.workflows.budget import Budget
from kubiya_worker.workflows.call_course import CallCourse
from kubiya_worker.workflows.call_places import CallPlaces
from kubiya_worker.workflows.call_waits import CallWaits
from kubiya_worker.workflows.carried import CarriedPart
from kubiya_worker.workflows.continuation import Continuation
from kubiya_worker.workflows.conversation import Conversation
from kubiya_worker.workflows.core import ExecutionCore
from kubiya_worker.workflows.deferred_calls import DeferredCalls
from kubiya_worker.workflows.execution_end import ExecutionEnd
from kubiya_worker.workflows.failures import TurnFailed
from kubiya_worker.workflows.leader import Leader
from kubiya_worker.workflows.loop import AgentLoop
from kubiya_worker.workflows.mcp_servers import McpServers
from kubiya_worker.workflows.member_runs import MemberRuns
from kubiya_worker.workflows.members import Members
from kubiya_worker.workflows.model_calls import ModelCalls
from kubiya_worker.workflows.outbox import EventOutbox
from kubiya_worker.workflows.repeated_failures import RepeatedFailures
from kubiya_worker.workflows.run import Run
from kubiya_worker.workflows.search_status import SearchStatus
from kubiya_worker.workflows.state import state_of
from kubiya_worker.workflows.team_strategies import CoordinateStrategy, Strategies, TeamProgress, TeamStrategy
from kubiya_worker.workflows.tool_calls import ToolCalls
from kubiya_worker.workflows.tool_inputs import ToolInputs
from kubiya_worker.workflows.tool_runs import ToolRuns
from kubiya_worker.workflows.turn import Turn

# Never carried on: what the published server puts there is not needed, and a key does not belong in a history.
NOT_CARRIED = ("api_key", "control_plane_url", "_resume")


class Execution:
    """The workflow of an execution. A workflow type adds `run`, which Temporal wants in the class itself.

    `strategies` has the ways in which a team works together, by mode; None is for an agent, which has no members.
    """

    def __init__(self, strategies: Strategies | None = None) -> None:
        self._run = run = Run()
        self._conversation = conversation = Conversation()
        self._turn = turn = Turn()
        self._outbox = outbox = EventOutbox(run)
        self._core = core = ExecutionCore(run, conversation, turn, outbox)
        background, member_runs = BackgroundTasks(), MemberRuns()
        self._approvals = approvals = Approvals(run, outbox)
        self._budget = budget = Budget(run, turn, approvals, member_runs, background)
        self._mcp_servers = mcp_servers = McpServers(run, outbox)
        self._members = members = Members(core, approvals, budget, member_runs, background)
        model_calls = ModelCalls(core, budget, mcp_servers)
        repeated = RepeatedFailures(run, turn, approvals, budget)
        self._call_waits = CallWaits(run, conversation, budget)
        call_places = CallPlaces(budget, self._call_waits)
        tool_inputs = ToolInputs(core, repeated, call_places)
        tool_runs = ToolRuns(run, outbox, mcp_servers, call_places)
        deferred_calls = DeferredCalls(outbox, tool_runs, self._call_waits, call_places)
        course = CallCourse(run, outbox, approvals, members, tool_runs, deferred_calls)
        tool_calls = ToolCalls(core, budget, mcp_servers, repeated, tool_inputs, course)
        self._progress = TeamProgress()
        parts: list[CarriedPart] = [
            run,
            conversation,
            turn,
            outbox,
            approvals,
            budget,
            members,
            model_calls,
            repeated,
            call_places,
        ]
        if strategies is not None:
            parts.append(self._progress)
        self._continuation = Continuation(core, mcp_servers, background, model_calls, parts)
        self._leader = Leader(core, tool_calls, self._continuation)
        self._strategies = strategies or {}
        self._loop = AgentLoop(core, budget, model_calls, tool_calls, repeated, self._continuation)
        self._end = ExecutionEnd(core, budget, members, background)
        self._search_status = SearchStatus(run)

    def _strategy(self) -> TeamStrategy:
        """Return how the turn is worked on. The mode of a team is known only once the execution has begun."""
        context = self._run.context
        chosen = self._strategies.get(context.mode, CoordinateStrategy) if context.members else CoordinateStrategy
        return chosen(self._leader, self._progress)

    # -- from the begin to the end

    async def execute(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Run the execution and return its result. One that failed fails the workflow, after its last write."""
        result = await self._execute(raw)
        self._search_status.end(str(result["status"]))
        return self._end.result_or_failure(result)

    async def _execute(self, raw: dict[str, Any]) -> dict[str, Any]:
        await self._read(raw)
        self._search_status.start()
        try:
            if raw.get("_resume"):
                self._continuation.resume(raw["_resume"])
            else:
                await self._begin()
            self._budget.limits.take_context()
            return await self._converse()
        except asyncio.CancelledError:
            await self._end.cancelled()
            raise
        except activity_failures.LOCAL_FAILURE as error:
            if is_cancelled_exception(error):
                await self._end.cancelled()
                raise
            # The control plane refused a call that the execution needs: it ends and reports why.
            text = activity_failures.cause_of(error)
            await self._end.close(ex.FAILED, text, "Refused")
            raise ApplicationError(text, type="Refused", non_retryable=True) from error

    async def _read(self, raw: dict[str, Any]) -> None:
        """Read the input. Raise ApplicationError when it is invalid, after the control plane was told."""
        try:
            self._run.start(raw)
            self._budget.start()
            self._outbox.start()
        except (ValueError, TypeError) as error:
            if raw.get("execution_id") and workflow.patched("tell-invalid-input"):
                self._run.input = ex.ExecutionInput(
                    str(raw["execution_id"]), agent_id="", organization_id="", prompt=""
                )
                await self._end.close(ex.FAILED, str(error), "InvalidInput")
            raise ApplicationError(str(error), type="InvalidInput", non_retryable=True) from error
        self._run.raw = {key: value for key, value in raw.items() if key not in NOT_CARRIED}

    async def _begin(self) -> None:
        """Load the agent's definition and the session, and put the first message into the conversation."""
        run, metadata, sequel = self._run, self._run.input.user_metadata, self._run.input.sequel
        first: m.Message = {
            "role": "user",
            "content": run.input.prompt,
            "message_id": names.user_message_id(run.execution_id, 1),
            "timestamp": run.input.initial_message_timestamp or workflow.now().isoformat(),
            **{k: v for k, v in metadata.items() if k.startswith("user_") and v},
            **sequel.message,
        }
        begun: calls.BeginResult = await run.call_control_plane(
            names.BEGIN_EXECUTION,
            calls.BeginInput(raw=run.raw, first_message=first),
            result_type=calls.BeginResult,
        )
        run.context = begun.context
        run.crowded = begun.crowded
        run.refusal = begun.failure
        mode = begun.context.taint
        run.tainted |= begun.tainted or taint.inherited(mode, begun.session)
        run.tainted |= taint.prompted(mode, metadata)
        self._outbox.count(event_limit.BEGIN if run.member is None else event_limit.LIMIT - (run.member.room or 0))
        self._conversation.begin(first, begun.session, stored=begun.stored, texts=max(begun.texts, sequel.texts))
        self._turn.number = sequel.turns
        run.status = ex.RUNNING
        if begun.starting:  # none in a history of a version that waited for them in `begin_execution`
            await self._mcp_servers.start(begun)

    async def _converse(self) -> dict[str, Any]:
        """Run turns until the execution is final, and return its result."""
        run, conversation = self._run, self._conversation
        while True:
            if run.status == ex.WAITING:
                ended = await self._wait_for_message()
                if ended is not None:
                    return self._end.result(ended)
            status = await self._work_on_turn()
            if ex.is_final(status) and (status != ex.COMPLETED or run.done or not conversation.inbox):
                return self._end.result(status)
            # Whatever else the control plane says, the same prompt is never run again (docs/protocol.md#b6).
            run.status = ex.RUNNING if conversation.inbox else ex.WAITING

    async def _wait_for_message(self) -> str | None:
        """Wait for a person's message and return None. Return the status when the execution ends instead."""
        run, conversation = self._run, self._conversation
        try:
            await self._continuation.renew()
            await workflow.wait_condition(lambda: bool(conversation.inbox) or run.done)
            if conversation.inbox and self._continuation.superseded():
                await self._continuation.renew()  # the message is answered by the version that is current by now
        except TurnFailed as error:
            run.error_type = error.kind
            return await self._end.end_turn("error", str(error))
        if not conversation.inbox:  # marked as done
            return await self._end.end_turn("stop", None)
        await self._outbox.report(patch={"status": ex.RUNNING, **run.input.sequel.mark})
        run.status = ex.RUNNING
        run.crowded = True
        return None

    async def _work_on_turn(self) -> str:
        """Work on the next turn, or on the one that an earlier run has begun. Return the status that follows."""
        failure: str | None = None
        if not self._turn.under_way:
            self._turn.start(self._run.execution_id, self._budget.total(), workflow.now())
        try:
            finish = await self._loop.work(self._strategy())
        except TurnFailed as error:
            failure, finish = str(error), error.finish
            self._run.error_type = error.kind
        return await self._end.end_turn(finish, failure)

    # -- what people and other workflows may say and ask, at any time

    @workflow.signal(name=names.ADD_MESSAGE)
    def add_message(self, message: dict[str, Any] | None) -> None:
        if message is not None:  # null would break this task and each later one
            self._members.pass_message(message, self._receive)

    def _receive(self, message: dict[str, Any]) -> None:
        if not message.get("message_id"):
            message = {**message, "message_id": f"{workflow.info().workflow_id}_signal_{workflow.uuid4()}"}
        self._outbox.count(1)  # the control plane shows it
        self._conversation.receive(m.said(message, workflow.now().isoformat()))

    @workflow.signal(name=names.MARK_AS_DONE)
    def mark_as_done(self) -> None:
        self._run.done = True
        self._members.mark_as_done()

    @workflow.signal(name=names.PAUSE)
    def pause_execution(self) -> None:
        self._run.pause()
        self._members.pause()

    @workflow.signal(name=names.RESUME)
    def resume_execution(self) -> None:
        self._run.resume()
        self._members.resume()

    @workflow.signal(name=names.RESOLVE_APPROVAL)
    def resolve_approval(self, answer: dict[str, Any] | None) -> None:
        asked_by = None if answer is None else self._approvals.answer(answer)
        if asked_by is not None and answer is not None:
            self._members.pass_answer(asked_by, answer)

    @workflow.signal(name=names.COMMAND_ENDED)
    def command_ended(self, key: str) -> None:
        self._call_waits.ended(key)

    @workflow.signal(name=names.PERMIT)
    def permit(self, answer: dict[str, Any]) -> None:
        self._budget.permits.answer(answer)

    @workflow.signal(name=names.SPEND)
    def member_spends(self, report: dict[str, Any]) -> None:
        self._budget.member_spends(report)

    @workflow.signal(name=names.MEMBER_WAITS)
    def member_waits(self, question: dict[str, Any]) -> None:
        self._members.waits(question)

    @workflow.query(name=names.GET_STATE)
    def get_state(self) -> dict[str, Any]:
        state = state_of(self._core, self._approvals, self._budget, self._members)
        return dict(vars(state))

    @workflow.query(name=names.GET_CONTEXT)
    def get_context(self) -> calls.Context | None:
        return self._run.context_or_none

    @workflow.query(name=names.GET_UNCONFIRMED)
    def get_unconfirmed(self) -> calls.Unconfirmed:
        return self._outbox.unconfirmed

    @workflow.query(name=names.GET_TRANSCRIPT)
    def get_transcript(self, start: int) -> dict[str, Any]:
        return self._conversation.page(start)
