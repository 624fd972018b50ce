"""This module has the loop of an agent's turn: call the model, make the tool calls that it asks for, and so on.

The turn is over when the model asks for no tool. Every finished model or tool call is in the history, so whatever dies,
nothing finished is done again.
"""

from __future__ import annotations

from typing import Final

from temporalio import workflow

from kubiya_worker.workflows.budget import Budget
from kubiya_worker.workflows.continuation import Continuation
from kubiya_worker.workflows.core import ExecutionCore
from kubiya_worker.workflows.failures import TurnFailed
from kubiya_worker.workflows.model_calls import ModelCalls
from kubiya_worker.workflows.repeated_failures import RepeatedFailures
from kubiya_worker.workflows.team_strategies import TeamStrategy
from kubiya_worker.workflows.tool_calls import ToolCalls

REPAIRS: Final = 2  # times in a turn that a model may correct an answer that does not fit


class AgentLoop:
    """The loop of one turn."""

    def __init__(
        self,
        core: ExecutionCore,
        budget: Budget,
        model_calls: ModelCalls,
        tool_calls: ToolCalls,
        repeated_failures: RepeatedFailures,
        continuation: Continuation,
    ) -> None:
        self._run = core.run
        self._conversation = core.conversation
        self._turn = core.turn
        self._budget = budget
        self._model_calls = model_calls
        self._tool_calls = tool_calls
        self._repeated_failures = repeated_failures
        self._continuation = continuation

    async def work(self, strategy: TeamStrategy) -> str:
        """Make model and tool calls until the turn is over. Return the last finish reason.

        `strategy` says how the members of a team work together. Raise TurnFailed when the turn cannot go on.
        """
        if self._run.refusal:
            raise TurnFailed(self._run.refusal, "Refused")
        opened = await strategy.open()
        if opened is not None:
            return opened
        while True:
            finish = await self._step(strategy)
            if finish is not None:
                return finish

    async def _step(self, strategy: TeamStrategy) -> str | None:
        """Make one model call, and the tool calls that it asks for. Return the finish reason if the turn is over."""
        await self._continuation.renew()
        await self._run.unpaused()
        if self._run.done:
            return "stop"
        if self._conversation.take_inbox():
            self._repeated_failures.forget()
        reason = await self._budget.reason_to_stop()
        if reason:
            raise TurnFailed(reason, "BudgetReached")
        began = workflow.time()
        reply = await self._model_calls.answer()
        self._budget.clock.model_worked(began)
        if reply is None:
            return None
        if reply.message.get("tool_calls"):
            if self._run.paused and workflow.patched("pause-before-tools"):  # 0.1.0 paused after them
                await self._run.unpaused()
            results = await self._tool_calls.make(reply.message)
            if strategy.concludes(results):
                return "stop"
            await self._repeated_failures.check()
            return None
        if self._conversation.inbox:
            return None
        if reply.misfit:
            self._ask_to_repair(reply.misfit)
            return None
        return reply.finish_reason

    def _ask_to_repair(self, misfit: str) -> None:
        """Tell the model why its answer does not fit the response_format. Raise TurnFailed after `REPAIRS` times."""
        if self._turn.repairs >= REPAIRS:
            raise TurnFailed(f"The answer does not fit the response_format, after {REPAIRS} more tries: {misfit}")
        self._turn.repairs += 1
        self._conversation.append(
            {
                "role": "user",
                "content": f"Your answer does not fit the format that it has to have: {misfit}. Answer again, with the "
                "JSON only.",
                "message_id": f"{self._run.execution_id}_format_{self._turn.number}_{self._turn.step}",
                "timestamp": workflow.now().isoformat(),
                "user_name": "Kubiya Worker",
            }
        )
