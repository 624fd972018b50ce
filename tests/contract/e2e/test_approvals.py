"""Approvals on the published control plane: ids are its own, nothing is signalled, nothing expires by itself (A.9)."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.published_stack import PublishedStack
from tests.support.stack import wait_until

FILES = {"name": "files", "type": "file_system", "configuration": {}}
SAVE = {"tools": [{"name": "save_file", "arguments": {"path": "note.txt", "content": "hello"}}]}
PROMPT = "demo:script " + json.dumps([SAVE, {"text": "Done."}])


@pytest.fixture
def rule(stack: PublishedStack) -> Iterator[dict[str, Any]]:
    """Somebody has to allow `save_file`."""
    wanted = {"name": "files", "scope_type": "tool", "scope_value": "save_file", "enabled": True, "priority": 1}
    about = {"approver_type": "user_emails", "approver_value": stack.world.user["user_email"], "timeout_minutes": 60}
    made = stack.call("POST", "/approval-rules", wanted | about)
    yield stack.world.rules[made["id"]]
    stack.world.rules.pop(made["id"], None)


def asked(stack: PublishedStack, execution: str, count: int = 1) -> dict[str, Any]:
    """The row of the execution's request."""

    def rows() -> list[dict[str, Any]]:
        return [a for a in stack.world.approvals.values() if a["execution_id"] == execution]

    wait_until(lambda: len(rows()) >= count, 60, "it asks for approval")
    stack.wait(execution, "waiting_for_input")
    assert len(rows()) == count
    return rows()[-1]


def questions(stack: PublishedStack, execution: str) -> list[dict[str, Any]]:
    return [e["data"] for e in stack.world.events[execution] if e["event_type"] == "approval_requested"]


def start(stack: PublishedStack, **body: Any) -> str:
    return stack.execute(PROMPT, agent=stack.agent("writer", skills=[FILES]), **body)


def told(stack: PublishedStack, execution: str) -> dict[str, Any]:
    """Return the tool message of the call, as the model has read it."""
    stack.end(execution)
    return next(m for m in stack.world.sessions[execution]["messages"] if m["role"] == "tool")


def saved(stack: PublishedStack, execution: str) -> bool:
    return (stack.folder / "workspaces" / execution / "note.txt").exists()


def test_an_approval_runs_the_tool(stack: PublishedStack, rule: dict[str, Any]) -> None:
    execution = start(stack)
    row = asked(stack, execution)
    assert row["approver_emails"] == [stack.world.user["user_email"]] and row["rule_id"] == rule["id"]
    wait_until(lambda: questions(stack, execution), 60, "the stream has the question")
    (event,) = questions(stack, execution)
    assert event["approval_id"] == row["id"]
    assert stack.state(execution)["metadata"]["pending_approvals"][0]["approval_id"] == row["id"]
    stack.call("POST", f"/approvals/{row['id']}/approve", {})
    assert stack.end(execution)["status"] == "completed" and saved(stack, execution)


def test_a_rejection_is_told_to_the_model_and_the_run_goes_on(stack: PublishedStack, rule: dict[str, Any]) -> None:
    execution = start(stack)
    stack.call("POST", f"/approvals/{asked(stack, execution)['id']}/reject", {"reason": "not now"})
    assert "Reason: not now" in told(stack, execution)["content"]
    assert stack.end(execution)["status"] == "completed" and not saved(stack, execution)


def test_a_request_past_its_time_is_a_refusal_and_a_late_yes_changes_nothing(
    stack: PublishedStack, rule: dict[str, Any]
) -> None:
    execution = start(stack)
    row = asked(stack, execution)
    row["expires_at"] = (datetime.now(UTC) - timedelta(seconds=1)).replace(tzinfo=None).isoformat()
    assert "Nobody answered" in told(stack, execution)["content"]
    stack.call("POST", f"/approvals/{row['id']}/approve", {})
    assert stack.end(execution)["status"] == "completed" and not saved(stack, execution)


def test_a_yes_that_came_too_late_is_none(stack: PublishedStack, rule: dict[str, Any]) -> None:
    execution = start(stack)
    row = asked(stack, execution)
    row["expires_at"] = datetime.now(UTC).replace(tzinfo=None).isoformat()
    stack.call("POST", f"/approvals/{row['id']}/approve", {})
    assert "Nobody answered" in told(stack, execution)["content"] and not saved(stack, execution)


def test_a_late_decision_on_a_cancelled_run_changes_nothing(stack: PublishedStack, rule: dict[str, Any]) -> None:
    execution = start(stack)
    row = asked(stack, execution)
    stack.call("POST", f"/executions/{execution}/cancel")
    stack.closed(execution)
    stack.call("POST", f"/approvals/{row['id']}/approve", {})
    assert stack.end(execution)["status"] == "cancelled" and not saved(stack, execution)


def test_a_group_may_decide(stack: PublishedStack, rule: dict[str, Any]) -> None:
    rule |= {"approver_type": "group", "approver_value": "keepers"}
    stack.world.groups.append("keepers")
    execution = start(stack)
    row = asked(stack, execution)
    assert row["enforcement_context"]["approver_group_name"] == "keepers" and not row["approver_emails"]
    stack.call("POST", f"/approvals/{row['id']}/approve", {})
    assert stack.end(execution)["status"] == "completed" and saved(stack, execution)


def test_a_request_that_nobody_could_decide_is_told(stack: PublishedStack, rule: dict[str, Any]) -> None:
    user = dict(stack.world.user)
    rule |= {"approver_value": ""}
    stack.world.user |= {"user_email": None}
    try:
        execution = start(stack)
        assert "says who may decide" in told(stack, execution)["content"]
    finally:
        stack.world.user |= user
    assert not [a for a in stack.world.approvals.values() if a["execution_id"] == execution]


def test_a_request_that_was_made_before_the_worker_died_is_found(stack: PublishedStack, rule: dict[str, Any]) -> None:
    """Killed between the request and its record: the next worker waits for the first one, and makes no second."""
    queue = stack.call(
        "POST", f"/environments/{next(iter(stack.world.environments))}/worker-queues", {"name": "killed"}
    )
    marks = {"KILL_COUNT_FILE": str(stack.folder / "count"), "KILL_UNDER_WAY_FILE": str(stack.folder / "last")}
    first = stack.worker(queue["id"], kill_at="request_approval:1:after", **marks)
    execution = stack.execute(PROMPT, agent=stack.agent("writer", skills=[FILES]), queue=queue["id"])
    assert first.wait(60) == -signal.SIGKILL
    assert len([a for a in stack.world.approvals.values() if a["execution_id"] == execution]) == 1
    stack.worker(queue["id"])
    wait_until(lambda: len(questions(stack, execution)) == 2, 60, "the next worker asks")
    row = asked(stack, execution)
    stack.call("POST", f"/approvals/{row['id']}/approve", {})
    assert stack.end(execution)["status"] == "completed" and saved(stack, execution)
