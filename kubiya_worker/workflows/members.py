"""This module runs the members of a team, and the agents that an agent asks by a skill.

Each member's run is a child workflow, on its own queue if the team says so. It shows on the team's stream and has no
row of its own. Three things go between the workflows, as signals: a member asks the whole team's workflow before each
model call (the budget is one), it tells its leader of questions to people (the answer comes back that way), and the
leader passes on what people do: messages, pause, resume, done. Cancellation is Temporal's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from temporalio import workflow

from kubiya_worker.protocol import calls, event_limit, names, team
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows import member_child, outcomes, signals
from kubiya_worker.workflows.approvals import Approvals
from kubiya_worker.workflows.background import BackgroundTasks
from kubiya_worker.workflows.budget import Budget
from kubiya_worker.workflows.carried import Carried
from kubiya_worker.workflows.core import ExecutionCore
from kubiya_worker.workflows.member_runs import MemberRun, MemberRuns
from kubiya_worker.workflows.stopwatch import Stopwatch

PREVIEW: Final = 200  # characters of a task in get_state


class Members:
    """The members that an execution can ask, and those that are at work for it."""

    def __init__(
        self,
        core: ExecutionCore,
        approvals: Approvals,
        budget: Budget,
        runs: MemberRuns,
        background: BackgroundTasks,
    ) -> None:
        self._run = core.run
        self._conversation = core.conversation
        self._outbox = core.outbox
        self._approvals = approvals
        self._budget = budget
        self._runs = runs
        self._background = background
        self._started = 0  # runs of members so far
        self._skill_slots: dict[str, asyncio.Semaphore] = {}  # by skill: how many it may have at work at the same time

    # -- what people do reaches the members that work

    def pass_message(self, message: dict[str, Any], receive: Callable[[dict[str, Any]], None]) -> None:
        """Pass a person's message to the member that it is for; call `receive` when it is for nobody of them."""
        working = [run.name for run in self._runs]
        name, text = team.addressed(str(message.get("content") or ""), working, message.get("member"))
        if name is None:
            receive(message)
        else:
            self._background.start(self._pass_message(name, {**message, "content": text}, message, receive))

    async def _pass_message(
        self, name: str, addressed: dict[str, Any], original: dict[str, Any], receive: Callable[[dict[str, Any]], None]
    ) -> None:
        delivered = [
            await signals.send(run.workflow_id, names.ADD_MESSAGE, addressed) for run in self._runs.by_name(name)
        ]
        if not any(delivered):  # it has just ended: the leader hears it instead
            receive(original)

    def mark_as_done(self) -> None:
        self._background.start(self._signal_all(names.MARK_AS_DONE))

    def pause(self) -> None:
        self._runs.hold("pause", workflow.time())
        self._background.start(self._signal_all(names.PAUSE))

    def resume(self) -> None:
        self._runs.release("pause", workflow.time())
        self._background.start(self._signal_all(names.RESUME))

    async def _signal_all(self, name: str) -> None:
        for run in self._runs:
            await signals.send(run.workflow_id, name)

    def pass_answer(self, workflow_id: str, answer: dict[str, Any]) -> None:
        """Pass a person's answer to the member's workflow that has asked."""
        self._background.start(self._pass_answer(workflow_id, answer))

    async def _pass_answer(self, workflow_id: str, answer: dict[str, Any]) -> None:
        await signals.send(workflow_id, names.RESOLVE_APPROVAL, answer)

    # -- what members ask

    def waits(self, question: dict[str, Any]) -> None:
        """Note that a member asked a person a question, or closed it (`request` is None)."""
        approval_id, workflow_id = question["approval_id"], question["workflow_id"]
        run = self._runs.get(workflow_id)
        if question["request"] is None:
            self._approvals.close_for_member(approval_id)
            if run:
                run.clock.go_on(approval_id, workflow.time())
        else:
            path = [run.name if run else "?", *question["request"].get("member_path", ())]
            request = {**question["request"], "member_name": path[-1], "member_path": path}
            answer = self._approvals.open_for_member(approval_id, workflow_id, request)
            if run:
                run.clock.wait(approval_id, workflow.time())
            if answer is not None:
                self.pass_answer(workflow_id, answer)
        known = self._approvals.for_member(approval_id)
        self._background.start(self._approvals.show_member_waits(approval_id, known))

    # -- a member's run

    async def delegate(self, request: calls.ToolInput, task: str, delegate: dict[str, Any] | None) -> m.Message:
        """Run a member and return its answer, or its failure, as the result of the leader's call.

        `delegate` describes an agent that is no member: the skill `agent_communication` has found it.
        """
        context = self._run.context
        member = delegate or team.member_of(context.members, request.tool_name)
        assert member is not None
        began = workflow.time()
        if delegate is not None:
            if delegate["inherit_context"]:
                task = team.within(task, self._conversation.last_request())
            async with self._skill_slots.setdefault(delegate["skill"], asyncio.Semaphore(delegate["concurrent"])):
                status, text = await self._run_member(delegate, request, task)
        elif context.mode == team.ROUTE and self._runs:
            text = "This team asks one member at a time; this one was not asked."
            return self._outbox.keep_unrun(request, m.TOOL_FAILED, text)
        else:
            status, text = await self._run_member(dict(member), request, task)
        now = workflow.now().isoformat()
        seconds = workflow.time() - began
        source = "team_leader" if context.members else "agent"
        self._outbox.keep(outcomes.member_completed(request, text, status, now, member["name"], seconds, source))
        await self._outbox.deliver()
        return outcomes.tool_message(request, text, status, now)

    async def _run_member(self, member: dict[str, Any], request: calls.ToolInput, task: str) -> tuple[str, str]:
        """Run a member unless something is against it. Return (status, text)."""
        outer = self._run.member
        depth, deepest = (outer.depth + 1, outer.max_depth) if outer else (1, self._budget.limits.now.max_depth)
        deepest = min(deepest, member.get("max_depth", deepest))
        if depth > deepest:
            return m.TOOL_FAILED, f"{member['name']} was not asked: teams may be nested {deepest} deep here."
        await self._run.unpaused()
        self._started += 1
        run_id = f"{self._run.execution_id}.{self._started}"
        if outer is None:
            refusal = await self._budget.refusal()
            if refusal:
                return m.TOOL_FAILED, f"{member['name']} was not asked. {refusal}"
            self._budget.ledger.grant(run_id, 1)
        behind = await self._publish_before_member()
        share = event_limit.for_member(self._outbox.sent)
        self._outbox.count(share if self._run.published else 0)
        kind = "team" if member.get("kind") == "team" else "agent"
        membership = self._member_of(member, request, depth=depth, max_depth=deepest, behind=behind, share=share)
        limit = member.get("timeout") or self._run.context.member_timeout
        run = MemberRun(
            member["name"], run_id, names.workflow_id(kind, run_id), task, Stopwatch(workflow.time()), limit, share
        )
        self._runs.add(run)
        try:
            return await self._result_of(
                run, kind, self._input_of(run, kind, member, membership), member.get("queue") or None
            )
        finally:
            self._runs.remove(run)

    def _member_of(
        self,
        member: dict[str, Any],
        request: calls.ToolInput,
        *,
        depth: int,
        max_depth: int,
        behind: list[str],
        share: int,
    ) -> ex.Member:
        """Return what the member's run is told of the team that it works for."""
        outer = self._run.member
        context = self._run.context
        execution_id, call_id = self._run.execution_id, request.tool_execution_id
        own_id = workflow.info().workflow_id
        return ex.Member(
            stream=outer.stream if outer else execution_id,
            name=member["name"],
            path=[*(outer.path if outer else [context.agent_name]), member["name"]],
            parent_message_id=request.message_id,
            parent_tool_execution_id=f"{execution_id}:{call_id}" if outer else call_id,
            leader=own_id,
            root=outer.root if outer else own_id,
            depth=depth,
            max_depth=max_depth,
            permitted=0 if outer else 1,
            tainted=self._run.tainted,
            taint=context.taint,
            priced=outer.priced if outer else self._budget.limits.priced,
            quiet=bool(member.get("quiet")) or (outer.quiet if outer else False),
            above=outer.above if outer else team.depth_of(context.metadata),
            behind=behind,
            room=share if self._run.published else None,
            turn=outer.turn if outer else request.turn,
            traceparent=outer.traceparent if outer else str(context.metadata.get("traceparent") or ""),
        )

    def _input_of(self, run: MemberRun, kind: str, member: dict[str, Any], membership: ex.Member) -> dict[str, Any]:
        workspace = self._run.context.workspace
        apart = "skill" in member  # its own folder, if it has one
        return {
            "execution_id": run.execution_id,
            f"{kind}_id": member["id"],
            "organization_id": self._run.input.organization_id,
            "prompt": run.task,
            f"{kind}_config": {"cwd": workspace} if workspace and not apart else {},
            "user_metadata": self._run.input.user_metadata,
            "member": asdict(membership),
            "definition": member.get("definition"),
        }

    async def _publish_before_member(self) -> list[str]:
        """Publish the events so far. Return the ids of the events that a member's events have to follow.

        While the control plane is away, publishing goes on beside the member's work, and the member's end waits for it.
        """
        nothing = not self._outbox and not self._outbox.unconfirmed
        if nothing or not workflow.patched("tell-before-members"):  # 0.1.0 told it when the member was done
            return list(self._outbox.behind)
        await self._outbox.deliver(confirm=True)
        behind = self._outbox.predecessors()
        if self._outbox or self._outbox.unconfirmed:
            self._background.start(self._outbox.report(patch={}))
        return behind

    async def _result_of(self, run: MemberRun, kind: str, raw: dict[str, Any], queue: str | None) -> tuple[str, str]:
        """Start a member's run, wait for its end, and return (status, text)."""
        child = await member_child.start(run, kind, raw, queue)
        if isinstance(child, str):
            return m.TOOL_FAILED, child
        for on, name in ((self._run.paused, names.PAUSE), (self._run.done, names.MARK_AS_DONE)):
            if on:  # said while it was being started
                await signals.send(run.workflow_id, name)
        if await member_child.stopped_at_limit(run, child):
            return m.TOOL_FAILED, f"{run.name} was stopped: it had worked for {run.limit:g} s, which is the limit here."
        result = member_child.result_of(run, child)
        if isinstance(result, str):
            return m.TOOL_FAILED, result
        if self._run.published:
            self._outbox.count(-max(0, run.room - int(result.get("events", run.room))))
        self._run.tainted = self._run.tainted or bool(result.get("tainted"))
        return outcomes.of_member(run.name, result)

    async def wait_until_idle(self) -> None:
        """Wait until no member is at work. Each tells of its end."""
        await workflow.wait_condition(lambda: not self._runs)

    # -- in get_state

    def state(self) -> dict[str, Any]:
        """Return what get_state says of the members; nothing where there are none."""
        context = self._run.context_or_none
        known = context.members if context else []
        if not known and not self._runs:
            return {}
        return {
            "members": [member["name"] for member in known],
            "mode": context.mode if context else "",
            "team_steps": self._budget.ledger.steps,
            "working": [
                {
                    "member_name": run.name,
                    "execution_id": run.execution_id,
                    "workflow_id": run.workflow_id,
                    "task": run.task[:PREVIEW],
                    "waits_for_person": run.clock.waiting and not self._run.paused,
                }
                for run in self._runs
            ],
        }

    def carry(self, into: Carried) -> None:
        into.started = self._started

    def restore(self, saved: Carried) -> None:
        self._started = saved.started
