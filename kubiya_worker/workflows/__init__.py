"""Deterministic code only: what an execution does next, given what has happened."""

from kubiya_worker.workflows.agent import AgentExecutionWorkflow

WORKFLOWS: list[type] = [AgentExecutionWorkflow]
