"""This module counts the time that an execution works: model calls and tools, without the waits for people."""

from __future__ import annotations

from temporalio import workflow

from kubiya_worker.workflows.approvals import Approvals


class WorkClock:
    """The clock of one execution, in seconds of the workflow's time."""

    def __init__(self, approvals: Approvals) -> None:
        self._approvals = approvals
        self.past = 0.0  # seconds of the steps that are over
        self._tools_since: tuple[float, float] | None = None  # while tools run: when they began, and waited until then

    @property
    def seconds(self) -> float:
        """Return the seconds of work so far, those of the tools that run included."""
        return self.past + self._of_running_tools()

    def model_worked(self, began: float) -> None:
        """Count the time since `began`, in seconds of the workflow's clock."""
        self.past += workflow.time() - began

    def tools_begin(self) -> None:
        self._tools_since = (workflow.time(), self._approvals.waited())

    def tools_end(self) -> None:
        self.past += self._of_running_tools()
        self._tools_since = None

    def _of_running_tools(self) -> float:
        if self._tools_since is None:
            return 0.0
        began_at, waited = self._tools_since
        return max(0.0, workflow.time() - began_at - (self._approvals.waited() - waited))
