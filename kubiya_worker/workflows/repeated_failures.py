"""This module notices a tool call that fails again and again in the same way. First it has the model told.

If that does not help, a person is asked where the agent asks people, and otherwise the turn ends with the reason.
"""

from __future__ import annotations

from temporalio import workflow

from kubiya_worker.protocol import calls, names, same_failures
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows.approvals import Approvals
from kubiya_worker.workflows.budget import Budget
from kubiya_worker.workflows.carried import Carried
from kubiya_worker.workflows.failure_counts import FailureCounts, SameFailure
from kubiya_worker.workflows.failures import TurnFailed
from kubiya_worker.workflows.run import Run
from kubiya_worker.workflows.turn import Turn


class RepeatedFailures:
    """The calls of this turn that failed, and those of them that go on though the model was told."""

    def __init__(self, run: Run, turn: Turn, approvals: Approvals, budget: Budget) -> None:
        self._run = run
        self._turn = turn
        self._approvals = approvals
        self._budget = budget
        self._counts = FailureCounts()
        self._going_on: list[SameFailure] = []
        self._questions = 0  # times that people were asked

    def forget(self) -> None:
        """Begin anew, because a person has said something that the model has not read."""
        self._counts.forget()

    def before(self, call: m.ToolCall) -> tuple[str, str]:
        """Return (digest of the last failure of this call, what the model is told if the call fails like this)."""
        known = self._counts.known(call)
        if known is None:
            return "", ""
        times = known.times + 1
        told = times >= self._budget.limits.now.max_same_failures
        return known.digest, same_failures.note(call["name"], times) if told else ""

    def note(self, call: m.ToolCall, message: m.Message, outcome: calls.ToolOutcome | None) -> m.Message:
        """Count the result of a call, and return its message.

        Where no worker made the message (of a denial, a lost call, a member), what the model is told is added here.
        """
        text = str(message.get("content") or "")
        digest, told = (outcome.failure, outcome.told) if outcome is not None else ("", False)
        if not digest:
            digest = same_failures.failure_hash(str(message.get("status")), text, call["id"])
            known, note = self.before(call)
            if note and digest == known:
                message, told = {**message, "content": f"{text}\n{note}"}, True
        going_on = self._counts.note(call, digest, text, told=told)
        if going_on is not None and going_on not in self._going_on:
            self._going_on.append(going_on)
        return message

    async def check(self) -> None:
        """Ask a person about the calls that go on failing. Raise TurnFailed when they may not, or nobody is asked."""
        going_on, self._going_on = self._going_on, []
        for failure in going_on if going_on and workflow.patched("repeated-failures") else ():
            await self._ask_or_end(failure)

    async def _ask_or_end(self, failure: SameFailure) -> None:
        description = failure.what()
        if not self._asks_people():
            raise TurnFailed(
                f"{description}. The model was told, and made the same call again.", names.REPEATED_FAILURE
            )
        assert failure.call is not None
        self._questions += 1
        call_id = f"{names.GO_ON}_{self._run.input.sequel.asked + self._questions}"
        arguments = {"tool": failure.call["name"], "times": failure.times}
        hashed = m.arguments_hash(call_id, arguments)
        asked = calls.ApprovalRequest(names.GO_ON, arguments, hashed, "medium", f"{description}. May the agent go on?")
        request = calls.ToolInput(self._run.execution_id, call_id, names.GO_ON, message_id="", step=self._turn.step)
        decision = await self._approvals.ask(request, asked)
        if not decision.approved:
            raise TurnFailed(f"{description}. {decision.text}", names.REPEATED_FAILURE)
        failure.times = failure.told_at = 0

    def _asks_people(self) -> bool:
        """Return True when somebody answers this agent: it has a tool that asks, or its budget asks at a limit."""
        return self._budget.limits.asks or any(tool.get("asks") for tool in self._run.context.tools)

    def carry(self, into: Carried) -> None:
        into.repeated, into.go_on_questions = self._counts.snapshot(), self._questions

    def restore(self, saved: Carried) -> None:
        self._counts, self._questions = FailureCounts.restore(saved.repeated), saved.go_on_questions
