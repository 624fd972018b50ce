"""This module says how long a write waits for writes of other executions, to share a request with them.

A request costs the control plane about as much as the write in it. A busy worker has no core free, so a wait costs it
nothing: what is not spent on requests goes to the steps of other executions. A worker with few executions waits for
nothing. PostgreSQL's `commit_delay` and `commit_siblings` do the same for commits.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

FEW: Final = 4  # executions for which no write waits
EACH: Final = 0.001  # seconds for each execution above these
LONGEST: Final = 0.05  # seconds: a person who reads a stream does not see it
WRITES_EVERY: Final = 1.0  # seconds: an execution without a write for as long waits for a model, a tool or a person


def gathering_time(executions: int) -> float:
    """Return the seconds for which a write waits, where so many executions write."""
    return min(LONGEST, max(0, executions - FEW) * EACH)


class WritingExecutions:
    """The executions that write at present. Times are in seconds of the event loop's clock."""

    def __init__(self) -> None:
        self._written_at: OrderedDict[str, float] = OrderedDict()  # the latest write comes last

    def note(self, execution_id: str, now: float) -> None:
        """Note a write of an execution."""
        self._written_at[execution_id] = now
        self._written_at.move_to_end(execution_id)

    def forget(self, execution_id: str) -> None:
        """Forget an execution that is over."""
        self._written_at.pop(execution_id, None)

    def count(self, now: float) -> int:
        """Return how many executions write."""
        while self._written_at and next(iter(self._written_at.values())) < now - WRITES_EVERY:
            self._written_at.popitem(last=False)
        return len(self._written_at)
