"""This module remembers what open executions have spent, and which of them have had events since the last look."""

from __future__ import annotations

from typing import Final

from kubiya_worker.server.notify.budget import SpentBudget

REMEMBERED: Final = 10_000  # executions whose figures are kept in memory; another one's events are read anew


class SpentBudgets:
    def __init__(self) -> None:
        self._spent: dict[str, SpentBudget] = {}  # by execution
        self._to_look_at: set[str] | None = None  # None: which ones have new events is not known

    @property
    def watched(self) -> bool:
        """Return whether somebody has looked, and so will look again."""
        return self._to_look_at is not None

    def look_at(self, execution_id: str) -> None:
        """Have an execution looked at the next time; where nobody looks, nothing is remembered."""
        if self._to_look_at is not None:
            self._to_look_at.add(execution_id)

    def look_at_all(self) -> None:
        """Have every open execution looked at the next time, if there is one."""
        self._to_look_at = None

    def take(self) -> set[str] | None:
        """Return the executions to look at now, and begin a new list; None for all that are open."""
        waiting, self._to_look_at = self._to_look_at, set()
        return waiting

    def of(self, execution_id: str) -> SpentBudget:
        """Return what an execution has spent by its last event that was read."""
        if len(self._spent) >= REMEMBERED:
            self._spent.clear()
        return self._spent.setdefault(execution_id, SpentBudget())

    def forget(self, execution_id: str) -> None:
        self._spent.pop(execution_id, None)
