"""This module keeps the runs of members that are at work. It does no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kubiya_worker.workflows.stopwatch import Stopwatch


@dataclass
class MemberRun:
    """A member at work."""

    name: str
    execution_id: str
    workflow_id: str
    task: str
    clock: Stopwatch
    limit: float  # seconds of work
    room: int = 0  # events that it may send


class MemberRuns:
    """The runs by workflow id, in the order in which they were started."""

    def __init__(self) -> None:
        self._runs: dict[str, MemberRun] = {}

    def __iter__(self) -> Iterator[MemberRun]:
        return iter(list(self._runs.values()))

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, run: MemberRun) -> None:
        self._runs[run.workflow_id] = run

    def remove(self, run: MemberRun) -> None:
        self._runs.pop(run.workflow_id, None)

    def get(self, workflow_id: str) -> MemberRun | None:
        return self._runs.get(workflow_id)

    def by_name(self, name: str) -> list[MemberRun]:
        return [run for run in self if run.name == name]

    def hold(self, reason: str, now: float) -> None:
        """Stop the clocks of all runs. `now`: seconds."""
        for run in self:
            run.clock.wait(reason, now)

    def release(self, reason: str, now: float) -> None:
        """Let the clocks that were stopped for this reason go on. `now`: seconds."""
        for run in self:
            run.clock.go_on(reason, now)
