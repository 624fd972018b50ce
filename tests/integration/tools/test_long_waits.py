"""A long `shell_wait`: the workflow waits, with no slot held and no model asked, until there is a reason to go on."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from kubiya_worker.process.replay import fault_of
from kubiya_worker.workflows.registry import WORKFLOWS
from tests.support import databases
from tests.support.demo_scripts import script
from tests.support.stack import Stack, wait_until

pytestmark = pytest.mark.timeout(180)
gates: list[Path] = []  # of the test that runs


@pytest.fixture(autouse=True)
def open_gates() -> Iterator[None]:
    """Open all gates at the end: a command outlives the worker that would end it."""
    yield
    for gate in gates:
        gate.touch()
    gates.clear()


class LongWait:
    """An execution that waits for a command, for hours if need be. The command ends once there is a gate."""

    def __init__(self, stack: Stack, **configuration: Any) -> None:
        self.stack = stack
        self.gate, ends = stack.trace("gate"), "finished; exit 3"
        gates.append(self.gate)
        program = f"until test -e {self.gate}; do sleep 0.1; done; echo {ends}"
        limits = {"allowed_commands": ["sh"], "long_commands": True, "long_timeout_seconds": 7200}
        skill = {"name": "shell", "type": "shell", "configuration": limits}
        fields = {"configuration": configuration} if configuration else {}
        agent = stack.agent(f"wait-{uuid.uuid4().hex[:6]}", skills=[skill], **fields)
        steps: list[dict[str, Any]] = [
            {"tools": [{"name": "shell_start", "arguments": {"command": f"sh -c '{program}'"}}]},
            {"tools": [{"name": "shell_wait", "arguments": {"seconds": 7200}}]},
        ]
        self.execution = stack.execute(script(*steps, {"text": "done"}), agent=agent)
        started = (each for each in stack.events(self.execution) if each["event"] == "tool_started")
        next(each for each in started if each["data"]["tool_name"] == "shell_wait")
        wait_until(self.waits, 60, "the workflow waits")

    def waits(self) -> bool:
        return any(event.HasField("timer_started_event_attributes") for event in self.stack.history(self.execution))

    def activities(self) -> list[str]:
        """Return the types of the activities so far."""
        every = [each.activity_task_scheduled_event_attributes for each in self.stack.history(self.execution)]
        return [each.activity_type.name for each in every if each.activity_id]

    def finished(self) -> int:
        """Return how many of them have ended."""
        return sum(
            each.HasField("activity_task_completed_event_attributes") for each in self.stack.history(self.execution)
        )

    def ended(self) -> str:
        """Return how the wait ended, once the execution is over."""
        self.stack.wait(self.execution)
        return json.dumps(next(each for each in self.events("tool_completed") if each["tool_name"] == "shell_wait"))

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [each["data"] for each in self.stack.events(self.execution) if each["event"] == kind]


def test_the_end_of_the_command_wakes_it_and_its_history_replays(stack: Stack) -> None:
    wait = LongWait(stack)
    assert wait.finished() == len(wait.activities()), "no activity is under way"
    wait.gate.touch()
    told = wait.ended()
    assert "finished" in told and "exit code 3" in told
    assert [each["tool_name"] for each in wait.events("tool_started")] == ["shell_start", "shell_wait"]
    assert [wait.activities().count(each) for each in ("call_model", "call_tool")] == [3, 3]
    history = WorkflowHistory("replayed", stack.history(wait.execution))
    assert asyncio.run(fault_of(Replayer(workflows=WORKFLOWS, debug_mode=True), history)) is None


def test_a_persons_message_ends_the_wait_and_not_the_command(stack: Stack) -> None:
    wait = LongWait(stack)
    stack.call("POST", f"/executions/{wait.execution}/message", {"message": "How far is it?"})
    assert "a person has written" in wait.ended()


def test_a_cancellation_ends_the_wait_and_is_told(stack: Stack) -> None:
    wait = LongWait(stack)
    stack.call("POST", f"/executions/{wait.execution}/cancel", {})
    told = (wait.execution, "tool_completed:demo_1_0")

    def cancelled() -> bool:
        return stack.history(wait.execution)[-1].HasField("workflow_execution_canceled_event_attributes")

    wait_until(cancelled, 60, "the workflow has ended")
    with databases.opened(stack.database) as database:  # it comes after the stream's end
        (kept,) = database.execute("select data from events where execution_id = ? and event_id = ?", told).fetchone()
    assert json.loads(kept)["tool_error"] == "cancelled"


@pytest.mark.slow
def test_the_budget_of_seconds_ends_the_wait(stack: Stack) -> None:
    wait = LongWait(stack, budgets={"max_seconds": 6})
    assert "budget are used up" in wait.ended()
    assert "max_seconds" in str(stack.execution(wait.execution)["error_message"])
