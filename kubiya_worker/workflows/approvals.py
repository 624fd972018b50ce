"""This module asks people for approvals, for an execution and for the members that it leads."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import is_cancelled_exception

from kubiya_worker.protocol import calls, names
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows import activity_failures, options, signals, timed_wait
from kubiya_worker.workflows.approval_registry import ApprovalDecision, ApprovalRegistry
from kubiya_worker.workflows.carried import Carried
from kubiya_worker.workflows.outbox import EventOutbox
from kubiya_worker.workflows.run import Run
from kubiya_worker.workflows.stopwatch import Stopwatch


class Approvals:
    """The questions to people: the execution's own, and those of members, whose answers are passed down to them."""

    def __init__(self, run: Run, outbox: EventOutbox) -> None:
        self._run = run
        self._outbox = outbox
        self._registry = ApprovalRegistry()
        self._members: dict[str, tuple[str, dict[str, Any]]] = {}  # approval id -> (member's workflow id, request)
        self._members_clock = Stopwatch(0.0)  # of waiting for answers to members' questions
        self._row = asyncio.Lock()

    def open_requests(self) -> list[dict[str, Any]]:
        """Return the questions that nobody has answered."""
        return self._registry.open_requests() + [request for _, request in self._members.values()]

    def waited(self) -> float:
        """Return the seconds for which people were waited for."""
        return self._registry.waited + self._members_clock.waited(workflow.time())

    def answer(self, answer: dict[str, Any]) -> str | None:
        """Take a person's answer. Return the workflow id of the member that has asked, or None for an own question."""
        asked_by, _ = self._members.get(str(answer.get("approval_id")), (None, None))
        if asked_by is None:
            self._registry.answer(answer)
        return asked_by

    # -- own questions

    async def ask(self, request: calls.ToolInput, asked: calls.ApprovalRequest) -> ApprovalDecision:
        """Ask a person and wait, with no slot held and nothing polled; weeks if need be."""
        approval_id = names.approval_id(self._run.execution_id, request.tool_execution_id, asked.arguments_hash)
        remembered = self._registry.remembered(asked)
        if remembered:
            return remembered
        asked_at = workflow.now()
        deadline = asked_at + timedelta(minutes=asked.timeout_minutes)
        self._registry.open(approval_id, asked, request.tool_execution_id, workflow.time())
        await self._outbox.deliver()
        await self._tell_leader(approval_id, self._registry.request(approval_id))
        try:
            stored = await self._request(approval_id, request, asked, deadline)
        except activity_failures.LOCAL_FAILURE as error:
            if is_cancelled_exception(error):
                raise
            self._registry.close(approval_id, asked, workflow.time())
            await self._tell_leader(approval_id, None)
            text = f"It needs a person's approval, which could not be asked for: {activity_failures.cause_of(error)}"
            return ApprovalDecision(approval_id, m.TOOL_DENIED, asked.arguments_hash, text=text)
        if stored is not None and stored.id != approval_id:  # the control plane gives ids of its own
            await self._tell_leader(approval_id, None)
            self._registry.rename(approval_id, stored.id)
            approval_id = stored.id
            await self._tell_leader(approval_id, self._registry.request(approval_id))
        self._outbox.count(1)
        self._run.status = ex.WAITING
        await self._wait_for_answer(approval_id, deadline)
        decision = self._registry.close(approval_id, asked, workflow.time())
        expired = approval_id if decision.status == m.TOOL_EXPIRED else None
        await self._tell_leader(approval_id, None)
        patch = {} if self.open_requests() else {"status": ex.RUNNING}
        if patch:
            self._run.status = ex.RUNNING
        decided = calls.TracedApproval(
            approval_id,
            asked.tool_name,
            request.tool_execution_id,
            asked_at.isoformat(),
            decision="approved" if decision.approved else decision.status,
            turn=request.turn,
            caller=str(self._run.context.metadata.get("traceparent") or ""),
        )
        await self._outbox.report(patch=patch, expire_approval=expired, decided=decided)
        return decision

    async def _request(
        self, approval_id: str, request: calls.ToolInput, asked: calls.ApprovalRequest, deadline: datetime
    ) -> calls.ApprovalAsked | None:
        """Store the request at the control plane, which shows it to people."""
        left = self._outbox.unconfirmed
        stored: calls.ApprovalAsked | None = await workflow.execute_local_activity(
            names.REQUEST_APPROVAL,
            calls.ApprovalInput(
                self._run.execution_id,
                approval_id,
                request.tool_execution_id,
                asked,
                deadline.isoformat(),
                self._run.member,
                self._outbox.behind,
                unconfirmed=left,
                user_email=str(self._run.input.user_metadata.get("user_email") or ""),
            ),
            result_type=calls.ApprovalAsked | None,  # type: ignore[arg-type]  # 0.1.0 returned nothing
            **options.LOCAL,
        )
        self._outbox.arrived(left)
        return stored

    async def _wait_for_answer(self, approval_id: str, deadline: datetime) -> None:
        """Wait until there is an answer, or until the deadline."""
        poll = self._run.context.approval_poll_seconds
        if poll and workflow.patched("await-approval"):
            await self._await_answer(approval_id, deadline, poll)
        while not self._registry.has_answer(approval_id) and workflow.now() < deadline:
            left = (deadline - workflow.now()).total_seconds()
            answered = await timed_wait.until(
                lambda: self._registry.has_answer(approval_id), min(left, poll) if poll else left
            )
            if not answered and poll and workflow.now() < deadline:
                await self._poll(approval_id)

    async def _await_answer(self, approval_id: str, deadline: datetime, every: float) -> None:
        """Wait until a control plane that sends no signals has an answer, or until the deadline. `every`: seconds.

        One activity fails until then and is retried. Its attempts are not in the history, which a wait of weeks would
        otherwise fill.
        """
        remaining = deadline - workflow.now()
        wait = workflow.start_activity(
            names.AWAIT_APPROVAL, approval_id, result_type=dict, **options.approval_wait(every, remaining)
        )
        await timed_wait.until(
            lambda: self._registry.has_answer(approval_id) or wait.done(), remaining + options.LAST_LOOK
        )
        if wait.done() and not wait.cancelled() and wait.exception() is None:
            self._registry.answer(wait.result())
        elif not wait.done():
            wait.cancel()
        if not self._registry.has_answer(approval_id):  # no worker was there at the time: it may have been answered
            await self._poll(approval_id)
        if not self._registry.has_answer(approval_id):
            self._registry.answer({"approval_id": approval_id, "decision": "expired"})

    async def _poll(self, approval_id: str) -> None:
        """Ask a control plane that sends no signals for the answer."""
        try:
            answer = await workflow.execute_local_activity(
                names.CHECK_APPROVAL, approval_id, result_type=dict, **options.LOCAL_ONCE
            )
        except activity_failures.LOCAL_FAILURE as error:
            if is_cancelled_exception(error):
                raise
            workflow.logger.warning("approval.unknown %s", activity_failures.cause_of(error))
            return
        if answer:
            self._registry.answer(answer)

    async def _tell_leader(self, approval_id: str, request: dict[str, Any] | None) -> None:
        """Pass a question on to the leader, from which the answer comes. None says that it is closed."""
        if self._run.member is not None:
            question = {"approval_id": approval_id, "workflow_id": workflow.info().workflow_id, "request": request}
            await signals.send(self._run.member.leader, names.MEMBER_WAITS, question)

    # -- questions of members

    def open_for_member(self, approval_id: str, workflow_id: str, request: dict[str, Any]) -> dict[str, Any] | None:
        """Note a member's question. Return its answer when a person was faster than the question's way up to here."""
        self._members[approval_id] = (workflow_id, request)
        self._members_clock.wait(approval_id, workflow.time())
        return self._registry.answer_of(approval_id)

    def close_for_member(self, approval_id: str) -> None:
        self._members.pop(approval_id, None)
        self._members_clock.go_on(approval_id, workflow.time())

    def for_member(self, approval_id: str) -> dict[str, Any] | None:
        """Return a member's question; None when it is closed."""
        _, request = self._members.get(approval_id, (None, None))
        return request

    async def show_member_waits(self, approval_id: str, request: dict[str, Any] | None) -> None:
        """Pass a member's question up to the own leader, or show in the execution's status that a person is needed."""
        if self._run.member is not None:
            await self._tell_leader(approval_id, request)
            return
        async with self._row:  # one after the other: the last word is the true one
            status = ex.WAITING if self.open_requests() else ex.RUNNING
            if status != self._run.status:
                self._run.status = status
                await self._outbox.report(patch={"status": status})

    def carry(self, into: Carried) -> None:
        into.approvals = self._registry.snapshot()  # no member works, so none waits for an answer

    def restore(self, saved: Carried) -> None:
        early, self._registry = self._registry, ApprovalRegistry.restore(saved.approvals)
        self._registry.take_over(early)
