"""This module knows which hosts have what earlier calls have left there, and finds such a host for a later call.

A worker that does not have the thing says where it is, and the workflow makes the call again on the queue that only the
workers of that host poll. While there is none, the call waits, with no slot held. Only outcomes with `elsewhere` lead
here, which no history before this has, so none replays differently.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from kubiya_worker.protocol import calls, names
from kubiya_worker.workflows import options, timed_wait
from kubiya_worker.workflows.budget import Budget
from kubiya_worker.workflows.call_waits import CallWaits
from kubiya_worker.workflows.carried import Carried

PATIENCE: Final = 60.0  # seconds in which a worker that was killed or restarted is back; a wait may take longer
MOST: Final = 32  # places that are known; each is in the input of every tool call


class CallPlaces:
    """The places of an execution's things, the newest last."""

    def __init__(self, budget: Budget, waits: CallWaits) -> None:
        self._budget = budget
        self._waits = waits
        self.known: dict[str, calls.CallPlace] = {}

    def note(self, left: dict[str, calls.CallPlace]) -> None:
        """Note what a call has left on a host."""
        for key, place in left.items():
            self.known.pop(key, None)
            self.known[key] = place
        for key in list(self.known)[:-MOST]:
            del self.known[key]

    async def reach(self, place: calls.CallPlace, wait: calls.CallWait) -> tuple[bool, calls.CallWait]:
        """Wait until a worker of the host answers: for as long as the call may wait, and PATIENCE at least.

        Return whether one has answered, and what is left of the wait.
        """
        began, budget = workflow.time(), self._budget.seconds_left()
        limit = max(PATIENCE, min(wait.seconds, budget))
        answer = workflow.start_activity(names.FIND_HOST, place.host, **options.of_host_probe(place.queue, limit))
        try:
            await timed_wait.until(answer.done, PATIENCE)
            if not answer.done() and limit > PATIENCE:
                await timed_wait.until(lambda: answer.done() or bool(self._waits.woken(wait.what)), limit - PATIENCE)
            if not answer.done():
                return False, self._waits.rest(wait, began, budget)
            await answer
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return False, self._waits.rest(wait, began, budget)
        finally:
            if not answer.done():
                answer.cancel()  # no worker has it, or one answers that nobody waits for
        return True, self._waits.rest(wait, began, budget)

    def carry(self, into: Carried) -> None:
        into.places = {key: asdict(place) for key, place in self.known.items()}

    def restore(self, saved: Carried) -> None:
        self.known = {key: calls.CallPlace(**place) for key, place in saved.places.items()}
