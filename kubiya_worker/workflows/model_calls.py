"""This module calls the model, and has the conversation summarized when it outgrows the model's window."""

from __future__ import annotations

from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from kubiya_worker.protocol import calls, compaction, event_limit, names
from kubiya_worker.protocol import execution as ex
from kubiya_worker.workflows import activity_failures, options
from kubiya_worker.workflows.budget import Budget
from kubiya_worker.workflows.carried import Carried
from kubiya_worker.workflows.core import ExecutionCore
from kubiya_worker.workflows.failures import ConversationTooLong, ModelFailed, TurnFailed
from kubiya_worker.workflows.mcp_servers import McpServers


class ModelCalls:
    """The model calls of an execution, and what they have told of the size of the conversation."""

    def __init__(
        self,
        core: ExecutionCore,
        budget: Budget,
        mcp_servers: McpServers,
    ) -> None:
        self._run = core.run
        self._conversation = core.conversation
        self._turn = core.turn
        self._outbox = core.outbox
        self._budget = budget
        self._mcp_servers = mcp_servers
        self._tokens = 0  # of the last model call: what the conversation comes to by now
        self._shortened = False  # it was shortened on a guess since the last model call that succeeded

    async def answer(self) -> calls.ModelResult | None:
        """Return the model's answer to the conversation. Raise ModelFailed when there will be none.

        None says that the conversation was summarized instead. That is a model call too, so the budget has to be
        checked again before the next one.
        """
        if 0 < self._run.context.compact_at <= self._tokens and await self._compact(fits=True):
            return None
        try:
            return await self._call()
        except ConversationTooLong as error:
            if not self._run.context.compact_at or not await self._compact():
                raise
            self._shortened = error.guessed
            return None

    async def compact_to_go_on(self) -> bool:
        """Have the conversation summarized, as it is too long for a new run. Return False when that is not possible.

        Raise TurnFailed when the budget allows no further model call.
        """
        if not self._run.context.compact_at:
            return False
        reason = await self._budget.reason_to_stop()
        if reason:
            raise TurnFailed(reason, "BudgetReached")
        return await self._compact(fits=True)

    async def _call(self) -> calls.ModelResult:
        await self._outbox.deliver()
        self._count()
        message_id = self._conversation.next_text_id(self._run.execution_id)
        try:
            request = self._input(message_id, text=True)
            result = await self._ask(names.CALL_MODEL, request, f"model-{self._turn.number}-{self._turn.step}")
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            self._budget.spend(activity_failures.usage_of(error))
            self._outbox.count(event_limit.FAILED_CALL + int(request.pieces or 0))
            advice = activity_failures.advice(error)
            self._learn(advice.get("window"))
            if activity_failures.kind_of(error) == names.CONTEXT_OVERFLOW:
                raise ConversationTooLong(error) from error
            if advice.get("shorten"):
                raise ConversationTooLong(error, guessed=True) from error
            raise ModelFailed(error) from error
        self._shortened = False
        self._learn(result.window)
        self._tokens = int(result.usage.get("input_tokens") or 0) + int(result.usage.get("output_tokens") or 0)
        self._apply(request, result)
        self._mcp_servers.relist(result.relisted)
        self._turn.note_model(result.model, result.provider)
        return result

    async def _ask(
        self, name: str, request: calls.ModelInput | calls.CompactInput, activity_id: str
    ) -> calls.ModelResult:
        """Run an activity that asks the model; where tools hold all slots, on the queue that has no tools.

        A queue that nobody takes work from, because its workers are gone or of an older version, gives the call back.
        """
        queue = self._run.context.model_queue if self._run.crowded else ""
        if queue:
            try:
                return await self._started(name, request, activity_id, options.of_model_queue(queue))
            except ActivityError as error:
                if not activity_failures.never_started(error):
                    raise
                self._budget.spend(activity_failures.usage_before(error))
                self._run.crowded = False
        return await self._started(name, request, activity_id, options.MODEL)

    async def _started(self, name: str, request: Any, activity_id: str, chosen: dict[str, Any]) -> calls.ModelResult:
        result: calls.ModelResult = await workflow.execute_activity(
            name, request, result_type=calls.ModelResult, activity_id=activity_id, **chosen
        )
        return result

    def _count(self) -> None:
        self._turn.step += 1
        self._budget.steps += 1

    def _apply(self, request: calls.ModelInput, result: calls.ModelResult) -> None:
        self._conversation.append(result.message)
        self._outbox.settle(request, result)
        self._budget.spend(ex.Usage.parse(result.usage))

    def _learn(self, window: int | None) -> None:
        """Set the size from which the conversation is summarized, from a window in tokens that the endpoint told.

        Nothing is set where summaries are off. The window is in the history, in a failure or in a result, so a replay
        learns the same.
        """
        context = self._run.context
        if not window or not context.compact_at:
            return
        learned = compaction.threshold(None, window)
        known = context.compact_at
        context.compact_at = learned if known == compaction.OVERFLOW_ONLY else min(known, learned)

    async def _compact(self, *, fits: bool = False) -> bool:
        """Have the beginning of the conversation summarized. Return False when that gains nothing or fails.

        `fits` says that the whole conversation still fits into the model's window.
        """
        self._tokens = 0
        keeps_from = compaction.first_kept_id(self._conversation.messages)
        if keeps_from is None:
            return False
        await self._outbox.deliver()
        self._count()
        summary_id = names.summary_message_id(self._run.execution_id, self._turn.number, self._turn.step)
        try:
            request = self._input(summary_id)
            asked = calls.CompactInput(request, keeps_from, fits)
            result = await self._ask(names.COMPACT, asked, f"summary-{self._turn.number}-{self._turn.step}")
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            self._budget.spend(activity_failures.usage_of(error))
            workflow.logger.warning("compaction.failed %s", activity_failures.cause_of(error))
            return False
        self._apply(request, result)
        return True

    def _input(self, message_id: str, *, text: bool = False) -> calls.ModelInput:
        base, tail = self._conversation.delta()
        return calls.ModelInput(
            execution_id=self._run.execution_id,
            turn=self._turn.number,
            step=self._turn.step,
            message_id=message_id,
            base=base,
            tail=tail,
            digest=self._conversation.digest(),
            hold=bool(self._outbox),
            trimmed=bool(self._conversation.stored),
            behind=self._outbox.predecessors(),
            tools_version=self._run.context.tools_version,
            shortened=self._shortened,
            leave=text,
            **self._outbox.room(text=text),
        )

    def carry(self, into: Carried) -> None:
        into.tokens, into.shortened = self._tokens, self._shortened

    def restore(self, saved: Carried) -> None:
        self._tokens, self._shortened = saved.tokens, saved.shortened
