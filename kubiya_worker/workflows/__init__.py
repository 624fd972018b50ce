"""Deterministic code only: what an execution does next, given what has happened."""

from kubiya_worker.workflows.agent import AgentExecutionWorkflow
from kubiya_worker.workflows.team import TeamExecutionWorkflow

WORKFLOWS: list[type] = [AgentExecutionWorkflow, TeamExecutionWorkflow]
