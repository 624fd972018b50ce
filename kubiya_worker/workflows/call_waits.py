"""This module waits for what tool calls wait for, such as the end of a long command, with no slot held.

A worker that sees the end sends a signal. A look from time to time stands in for one that cannot: its host is gone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from temporalio import workflow

from kubiya_worker.protocol import calls
from kubiya_worker.workflows import timed_wait
from kubiya_worker.workflows.budget import Budget
from kubiya_worker.workflows.conversation import Conversation
from kubiya_worker.workflows.run import Run

LOOK_AGAIN: Final = 900.0  # seconds; each look is nine events of the history


class CallWaits:
    """The waits of an execution's tool calls. They end early for what has ended, for people, and at the budget."""

    def __init__(self, run: Run, conversation: Conversation, budget: Budget) -> None:
        self._run = run
        self._conversation = conversation
        self._budget = budget
        self._ended: set[str] = set()

    def ended(self, what: str) -> None:
        """Note that something has ended; the signal may come before the call has said that it waits for it."""
        self._ended.add(what)

    async def wait(self, wait: calls.CallWait) -> calls.CallWait:
        """Wait, and return what is left of it: nothing, when there is a reason to go on."""
        began, budget = workflow.time(), self._budget.seconds_left()
        limit = min(wait.seconds, LOOK_AGAIN, budget)
        await timed_wait.until(lambda: bool(self.woken(wait.what)), max(limit, 0.0))
        return self.rest(wait, began, budget)

    def rest(self, wait: calls.CallWait, began: float, budget: float) -> calls.CallWait:
        """Return what is left now of a wait that began at `began`, with `budget` seconds to spend."""
        waited = workflow.time() - began
        woken = wait.woken or self.woken(wait.what) or (calls.BUDGET if waited >= budget else "")
        left = 0.0 if woken else max(0.0, wait.seconds - waited)
        return replace(wait, seconds=left, waited=wait.waited + waited, woken=woken)

    def woken(self, what: str) -> str:
        """Return why a wait for this ends now; empty while it goes on."""
        if what in self._ended:
            return calls.ENDED
        if self._run.done:
            return calls.DONE
        return calls.MESSAGE if self._conversation.inbox else ""
