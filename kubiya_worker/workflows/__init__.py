"""Deterministic code only: what an execution does next, given what has happened."""

from kubiya_worker.workflows.agent import AgentExecutionWorkflow
from kubiya_worker.workflows.dynamic import DynamicAgentExecutionWorkflow
from kubiya_worker.workflows.scheduled import ScheduledJobWrapperWorkflow
from kubiya_worker.workflows.team import TeamExecutionWorkflow

WORKFLOWS: list[type] = [
    AgentExecutionWorkflow,
    TeamExecutionWorkflow,
    DynamicAgentExecutionWorkflow,
    ScheduledJobWrapperWorkflow,
]
