"""Calls of brief tools: within the workflow's task where that is possible, else by an activity like any other call."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.protocol import names
from tests.support.demo_scripts import script
from tests.support.stack import Stack, wait_until

FILES = {"name": "files", "type": "file_system", "configuration": {}}
SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"]}}
LIST: dict[str, Any] = {"name": "list_files", "arguments": {}}
TRUE: dict[str, Any] = {"name": "shell", "arguments": {"command": "true"}}


@pytest.fixture(scope="module")
def agent(stack: Stack) -> str:
    return stack.agent("brief", skills=[FILES, SHELL])


def activities(stack: Stack, execution: str) -> list[str]:
    """Return the tool calls that had an activity of their own."""
    scheduled = [event.activity_task_scheduled_event_attributes for event in stack.history(execution)]
    return [each.activity_id for each in scheduled if each.activity_type.name == names.CALL_TOOL]


def told(stack: Stack, execution: str) -> Counter[tuple[str, str]]:
    """Count the events of tools by their kind and status."""
    events = [(event["event"], str(event["data"].get("status", ""))) for event in stack.events(execution)]
    return Counter(each for each in events if each[0].startswith("tool_"))


@pytest.mark.parametrize(
    ("tools", "own"),
    [
        pytest.param([LIST], 0, id="one"),
        pytest.param([LIST] * 4, 0, id="as many as a task makes"),
        pytest.param([LIST] * 5, 5, id="more than that"),
        pytest.param([LIST, TRUE], 2, id="beside a program"),
        pytest.param([{"name": "read_file", "arguments": {"path": "x" * 20_000}}], 1, id="with long arguments"),
    ],
)
def test_brief_calls_need_no_activity(stack: Stack, agent: str, tools: list[dict[str, Any]], own: int) -> None:
    execution = stack.execute(script({"tools": tools}, {"text": "Done."}), agent=agent)
    assert stack.wait(execution)["response"] == "Done."
    assert len(activities(stack, execution)) == own
    kinds = Counter(event["event"] for event in stack.events(execution))
    assert (kinds["tool_started"], kinds["tool_completed"]) == (len(tools), len(tools))


def test_a_call_that_is_not_over_soon_is_made_again_by_an_activity(stack: Stack, tmp_path: Path) -> None:
    queue, gate = stack.queue("gated"), tmp_path / "gate"
    os.mkfifo(gate)
    argv = [sys.executable, "-m", "tests.support.gated_files_worker", "--queue-id", queue]
    stack.start(argv, stack.worker_environment(GATE=str(gate))).expect("worker.ready")
    agent = stack.agent("gated", skills=[FILES])
    execution = stack.execute(script({"tools": [LIST]}, {"text": "Done."}), agent=agent, queue=queue)
    stack.first(execution, "tool_started")  # before it Temporal may not know the execution yet
    wait_until(lambda: activities(stack, execution), 60, "an activity of the call's own")
    with gate.open("w"):
        assert stack.wait(execution)["response"] == "Done."
    assert told(stack, execution) == {("tool_started", ""): 1, ("tool_completed", "success"): 1}


def test_a_call_waits_for_a_person_as_any_other_does(stack: Stack, agent: str) -> None:
    rule = {"name": "reads", "scope_type": "tool", "scope_value": "list_files", "priority": 99}
    made = stack.call("POST", "/approval-rules", rule)["id"]
    try:
        execution = stack.execute(script({"tools": [LIST]}, {"text": "Done."}), agent=agent)
        asked = stack.first(execution, "approval_requested")
        stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
        assert stack.wait(execution)["response"] == "Done."
    finally:
        stack.call("DELETE", f"/approval-rules/{made}?force=true")
    assert told(stack, execution) == {("tool_started", ""): 1, ("tool_completed", "success"): 1}
