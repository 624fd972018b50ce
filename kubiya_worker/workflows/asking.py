"""Questions and reports of an execution to the control plane, to people and to the team that it is a member of."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import is_cancelled_exception

from kubiya_worker.protocol import calls, names
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows import budget, options, outcomes, wires
from kubiya_worker.workflows.approvals import Answer
from kubiya_worker.workflows.state import State


class Asking(State):
    # -- the control plane

    async def _deliver(self) -> None:
        """Try once to publish the events that are left over. Those that fail again stay in the outbox, in order."""
        if not self._outbox:
            return
        sent, self._outbox = self._outbox, []
        request = calls.ReportInput(self._input.execution_id, sent, member=self._member)
        try:
            await workflow.execute_local_activity(names.REPORT, request, **options.LOCAL_ONCE)
        except outcomes.LOCAL_FAILURE as error:
            if is_cancelled_exception(error):
                self._outbox = sent + self._outbox
                raise
            if not outcomes.refused(error):  # away, or slower than it may be
                self._outbox = sent + self._outbox

    async def _report(self, *, patch: dict[str, Any], expire_approval: str | None = None) -> None:
        """Update the execution at the control plane, after the events that are left over. Waits out any outage."""
        patch = {} if self._member else patch  # the row is the whole team's
        sent, self._outbox = self._outbox, []
        request = calls.ReportInput(self._input.execution_id, sent, patch, expire_approval, self._member)
        try:
            await self._lasting(names.REPORT, request)
        except outcomes.LOCAL_FAILURE as error:
            if is_cancelled_exception(error):
                self._outbox = sent + self._outbox
                raise
            # Refused: a status that cannot be shown does not end the work.
            workflow.logger.warning("report.refused %s", outcomes.cause_of(error))

    # -- people

    async def _ask(self, request: calls.ToolInput, asked: calls.ApprovalRequest) -> Answer:
        """Ask a person and wait, with no slot held and nothing polled; weeks if need be."""
        assert self._context is not None
        approval_id = names.approval_id(self._input.execution_id, request.tool_execution_id, asked.arguments_hash)
        remembered = self._approvals.remembered(asked)
        if remembered:
            return remembered
        deadline = workflow.now() + timedelta(minutes=asked.timeout_minutes)
        self._approvals.open(approval_id, asked, request.tool_execution_id, workflow.time())
        await self._deliver()
        await self._tell_leader(approval_id, self._approvals.request(approval_id))
        try:
            made: calls.ApprovalAsked | None = await workflow.execute_local_activity(
                names.REQUEST_APPROVAL,
                calls.ApprovalInput(
                    self._input.execution_id,
                    approval_id,
                    request.tool_execution_id,
                    asked,
                    deadline.isoformat(),
                    self._member,
                    self._behind,
                    user_email=str(self._input.user_metadata.get("user_email") or ""),
                ),
                result_type=calls.ApprovalAsked | None,  # type: ignore[arg-type]  # 0.1.0 returned nothing
                **options.LOCAL,
            )
        except outcomes.LOCAL_FAILURE as error:
            if is_cancelled_exception(error):
                raise
            self._approvals.close(approval_id, asked, workflow.time())
            await self._tell_leader(approval_id, None)
            text = f"It needs a person's approval, which could not be asked for: {outcomes.cause_of(error)}"
            return Answer(approval_id, m.TOOL_DENIED, asked.arguments_hash, text=text)
        if made is not None and made.id != approval_id:  # the control plane gives ids of its own
            await self._tell_leader(approval_id, None)
            self._approvals.rename(approval_id, made.id)
            approval_id = made.id
            await self._tell_leader(approval_id, self._approvals.request(approval_id))
        self._sent += 1
        self._status = ex.WAITING
        poll = self._context.approval_poll_seconds
        if poll and workflow.patched("await-approval"):
            await self._look_for_answer(approval_id, deadline, poll)
        while not self._approvals.answered(approval_id) and workflow.now() < deadline:
            left = (deadline - workflow.now()).total_seconds()
            try:
                await workflow.wait_condition(
                    lambda: self._approvals.answered(approval_id), timeout=min(left, poll) if poll else left
                )
            except builtins.TimeoutError:
                if poll and workflow.now() < deadline:
                    await self._poll_approval(approval_id)
        answer = self._approvals.close(approval_id, asked, workflow.time())
        expired = approval_id if answer.status == m.TOOL_EXPIRED else None
        await self._tell_leader(approval_id, None)
        patch = {} if self._open_requests() else {"status": ex.RUNNING}
        if patch:
            self._status = ex.RUNNING
        await self._report(patch=patch, expire_approval=expired)
        return answer

    async def _tell_leader(self, approval_id: str, request: dict[str, Any] | None) -> None:
        """Pass a member's question on to its leader, from which the answer comes. None says that it is closed."""
        if self._member is not None:
            told = {"approval_id": approval_id, "workflow_id": workflow.info().workflow_id, "request": request}
            await wires.signal(self._member.leader, names.MEMBER_WAITS, told)

    async def _look_for_answer(self, approval_id: str, deadline: datetime, every: float) -> None:
        """Wait until a control plane that sends no signals has an answer, or until the deadline. `every`: seconds.

        One activity fails until then and is retried. Its attempts are not in the history, which a wait of weeks would
        otherwise fill.
        """
        left = deadline - workflow.now()
        looking = workflow.start_activity(
            names.AWAIT_APPROVAL, approval_id, result_type=dict, **options.looking(every, left)
        )
        try:
            await workflow.wait_condition(
                lambda: self._approvals.answered(approval_id) or looking.done(), timeout=left + options.LATE
            )
        except builtins.TimeoutError:
            pass  # the last look tells
        if looking.done() and not looking.cancelled() and looking.exception() is None:
            self._approvals.answer(looking.result())
        elif not looking.done():
            looking.cancel()
        if not self._approvals.answered(approval_id):  # no worker was there at the time: it may have been answered
            await self._poll_approval(approval_id)
        if not self._approvals.answered(approval_id):
            self._approvals.answer({"approval_id": approval_id, "decision": "expired"})

    async def _poll_approval(self, approval_id: str) -> None:
        """Ask a control plane that sends no signals for the answer."""
        try:
            found = await workflow.execute_local_activity(
                names.CHECK_APPROVAL, approval_id, result_type=dict, **options.LOCAL_ONCE
            )
        except outcomes.LOCAL_FAILURE as error:
            if is_cancelled_exception(error):
                raise
            workflow.logger.warning("approval.unknown %s", outcomes.cause_of(error))
            return
        if found:
            self._approvals.answer(found)

    # -- more budget

    async def _over(self) -> str | None:
        """Return why no further model call may be made, or None. A member asks for the whole team's budget too."""
        over = await self._refusal_of(self._reached)
        call = self._steps + 1
        if over or self._member is None or call <= self._permitted:
            return over
        await self._tell_root(ask=call)
        await workflow.wait_condition(lambda: call <= self._permitted or call in self._not_permitted)
        return None if call <= self._permitted else self._not_permitted[call]

    def _reached(self) -> budget.Reached | None:
        return budget.reached(self._budgets, steps=self._steps, usage=self._usage, seconds=self._worked)

    async def _refusal_of(self, reached: Callable[[], budget.Reached | None]) -> str | None:
        """Return why no further model call may be made: a limit is reached, and no person has raised it. Else None.

        Only the execution that people see asks them. A member that reaches a limit of its own ends.
        """
        while True:
            limit = reached()
            if limit is None:
                return None
            if self._budgets.on_limit != "ask" or self._member is not None:
                return limit.text
            async with self._raising:  # one question at a time, whoever in a team came to the limit
                limit = reached()
                if limit is None:
                    return None
                if self._not_raised is not None:
                    return f"{limit.text} {self._not_raised}"
                await self._ask_to_raise(limit)

    async def _ask_to_raise(self, limit: budget.Reached) -> None:
        self._raises += 1
        proposal = budget.proposal(self._budgets, self._initial, limit.name)
        asked = budget.question(proposal, limit)
        call_id = f"{names.RAISE_BUDGET}_{self._raises}"
        request = calls.ToolInput(self._input.execution_id, call_id, asked.tool_name, message_id="", step=self._step)
        answer = await self._ask(request, asked)
        if not answer.approved:
            self._not_raised = answer.text
            return
        self._limits |= json.loads(answer.arguments) if answer.arguments is not None else proposal
        self._budgets = budget.raised(self._budgets, self._limits)

    async def _tell_root(self, ask: int = 0) -> None:
        """Tell the team's workflow what this member has used; with `ask`, request the model call of that number."""
        assert self._member is not None
        told = {
            "account": self._input.execution_id,
            "workflow_id": workflow.info().workflow_id,
            "steps": self._steps,
            "usage": self._usage.wire(),
            "ask": ask,
        }
        await wires.signal(self._member.root, names.SPEND, told)
