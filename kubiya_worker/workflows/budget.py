"""This module has the budget of an execution: what it has used, and whether it may make a further model call."""

from __future__ import annotations

import math
from typing import Any

from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import names
from kubiya_worker.workflows import limits, signals
from kubiya_worker.workflows.approvals import Approvals
from kubiya_worker.workflows.background import BackgroundTasks
from kubiya_worker.workflows.carried import Carried
from kubiya_worker.workflows.ledger import Ledger
from kubiya_worker.workflows.member_runs import MemberRuns
from kubiya_worker.workflows.raisable_limits import RaisableLimits
from kubiya_worker.workflows.run import Run
from kubiya_worker.workflows.team_permits import TeamPermits
from kubiya_worker.workflows.turn import Turn
from kubiya_worker.workflows.work_clock import WorkClock


class Budget:
    """The budget is one for a whole team: the team's own workflow keeps it, and members ask it before each call."""

    def __init__(
        self, run: Run, turn: Turn, approvals: Approvals, members: MemberRuns, background: BackgroundTasks
    ) -> None:
        self._run, self._background = run, background
        self.limits = RaisableLimits(run, turn, approvals, members)
        self.clock = WorkClock(approvals)
        self.steps = 0  # model calls in all
        self._usage = ex.Usage()
        self.ledger = Ledger()  # of the whole team; not used in a team that is a member itself
        self.permits = TeamPermits(run)  # used in a member only

    def start(self) -> None:
        """Take the limits of the input, and count on from what was used before an execution went on.

        So a follow-up is no way around a limit. Raise ValueError when the limits are invalid.
        """
        sequel = self._run.input.sequel
        self.limits.start(sequel)
        self.steps, self.clock.past, self._usage = sequel.steps, sequel.seconds, ex.Usage.parse(sequel.usage)
        self.permits.start()

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
        steps = max(self.steps, self.ledger.steps)
        return {"steps": steps, "seconds": round(self.clock.seconds, 3), "limits": self.limits.raised}

    def seconds_left(self) -> float:
        """Return the seconds of work that are left; infinite where there is no limit of them."""
        limit = self.limits.now.max_seconds
        return math.inf if limit is None else max(0.0, limit - self.clock.seconds)

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
            if not self.limits.asks or self._run.member is not None:
                return limit.text
            async with self.limits.one_question:
                limit = self._reached()
                if limit is None:
                    return None
                if self.limits.not_raised is not None:
                    return f"{limit.text} {self.limits.not_raised}"
                await self.limits.ask_to_raise(limit)

    def _reached(self) -> limits.ReachedLimit | None:
        """Return the limit that forbids a further model call of anybody in the team, or None."""
        now = self.limits.now
        if self._run.member is not None:
            return limits.reached(now, steps=self.steps, usage=self._usage, seconds=self.clock.past)
        return limits.reached(now, steps=self.ledger.steps, usage=self.total(), seconds=self.clock.seconds)

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
        into.usage, into.steps, into.worked = self._usage.wire(), self.steps, self.clock.past
        self.limits.carry(into)
        into.ledger = self.ledger.snapshot()
        self.permits.carry(into)

    def restore(self, saved: Carried) -> None:
        self._usage, self.steps, self.clock.past = ex.Usage.parse(saved.usage), saved.steps, saved.worked
        self.limits.restore(saved)
        self.ledger = Ledger(saved.ledger)
        self.permits.restore(saved)
