"""The workflows that a worker runs, and the modules that extensions' workflows share with them."""

from __future__ import annotations

from typing import Final

from kubiya_worker.workflows.agent import AgentExecutionWorkflow
from kubiya_worker.workflows.dynamic import DynamicAgentExecutionWorkflow
from kubiya_worker.workflows.scheduled import ScheduledJobWrapperWorkflow
from kubiya_worker.workflows.team import TeamExecutionWorkflow
from kubiya_worker.workflows.trial import TrialWorkflow

WORKFLOWS: Final[list[type]] = [
    AgentExecutionWorkflow,
    TeamExecutionWorkflow,
    DynamicAgentExecutionWorkflow,
    ScheduledJobWrapperWorkflow,
    TrialWorkflow,
]

# They keep nothing outside their instances, so workflows of extensions that use them share them. What the sandbox would
# say about their code it says in tests/replay, where nothing of ours is shared.
SHARED: Final = ("kubiya_worker.protocol", "kubiya_worker.workflows")
