"""The first task of an agent's own execution is told from all others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from temporalio.bridge.proto.workflow_activation import WorkflowActivation

from kubiya_worker.process.first_task import beginning
from kubiya_worker.process.workflow_threads import WorkflowThreads
from kubiya_worker.protocol import names
from tests.unit.process.test_workflow_threads import Running


def first(change: Callable[[Any], Any] = lambda _: None) -> WorkflowActivation:
    activation = WorkflowActivation()
    job = activation.jobs.add().initialize_workflow
    job.workflow_type, job.workflow_id = names.AGENT_WORKFLOW, "agent-execution-1-2"
    change(job)
    return activation


def replayed() -> WorkflowActivation:
    activation = first()
    activation.is_replaying = True
    return activation


def signalled() -> WorkflowActivation:
    activation = WorkflowActivation()
    activation.jobs.add().signal_workflow.signal_name = "add_message"
    return activation


OTHERS: dict[str, WorkflowActivation] = {
    "no job": WorkflowActivation(),
    "a replay": replayed(),
    "a later task": signalled(),
    "a team": first(lambda job: setattr(job, "workflow_type", names.TEAM_WORKFLOW)),
    "a member": first(lambda job: setattr(job.parent_workflow_info, "workflow_id", "team-execution-1")),
    "a run that continues": first(lambda job: setattr(job, "continued_from_execution_run_id", "r")),
    "an id of others": first(lambda job: setattr(job, "workflow_id", "nightly")),
}


def test_an_agents_own_execution_begins() -> None:
    assert beginning(first()) == "1-2"


@pytest.mark.parametrize("name", OTHERS)
def test_no_execution_begins_with(name: str) -> None:
    assert beginning(OTHERS[name]) is None


async def test_who_expects_an_execution_is_told_before_its_task_runs() -> None:
    told: list[str] = []
    threads = WorkflowThreads(lambda _: True, told.append)
    running = Running(lambda: told.append("runs"))
    for task in (first(), signalled()):
        await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(threads, running.activate, task), 30)
    assert told == ["1-2", "runs", "runs"]
