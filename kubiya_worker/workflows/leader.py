"""A leader is an agent that has the members of its team as tools, or that asks another agent by a skill.

Each member's run is a child workflow, on its own queue if the team says so. It shows on the team's stream and has no
row of its own. Three things go between the workflows, as signals: a member asks the whole team's workflow before each
model call (the budget is one), it tells its leader of questions to people (the answer comes back that way), and the
leader passes on what people do: messages, pause, resume, done. Cancellation is Temporal's own.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Coroutine
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final

from temporalio import workflow
from temporalio.exceptions import ChildWorkflowError, FailureError, is_cancelled_exception
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

from kubiya_worker.protocol import calls, names, room, team
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows import budget, conversation, outcomes, wires
from kubiya_worker.workflows.ledger import Ledger, Stopwatch
from kubiya_worker.workflows.loop import Loop

PREVIEW: Final = 200  # characters of a task in get_state


@dataclass
class Run:
    """A member at work."""

    name: str
    execution_id: str
    workflow_id: str
    task: str
    clock: Stopwatch
    limit: float  # seconds of work
    room: int = 0  # events that it may send


class Leader(Loop):
    CARRIED: ClassVar[tuple[str, ...]] = ("started",)  # into the next run, when this one continues as new

    def __init__(self) -> None:
        super().__init__()
        self._ledger = Ledger()  # of the whole team; not used in a team that is a member itself
        self._runs: dict[str, Run] = {}  # by workflow id, while they work
        self._questions: dict[str, tuple[str, dict[str, Any]]] = {}  # approval id -> (member's workflow id, request)
        self._clock = Stopwatch(0.0)  # of waiting for answers to members' questions
        self._started = 0  # runs of members so far
        self._tasks: set[asyncio.Task[None]] = set()  # signals on their way
        self._row = asyncio.Lock()
        self._places: dict[str, asyncio.Semaphore] = {}  # by skill: how many it may have at work at the same time

    # -- what people say reaches the members that work

    @workflow.signal(name=names.ADD_MESSAGE)
    def add_message(self, message: dict[str, Any]) -> None:
        working = [run.name for run in self._runs.values()]
        name, text = team.addressed(str(message.get("content") or ""), working, message.get("member"))
        if name is None:
            super().add_message(message)
        else:
            self._later(self._pass_message(name, {**message, "content": text}, message))

    async def _pass_message(self, name: str, told: dict[str, Any], original: dict[str, Any]) -> None:
        took = [await wires.signal(run.workflow_id, names.ADD_MESSAGE, told) for run in self._working(name)]
        if not any(took):  # it has just ended: the leader hears it instead
            super().add_message(original)

    @workflow.signal(name=names.MARK_AS_DONE)
    def mark_as_done(self) -> None:
        super().mark_as_done()
        self._later(self._tell_members(names.MARK_AS_DONE))

    @workflow.signal(name=names.PAUSE)
    def pause_execution(self) -> None:
        super().pause_execution()
        for run in self._runs.values():
            run.clock.wait("pause", workflow.time())
        self._later(self._tell_members(names.PAUSE))

    @workflow.signal(name=names.RESUME)
    def resume_execution(self) -> None:
        super().resume_execution()
        for run in self._runs.values():
            run.clock.go_on("pause", workflow.time())
        self._later(self._tell_members(names.RESUME))

    @workflow.signal(name=names.RESOLVE_APPROVAL)
    def resolve_approval(self, answer: dict[str, Any]) -> None:
        asked_by, _ = self._questions.get(str(answer.get("approval_id")), (None, None))
        if asked_by is None:
            super().resolve_approval(answer)
        else:
            self._later(self._answer_member(asked_by, answer))

    async def _answer_member(self, workflow_id: str, answer: dict[str, Any]) -> None:
        await wires.signal(workflow_id, names.RESOLVE_APPROVAL, answer)

    async def _tell_members(self, name: str) -> None:
        for run in list(self._runs.values()):
            await wires.signal(run.workflow_id, name)

    def _working(self, name: str) -> list[Run]:
        return [run for run in self._runs.values() if run.name == name]

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        """Start work from a signal handler. It runs after work begun before, and the workflow waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settled(self) -> None:
        await workflow.wait_condition(lambda: not self._tasks)

    # -- what members say

    @workflow.signal(name=names.SPEND)
    def member_spends(self, told: dict[str, Any]) -> None:
        """Handle the signal with a member's usage. A member that asks gets an answer; a granted call is counted."""
        self._ledger.note(told["account"], int(told["steps"]), ex.Usage.parse(told["usage"]))
        if told["ask"]:
            limit = self._reached()
            if limit is None:
                self._ledger.grant(told["account"], int(told["ask"]))
            self._later(self._permit(told, granted=limit is None))

    async def _permit(self, told: dict[str, Any], *, granted: bool) -> None:
        refusal = None if granted else await self._refusal_of(self._reached)
        if not granted and refusal is None:
            self._ledger.grant(told["account"], int(told["ask"]))
        await wires.signal(told["workflow_id"], names.PERMIT, {"call": told["ask"], "refusal": refusal})

    async def _ask_to_raise(self, limit: budget.Reached) -> None:
        """Ask a person to raise a limit. The clocks of the members stand still meanwhile."""
        runs = list(self._runs.values())
        for run in runs:
            run.clock.wait("budget", workflow.time())
        await super()._ask_to_raise(limit)
        for run in runs:
            run.clock.go_on("budget", workflow.time())

    @workflow.signal(name=names.MEMBER_WAITS)
    def member_waits(self, told: dict[str, Any]) -> None:
        """Handle the signal that a member asked a person a question, or closed it (`request` is None)."""
        approval_id, now = told["approval_id"], workflow.time()
        run = self._runs.get(told["workflow_id"])
        if told["request"] is None:
            self._questions.pop(approval_id, None)
            self._clock.go_on(approval_id, now)
            if run:
                run.clock.go_on(approval_id, now)
        else:
            name = run.name if run else "?"
            path = [name, *told["request"].get("member_path", ())]
            request = {**told["request"], "member_name": path[-1], "member_path": path}
            self._questions[approval_id] = (told["workflow_id"], request)
            self._clock.wait(approval_id, now)
            if run:
                run.clock.wait(approval_id, now)
            early = self._approvals.given(approval_id)
            if early is not None:  # a person was faster than the question's way up to here
                self._later(self._answer_member(told["workflow_id"], early))
        known = self._questions.get(approval_id)
        self._later(self._show_waiting(approval_id, known[1] if known else None))

    async def _show_waiting(self, approval_id: str, request: dict[str, Any] | None) -> None:
        if self._member is not None:
            await self._tell_leader(approval_id, request)
            return
        async with self._row:  # one after the other: the last word is the true one
            status = ex.WAITING if self._open_requests() else ex.RUNNING
            if status != self._status:
                self._status = status
                await self._report(patch={"status": status})

    # -- the shared budget

    def _reached(self) -> budget.Reached | None:
        """Return the limit that forbids a further model call of anybody in the team, or None."""
        if self._member is not None:
            return super()._reached()
        seconds = self._worked
        if self._busy_since is not None:
            began, waited = self._busy_since
            seconds += max(0.0, workflow.time() - began - (self._waited() - waited))
        return budget.reached(self._budgets, steps=self._ledger.steps, usage=self._total(), seconds=seconds)

    async def _over(self) -> str | None:
        if self._member is not None:
            return await super()._over()
        self._ledger.note(self._input.execution_id, self._steps, self._usage)
        refusal = await self._refusal_of(self._reached)
        if refusal is None:
            self._ledger.grant(self._input.execution_id, self._steps + 1)
        return refusal

    def _total(self) -> ex.Usage:
        if self._member is not None or self._context is None:
            return self._usage
        return self._ledger.usage(self._input.execution_id, self._usage)

    def _waited(self) -> float:
        return super()._waited() + self._clock.waited(workflow.time())

    def _open_requests(self) -> list[dict[str, Any]]:
        return super()._open_requests() + [request for _, request in self._questions.values()]

    def _about_members(self) -> dict[str, Any]:
        known = self._context.members if self._context else []
        if not known and not self._runs:
            return {}
        return {
            "members": [member["name"] for member in known],
            "mode": self._context.mode if self._context else "",
            "team_steps": self._ledger.steps,
            "working": [
                {
                    "member_name": run.name,
                    "execution_id": run.execution_id,
                    "workflow_id": run.workflow_id,
                    "task": run.task[:PREVIEW],
                    "waits_for_person": run.clock.waiting and not self._paused,
                }
                for run in self._runs.values()
            ],
        }

    # -- a member's run

    async def _delegate(self, request: calls.ToolInput, task: str, delegate: dict[str, Any] | None) -> m.Message:
        """Run a member and return its answer, or its failure, as the result of the leader's call.

        `delegate` describes an agent that is no member: the skill `agent_communication` has found it.
        """
        assert self._context is not None
        member = delegate or team.member_of(self._context.members, request.tool_name)
        assert member is not None
        began = workflow.time()
        if delegate is not None:
            if delegate["inherit_context"]:
                task = team.within(task, self._conversation.last_request())
            async with self._places.setdefault(delegate["skill"], asyncio.Semaphore(delegate["concurrent"])):
                status, text = await self._run_member(delegate, request, task)
        elif self._context.mode == team.ROUTE and self._runs:
            return self._unrun(request, m.TOOL_FAILED, "This team asks one member at a time; this one was not asked.")
        else:
            status, text = await self._run_member(dict(member), request, task)
        now = workflow.now().isoformat()
        seconds = workflow.time() - began
        source = "team_leader" if self._context.members else "agent"
        self._keep(outcomes.member_completed(request, text, status, now, member["name"], seconds, source))
        await self._deliver()
        return outcomes.tool_message(request, text, status, now)

    async def _run_member(self, member: dict[str, Any], request: calls.ToolInput, task: str) -> tuple[str, str]:
        assert self._context is not None
        above = self._member
        depth, deepest = (above.depth + 1, above.max_depth) if above else (1, self._budgets.max_depth)
        deepest = min(deepest, member.get("max_depth", deepest))
        if depth > deepest:
            return m.TOOL_FAILED, f"{member['name']} was not asked: teams may be nested {deepest} deep here."
        await workflow.wait_condition(lambda: not self._paused or self._done)
        self._started += 1
        run_id = f"{self._input.execution_id}.{self._started}"
        if above is None:
            refusal = await self._refusal_of(self._reached)
            if refusal:
                return m.TOOL_FAILED, f"{member['name']} was not asked. {refusal}"
            self._ledger.grant(run_id, 1)
        behind = await self._told()
        share = room.for_member(self._sent)
        self._sent += share if self._limited() else 0
        kind = "team" if member.get("kind") == "team" else "agent"
        apart = "skill" in member  # its own folder, if it has one
        own_id = workflow.info().workflow_id
        call_id = request.tool_execution_id
        whose = ex.Member(
            stream=above.stream if above else self._input.execution_id,
            name=member["name"],
            path=[*(above.path if above else [self._context.agent_name]), member["name"]],
            parent_message_id=request.message_id,
            parent_tool_execution_id=f"{self._input.execution_id}:{call_id}" if above else call_id,
            leader=own_id,
            root=above.root if above else own_id,
            depth=depth,
            max_depth=deepest,
            permitted=0 if above else 1,
            tainted=self._tainted,
            taint=self._context.taint,
            priced=above.priced if above else self._budgets.max_cost_usd is not None,
            quiet=bool(member.get("quiet")) or (above.quiet if above else False),
            above=above.above if above else team.depth_of(self._context.metadata),
            behind=behind,
            room=share if self._limited() else None,
        )
        raw = {
            "execution_id": run_id,
            f"{kind}_id": member["id"],
            "organization_id": self._input.organization_id,
            "prompt": task,
            f"{kind}_config": {"cwd": self._context.workspace} if self._context.workspace and not apart else {},
            "user_metadata": self._input.user_metadata,
            "member": asdict(whose),
            "definition": member.get("definition"),
        }
        limit = member.get("timeout") or self._context.member_timeout
        run = Run(
            member["name"], run_id, names.workflow_id(kind, run_id), task, Stopwatch(workflow.time()), limit, share
        )
        self._runs[run.workflow_id] = run
        try:
            return await self._result_of(run, kind, raw, member.get("queue") or None)
        finally:
            self._runs.pop(run.workflow_id, None)

    async def _told(self) -> list[str]:
        """Publish the events so far. Return the ids of the events that a member's events have to follow.

        While the control plane is away, publishing goes on beside the member's work, and the member's end waits for it.
        """
        if not self._outbox or not workflow.patched("tell-before-members"):  # 0.1.0 told it when the member was done
            return list(self._behind)
        await self._deliver()
        behind = self._before()
        if self._outbox:
            self._later(self._report(patch={}))
        return behind

    async def _result_of(self, run: Run, kind: str, raw: dict[str, Any], queue: str | None) -> tuple[str, str]:
        assert self._context is not None
        try:
            child = await workflow.start_child_workflow(
                names.TEAM_WORKFLOW if kind == "team" else names.AGENT_WORKFLOW,
                raw,
                id=run.workflow_id,
                task_queue=queue,
                cancellation_type=ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
                parent_close_policy=ParentClosePolicy.TERMINATE,
            )
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            return m.TOOL_FAILED, f"{run.name} could not be started: {error}"
        for on, name in ((self._paused, names.PAUSE), (self._done, names.MARK_AS_DONE)):
            if on:  # said while it was being started
                await wires.signal(run.workflow_id, name)
        limit, late = run.limit, False
        try:
            while not child.done() and not late:
                left = limit - run.clock.worked(workflow.time())
                late = left <= 0
                if late:
                    break
                try:
                    await workflow.wait_condition(child.done, timeout=left)
                except builtins.TimeoutError:
                    pass  # unless people were waited for meanwhile, it is late now
        except asyncio.CancelledError:
            child.cancel()
            await asyncio.wait([child])
            raise
        if late:
            child.cancel()
            await asyncio.wait([child])
            return m.TOOL_FAILED, f"{run.name} was stopped: it had worked for {limit:g} s, which is the limit here."
        try:
            result = child.result()
            if self._limited():
                self._sent -= max(0, run.room - int(result.get("events", run.room)))
            self._tainted = self._tainted or bool(result.get("tainted"))
            return outcomes.of_member(run.name, result)
        except (ChildWorkflowError, asyncio.CancelledError) as error:
            why = outcomes.cause_of(error) if isinstance(error, ChildWorkflowError) else "it was cancelled"
            return m.TOOL_FAILED, f"{run.name} failed: {why}"

    async def _end_turn(self, finish: str, failure: str | None) -> str:
        await self._settled()
        return await super()._end_turn(finish, failure)

    async def _close(self, status: str, failure: str | None = None, kind: str | None = None) -> bool:
        await workflow.wait_condition(lambda: not self._runs)  # each has told of its end
        return await super()._close(status, failure, kind)

    # -- continue as new

    async def _renew(self) -> None:
        await self._settled()
        await super()._renew()

    async def _quiet(self) -> None:
        await self._settled()
        await super()._quiet()

    def _snapshot(self) -> dict[str, Any]:
        mine = {"ledger": self._ledger.snapshot()}  # no member works, so nothing is waited for
        return {**super()._snapshot(), **mine, **{name: getattr(self, f"_{name}") for name in self.CARRIED}}

    def _restore(self, packed: str) -> None:
        super()._restore(packed)
        saved = conversation.unpack(packed)
        self._ledger = Ledger(saved.get("ledger"))  # an agent's run of an earlier version carried none of these
        for name in self.CARRIED:
            setattr(self, f"_{name}", saved.get(name, getattr(self, f"_{name}")))
