"""This module has a member's side of the team's budget: it asks the whole team's workflow before each model call."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import names
from kubiya_worker.workflows import signals
from kubiya_worker.workflows.carried import Carried
from kubiya_worker.workflows.run import Run


class TeamPermits:
    """The model calls of a member that the team's budget permits, by their numbers: 1 is the first of its run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._permitted = 0  # the highest number that is permitted so far
        self._refusals: dict[int, str] = {}  # number -> why the budget refuses that call

    def start(self) -> None:
        """Take what the leader was given for this run before it started it."""
        self._permitted = self._run.member.permitted if self._run.member else 0

    async def refusal(self, steps: int, usage: ex.Usage) -> str | None:
        """Return why the call after `steps` calls may not be made; None when the team's workflow permits it."""
        call = steps + 1
        if call <= self._permitted:
            return None
        await self.report(steps, usage, ask=call)
        await workflow.wait_condition(lambda: call <= self._permitted or call in self._refusals)
        return None if call <= self._permitted else self._refusals[call]

    async def report(self, steps: int, usage: ex.Usage, *, ask: int = 0) -> None:
        """Tell the team's workflow what this run has used; with `ask`, request the model call of that number."""
        assert self._run.member is not None
        report = {
            "account": self._run.execution_id,
            "workflow_id": workflow.info().workflow_id,
            "steps": steps,
            "usage": usage.wire(),
            "ask": ask,
        }
        await signals.send(self._run.member.root, names.SPEND, report)

    def answer(self, answer: dict[str, Any]) -> None:
        """Take the answer of the team's workflow: {call, refusal}."""
        if answer["refusal"]:
            self._refusals[answer["call"]] = answer["refusal"]
        else:
            self._permitted = max(self._permitted, answer["call"])

    def carry(self, into: Carried) -> None:
        into.permitted = self._permitted

    def restore(self, saved: Carried) -> None:
        self._permitted = max(self._permitted, saved.permitted)
