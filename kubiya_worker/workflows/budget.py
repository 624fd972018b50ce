"""This module has the budget of an execution: what it has used, and whether it may make a further model call."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

from temporalio import workflow

from kubiya_worker.protocol import calls, names
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol.sequel import Sequel
from kubiya_worker.workflows import limits, signals
from kubiya_worker.workflows.approvals import Approvals
from kubiya_worker.workflows.background import BackgroundTasks
from kubiya_worker.workflows.carried import Carried
from kubiya_worker.workflows.ledger import Ledger
from kubiya_worker.workflows.member_runs import MemberRuns
from kubiya_worker.workflows.run import Run
from kubiya_worker.workflows.team_permits import TeamPermits
from kubiya_worker.workflows.turn import Turn


class Budget:
    """The budget is one for a whole team: the team's own workflow keeps it, and members ask it before each call."""

    def __init__(
        self, run: Run, turn: Turn, approvals: Approvals, members: MemberRuns, background: BackgroundTasks
    ) -> None:
        self._run = run
        self._turn = turn
        self._approvals = approvals
        self._members = members
        self._background = background
        self.steps = 0  # model calls in all
        self._usage = ex.Usage()
        self._worked = 0.0  # seconds, waiting for people excluded
        self._tools_since: tuple[float, float] | None = None  # while tools run: when they began, and waited until then
        self.ledger = Ledger()  # of the whole team; not used in a team that is a member itself
        self._limits = ex.Budgets()
        self._initial = ex.Budgets()  # as the agent has them
        self._raised: dict[str, Any] = {}  # limits that people have raised
        self._not_raised: str | None = None  # the text for a limit that a person did not raise
        self._raises = 0  # times that people were asked
        self._raising = asyncio.Lock()
        self.permits = TeamPermits(run)  # used in a member only

    def start(self) -> None:
        """Take the limits of the input. Raise ValueError when they are invalid."""
        self._limits = ex.Budgets.carried(self._run.input.agent_config)
        self._go_on(self._run.input.sequel)
        self.permits.start()

    def _go_on(self, sequel: Sequel) -> None:
        """Count on from what was used before the execution went on: a follow-up is no way around a limit."""
        self.steps, self._worked, self._usage = sequel.steps, sequel.seconds, ex.Usage.parse(sequel.usage)
        self._raised, self._raises = dict(sequel.limits), sequel.asked

    def take_context(self) -> None:
        """Take the limits of the agent's definition, and those that people have raised."""
        if self._run.context.config:
            self._limits = ex.Budgets.carried(self._run.context.config)
        self._initial, self._limits = self._limits, self._limits.raised(self._raised)

    @property
    def max_depth(self) -> int:
        """Return how deep teams may be nested."""
        return self._limits.max_depth

    @property
    def max_same_failures(self) -> int:
        """Return after how many same failures of one tool call the model is told."""
        return self._limits.max_same_failures

    @property
    def asks(self) -> bool:
        """Return True when a person is asked at a limit."""
        return self._limits.on_limit == "ask"

    @property
    def priced(self) -> bool:
        """Return True when there is a limit of cost: a model without a price is refused then."""
        return self._limits.max_cost_usd is not None

    # -- what is used

    def spend(self, usage: ex.Usage) -> None:
        self._usage = self._usage.plus(usage)

    def total(self) -> ex.Usage:
        """Return the tokens that count as this execution's, those of its members included."""
        if self._run.member is not None or self._run.context_or_none is None:
            return self._usage
        return self.ledger.usage(self._run.execution_id, self._usage)

    def spent(self) -> dict[str, Any]:
        """Return what is counted beside the usage, for a run that goes on from here."""
        seconds = self._worked + self._tools_worked()
        steps = max(self.steps, self.ledger.steps)
        return {"steps": steps, "seconds": round(seconds, 3), "limits": self._raised}

    def model_worked(self, began: float) -> None:
        """Count the time since `began`, in seconds of the workflow's clock."""
        self._worked += workflow.time() - began

    def tools_begin(self) -> None:
        self._tools_since = (workflow.time(), self._approvals.waited())

    def tools_end(self) -> None:
        self._worked += self._tools_worked()
        self._tools_since = None

    def _tools_worked(self) -> float:
        if self._tools_since is None:
            return 0.0
        began_at, waited = self._tools_since
        return max(0.0, workflow.time() - began_at - (self._approvals.waited() - waited))

    def seconds_left(self) -> float:
        """Return the seconds of work that are left; infinite where there is no limit of them."""
        limit = self._limits.max_seconds
        return math.inf if limit is None else max(0.0, limit - self._worked - self._tools_worked())

    # -- whether there is more

    async def reason_to_stop(self) -> str | None:
        """Return why no further model call may be made, or None. A member asks for the whole team's budget too."""
        if self._run.member is not None:
            return await self.refusal() or await self.permits.refusal(self.steps, self._usage)
        self.ledger.note(self._run.execution_id, self.steps, self._usage)
        refusal = await self.refusal()
        if refusal is None:
            self.ledger.grant(self._run.execution_id, self.steps + 1)
        return refusal

    async def refusal(self) -> str | None:
        """Return why no further model call may be made: a limit is reached, and no person has raised it. Else None.

        Only the execution that people see asks them. A member that reaches a limit of its own ends.
        """
        while True:
            limit = self._reached()
            if limit is None:
                return None
            if self._limits.on_limit != "ask" or self._run.member is not None:
                return limit.text
            async with self._raising:  # one question at a time, whoever in a team came to the limit
                limit = self._reached()
                if limit is None:
                    return None
                if self._not_raised is not None:
                    return f"{limit.text} {self._not_raised}"
                await self._ask_to_raise(limit)

    def _reached(self) -> limits.ReachedLimit | None:
        """Return the limit that forbids a further model call of anybody in the team, or None."""
        if self._run.member is not None:
            return limits.reached(self._limits, steps=self.steps, usage=self._usage, seconds=self._worked)
        seconds = self._worked + self._tools_worked()
        return limits.reached(self._limits, steps=self.ledger.steps, usage=self.total(), seconds=seconds)

    async def _ask_to_raise(self, limit: limits.ReachedLimit) -> None:
        """Ask a person to raise a limit. The clocks of the members stand still meanwhile."""
        self._members.hold("budget", workflow.time())
        self._raises += 1
        proposal = limits.proposal(self._limits, self._initial, limit.name)
        asked = limits.question(proposal, limit)
        call_id = f"{names.RAISE_BUDGET}_{self._raises}"
        request = calls.ToolInput(self._run.execution_id, call_id, asked.tool_name, message_id="", step=self._turn.step)
        decision = await self._approvals.ask(request, asked)
        if decision.approved:
            self._raised |= json.loads(decision.arguments) if decision.arguments is not None else proposal
            self._limits = self._limits.raised(self._raised)
        else:
            self._not_raised = decision.text
        self._members.release("budget", workflow.time())

    # -- between a member and the whole team's workflow

    async def report(self) -> None:
        """Tell the team's workflow what this member has used."""
        await self.permits.report(self.steps, self._usage)

    def member_spends(self, report: dict[str, Any]) -> None:
        """Note a member's usage. A member that asks gets an answer; a granted call is counted."""
        self.ledger.note(report["account"], int(report["steps"]), ex.Usage.parse(report["usage"]))
        if report["ask"]:
            limit = self._reached()
            if limit is None:
                self.ledger.grant(report["account"], int(report["ask"]))
            self._background.start(self._answer_member(report, granted=limit is None))

    async def _answer_member(self, report: dict[str, Any], *, granted: bool) -> None:
        refusal = None if granted else await self.refusal()
        if not granted and refusal is None:
            self.ledger.grant(report["account"], int(report["ask"]))
        await signals.send(report["workflow_id"], names.PERMIT, {"call": report["ask"], "refusal": refusal})

    def carry(self, into: Carried) -> None:
        into.usage, into.steps, into.worked = self._usage.wire(), self.steps, self._worked
        into.limits, into.not_raised, into.raises = self._raised, self._not_raised, self._raises
        into.ledger = self.ledger.snapshot()
        self.permits.carry(into)

    def restore(self, saved: Carried) -> None:
        self._usage, self.steps, self._worked = ex.Usage.parse(saved.usage), saved.steps, saved.worked
        self._raised, self._not_raised, self._raises = saved.limits, saved.not_raised, saved.raises
        self.ledger = Ledger(saved.ledger)
        self.permits.restore(saved)
