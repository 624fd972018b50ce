"""This module ends turns and executions: the last writes, the result of the workflow, or its failure."""

from __future__ import annotations

from typing import Any, Final

from temporalio import workflow
from temporalio.exceptions import ApplicationError, is_cancelled_exception

from kubiya_worker.protocol import calls, event_limit, events, names
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol.sequel import SPENT
from kubiya_worker.workflows import activity_failures
from kubiya_worker.workflows.background import BackgroundTasks
from kubiya_worker.workflows.budget import Budget
from kubiya_worker.workflows.core import ExecutionCore
from kubiya_worker.workflows.members import Members

RESPONSE: Final = 10_000  # characters of the last answer in the failure of a workflow; the row has all of it


class ExecutionEnd:
    """The ends of an execution: of a turn, of a member's run, and of the execution outside of a turn."""

    def __init__(
        self,
        core: ExecutionCore,
        budget: Budget,
        members: Members,
        background: BackgroundTasks,
    ) -> None:
        self._run = core.run
        self._conversation = core.conversation
        self._turn = core.turn
        self._outbox = core.outbox
        self._budget = budget
        self._members = members
        self._background = background

    async def end_turn(self, finish: str, failure: str | None) -> str:
        """End the turn: store the session, post the turn, and close the execution if final. Return the next status."""
        await self._background.settled()
        if self._run.member is not None:
            return await self._end_member(ex.FAILED if failure else ex.COMPLETED, failure)
        self._run.error = failure
        turn = self._turn_input(finish, failure)
        result: calls.TurnResult = await self._run.call_control_plane(
            names.END_TURN, turn, result_type=calls.TurnResult
        )
        self._outbox.arrived(turn.unconfirmed)
        self._turn.end()
        self._run.status = result.status
        return result.status

    def _turn_input(self, finish: str, failure: str | None) -> calls.TurnInput:
        run, text, total = self._run, self._conversation.last_text(), self._budget.total()
        record = self._turn.record(
            usage=total,
            model_id=run.context.model_id,
            finish=finish,
            text=text,
            failure=failure,
            now=workflow.now(),
        )
        return calls.TurnInput(
            execution_id=run.execution_id,
            agent_id=run.input.agent_id,
            turn=self._turn.number,
            messages=self._conversation.unstored(),
            first=self._conversation.stored,
            turn_record=record,
            tool_records=self._turn.tool_records,
            events=self._outbox.take_all(),
            final_fields={
                "response": text,
                "error_message": failure,
                "usage": total.wire(),
                "execution_metadata": {
                    **run.context.metadata,
                    "workflow_completed": True,
                    "total_conversation_turns": self._turn.number,
                    SPENT: self._budget.spent(),
                },
                **run.input.sequel.mark,
            },
            user_id=run.input.user_metadata.get("user_id"),
            force_status=ex.FAILED if failure else ex.COMPLETED if run.done else None,
            more_input=bool(self._conversation.inbox) and not run.done,
            kind="dynamic" if run.input.definition else run.input.kind,
            behind=self._outbox.behind,
            last=self._failure_event(failure),
            traced=self._traced(failure),
            lost=self._outbox.take_lost(),
            unconfirmed=self._outbox.unconfirmed,
        )

    def _traced(self, failure: str | None) -> calls.TracedTurn | None:
        """Return what a trace says of the turn that ends; None between turns, when the last one was told."""
        if self._turn.number and not self._turn.under_way:
            return None
        run, context = self._run, self._run.context_or_none
        return calls.TracedTurn(
            agent_id=run.input.agent_id,
            agent_name=context.agent_name if context else "",
            kind=run.input.kind,
            turn=self._turn.number,
            started_at=self._turn.started_at,
            model=self._turn.model or (context.model_id if context else ""),
            caller=str((context.metadata if context else {}).get("traceparent") or ""),
            error=(run.error_type or "failed") if failure else "",
        )

    def _failure_event(self, failure: str | None) -> list[events.Event]:
        """Return the `error` event, or none: our own control plane reports it in `done`, and `error` ends a stream."""
        if failure is None or not self._run.published:
            return []
        at = workflow.now().isoformat()
        return [events.failed(self._run.execution_id, failure, self._run.error_type, at)]

    async def _end_member(self, status: str, failure: str | None) -> str:
        """End a member's run. It has one turn and neither row nor session: its result holds all that it reports."""
        assert self._run.member is not None
        await self._budget.report()
        sent, records = self._outbox.take_all(), self._turn.take_tool_records()
        messages = self._conversation.unstored() if records else []
        traced = self._traced(failure)
        end = calls.MemberEnd(
            self._run.execution_id,
            self._run.member,
            sent,
            records,
            self._outbox.behind,
            messages,
            traced,
            self._outbox.take_lost(),
            self._outbox.unconfirmed,
        )
        try:
            await self._run.call_control_plane(names.END_MEMBER, end)
        except activity_failures.LOCAL_FAILURE as error:
            if is_cancelled_exception(error):
                raise
            workflow.logger.warning("end.refused %s", activity_failures.cause_of(error))
        self._turn.end()
        self._run.status, self._run.error = status, failure
        return status

    async def close(self, status: str, failure: str | None = None, kind: str | None = None) -> bool:
        """End outside of a turn. After a cancellation the control plane keeps the status that it wrote itself.

        Return True when clients learn of the end from the way the workflow closes, as on the published control plane.
        """
        await self._members.wait_until_idle()
        run = self._run
        if run.member is not None:
            await self._end_member(status, failure)
            return False
        run.status, run.error, run.error_type = status, failure, kind
        if status == ex.CANCELLED:
            run.error, run.error_type = "Cancelled by user", names.BY_USER
        spent = {"response": self._conversation.last_text(), "usage": self._budget.total().wire()}
        if run.context_or_none is not None and not run.published:
            spent["execution_metadata"] = {**run.context.metadata, SPENT: self._budget.spent()}
        report = calls.ReportInput(
            run.execution_id,
            self._outbox.pending,
            {"status": status, **spent, **({"error_message": failure} if failure else {}), **run.input.sequel.mark},
            messages=self._conversation.unstored(),
            first=self._conversation.stored,
            user_id=run.input.user_metadata.get("user_id"),
            turn=self._turn.number,
            error_type=kind,
            traced=self._traced(run.error),
            lost=self._outbox.take_lost(),
            unconfirmed=self._outbox.unconfirmed,
        )
        try:
            answer = await run.call_control_plane(names.END_EXECUTION, report)
            return isinstance(answer, dict) and bool(answer.get("published"))  # 0.1.0 returned nothing
        except activity_failures.LOCAL_FAILURE as error:  # refused: clients learn it from how the workflow closes
            workflow.logger.warning("end.refused %s", activity_failures.cause_of(error))
            return run.published

    async def cancelled(self) -> None:
        """End as cancelled. Raises where clients are told by how the workflow closes (docs/protocol.md#b5).

        The published stream has no terminal event for CANCELED, so the workflow fails there; the row stays cancelled.
        """
        published = await self.close(ex.CANCELLED)
        if published and self._run.member is None and workflow.patched("fail-when-cancelled"):
            raise _failure("Cancelled by user", names.BY_USER, self.result(ex.CANCELLED))

    def result(self, status: str) -> dict[str, Any]:
        """Return the result of the workflow."""
        run = self._run
        result = {
            "success": status == ex.COMPLETED,
            "execution_id": run.execution_id,
            "status": status,
            "response": self._conversation.last_text(),
            "usage": self._budget.total().wire(),
            "conversation_turns": self._turn.ended,
        }
        if run.member is not None and run.tainted:
            result["tainted"] = True  # the leader that reads the response is tainted too
        if run.member is not None and run.published:
            result["events"] = self._outbox.sent - event_limit.LIMIT + (run.member.room or 0)
        return {**result, "error": run.error} if run.error else result

    def result_or_failure(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return the result, or raise the failure with which the workflow of a failed execution closes.

        A member's run has no row and no stream, so it never fails the workflow: its leader reads the result.
        """
        run, status = self._run, result["status"]
        if run.member is not None or status == ex.COMPLETED or not workflow.patched("fail-when-failed"):
            return result
        if status == ex.CANCELLED:  # by a decision of the control plane, not by Temporal's cancellation
            if not run.published:
                return result
            raise _failure(run.error or "Cancelled by user", names.BY_USER, result)
        text = run.error or f"The execution is {status}"
        raise _failure(text, run.error_type or str(status).capitalize(), result)


def _failure(text: str, kind: str, result: dict[str, Any]) -> ApplicationError:
    """Return the failure with which a workflow closes. Its details carry the result."""
    details = {**result, "response": str(result.get("response") or "")[:RESPONSE]}
    return ApplicationError(text, details, type=kind, non_retryable=True)
