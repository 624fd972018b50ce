"""The workflows that a worker runs, and what their sandbox shares instead of loading it anew for each execution."""

from __future__ import annotations

from typing import Final

from kubiya_worker.workflows.agent import AgentExecutionWorkflow
from kubiya_worker.workflows.dynamic import DynamicAgentExecutionWorkflow
from kubiya_worker.workflows.scheduled import ScheduledJobWrapperWorkflow
from kubiya_worker.workflows.team import TeamExecutionWorkflow

WORKFLOWS: Final[list[type]] = [
    AgentExecutionWorkflow,
    TeamExecutionWorkflow,
    DynamicAgentExecutionWorkflow,
    ScheduledJobWrapperWorkflow,
]

# Modules without state of their own. Loading them anew for each execution took a third of its worker's time. What the
# sandbox would say about their code it says in tests/replay, where nothing of ours is shared.
_STATELESS: Final = ("approvals", "budget", "conversation", "ledger", "loop", "options", "outcomes", "wires")
SHARED: Final = ("kubiya_worker.protocol", *(f"kubiya_worker.workflows.{name}" for name in _STATELESS))
