"""This module has the limits of an execution's budget, and lets people raise them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from temporalio import workflow

from kubiya_worker.protocol import calls, names
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol.sequel import Sequel
from kubiya_worker.workflows import limits
from kubiya_worker.workflows.approvals import Approvals
from kubiya_worker.workflows.carried import Carried
from kubiya_worker.workflows.member_runs import MemberRuns
from kubiya_worker.workflows.run import Run
from kubiya_worker.workflows.turn import Turn


class RaisableLimits:
    """The limits as the agent has them, changed by what people have allowed since."""

    def __init__(self, run: Run, turn: Turn, approvals: Approvals, members: MemberRuns) -> None:
        self._run, self._turn, self._approvals, self._members = run, turn, approvals, members
        self.now = ex.Budgets()
        self._initial = ex.Budgets()  # as the agent has them
        self.raised: dict[str, Any] = {}  # limits that people have raised
        self.not_raised: str | None = None  # the text for a limit that a person did not raise
        self._questions = 0  # times that people were asked
        self.one_question = asyncio.Lock()  # held while a person is asked, whoever in a team came to the limit

    def start(self, sequel: Sequel) -> None:
        """Take the limits of the input. Raise ValueError when they are invalid."""
        self.now = ex.Budgets.carried(self._run.input.agent_config)
        self.raised, self._questions = dict(sequel.limits), sequel.asked

    def take_context(self) -> None:
        """Take the limits of the agent's definition, and those that people have raised."""
        if self._run.context.config:
            self.now = ex.Budgets.carried(self._run.context.config)
        self._initial, self.now = self.now, self.now.raised(self.raised)

    @property
    def asks(self) -> bool:
        """Return True when a person is asked at a limit."""
        return self.now.on_limit == "ask"

    @property
    def priced(self) -> bool:
        """Return True when there is a limit of cost: a model without a price is refused then."""
        return self.now.max_cost_usd is not None

    async def ask_to_raise(self, limit: limits.ReachedLimit) -> None:
        """Ask a person to raise a limit. The clocks of the members stand still meanwhile."""
        self._members.hold("budget", workflow.time())
        self._questions += 1
        proposal = limits.proposal(self.now, self._initial, limit.name)
        asked = limits.question(proposal, limit)
        call_id = f"{names.RAISE_BUDGET}_{self._questions}"
        request = calls.ToolInput(self._run.execution_id, call_id, asked.tool_name, message_id="", step=self._turn.step)
        decision = await self._approvals.ask(request, asked)
        if decision.approved:
            self.raised |= json.loads(decision.arguments) if decision.arguments is not None else proposal
            self.now = self.now.raised(self.raised)
        else:
            self.not_raised = decision.text
        self._members.release("budget", workflow.time())

    def carry(self, into: Carried) -> None:
        into.limits, into.not_raised, into.raises = self.raised, self.not_raised, self._questions

    def restore(self, saved: Carried) -> None:
        self.raised, self.not_raised, self._questions = saved.limits, saved.not_raised, saved.raises
