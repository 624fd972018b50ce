"""Approvals of the published control plane: its ids, its approvers, no signal and no job that expires them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.e2e.outcome_checks import SHELL, WatchedRun, check, of, shell
from tests.support.demo_scripts import script
from tests.support.published_stack import PublishedStack
from tests.support.stack import wait_until

STEPS = script({"text": "May I?", **shell("echo allowed")}, {"text": "Done."})


@pytest.fixture(scope="module", autouse=True)
def rule(stack: PublishedStack) -> str:
    body = {
        "name": "shell",
        "scope_type": "tool",
        "scope_value": "shell",
        "approver_type": "user_emails",
        "approver_value": "ops@acme.example",
        "timeout_minutes": 60,
    }
    return str(stack.call("POST", "/approval-rules", body)["id"])


def begin(stack: PublishedStack, steps: str = STEPS) -> WatchedRun:
    return WatchedRun(stack, stack.execute(steps, agent=stack.agent("asks", skills=[SHELL])))


def asked(stack: PublishedStack, run: WatchedRun) -> dict[str, Any]:
    """The server's row, once the run waits for it."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        found[:] = [a for a in stack.world.approvals.values() if a["execution_id"] == run.id]
        return bool(found) and stack.world.executions[run.id]["status"] == "waiting_for_input"

    wait_until(there, 60, f"{run.id} asks: {stack.world.executions[run.id]}")
    return found[0]


def test_a_call_that_is_approved_runs(stack: PublishedStack) -> None:
    run = begin(stack)
    approval = asked(stack, run)
    assert run.first("approval_requested")["approval_id"] == approval["id"]
    assert approval["approver_emails"] == ["ops@acme.example"] and approval["tool_args"] == {"command": "echo allowed"}
    stack.call("POST", f"/approvals/{approval['id']}/approve", {"comment": "fine"})
    check(stack, run, "completed", response="Done.")
    (done,) = of(run.events, "tool_completed")
    assert (done["status"], done["tool_output"].strip()) == ("success", "allowed")
    assert [a["id"] for a in stack.world.approvals.values() if a["execution_id"] == run.id] == [approval["id"]]


def test_a_call_that_is_rejected_fails_with_the_reason(stack: PublishedStack) -> None:
    run = begin(stack)
    approval = asked(stack, run)
    stack.call("POST", f"/approvals/{approval['id']}/reject", {"reason": "not today"})
    check(stack, run, "completed", response="Done.")
    (done,) = of(run.events, "tool_completed")
    assert (done["status"], done["outcome"]) == ("failed", "denied")
    assert "not today" in done["tool_error"]


def test_a_call_that_nobody_answers_fails_when_its_time_is_over(stack: PublishedStack) -> None:
    stack.world.minute = 0.05
    try:
        run = begin(stack)
        approval = asked(stack, run)
    finally:
        stack.world.minute = 60.0
    check(stack, run, "completed", response="Done.")
    assert stack.world.approvals[approval["id"]]["status"] == "pending"  # the server has no word for it
    (done,) = of(run.events, "tool_completed")
    assert (done["status"], done["outcome"]) == ("failed", "expired")


def test_a_cancelled_run_takes_no_answer_any_more(stack: PublishedStack) -> None:
    run = begin(stack)
    approval = asked(stack, run)
    assert stack.call("POST", f"/executions/{run.id}/cancel")["success"] is True
    check(stack, run, "cancelled", error="Cancelled")
    stack.call("POST", f"/approvals/{approval['id']}/approve", {})
    assert stack.world.executions[run.id]["status"] == "cancelled"
    assert not [d for d in of(run.events, "tool_completed") if d["status"] == "success"]


def test_many_at_once_each_have_their_own(stack: PublishedStack) -> None:
    two = {"tools": [{"name": "shell", "arguments": {"command": f"echo {n}"}} for n in ("one", "two")]}
    run = begin(stack, script(two, {"text": "Done."}))
    found: list[dict[str, Any]] = []

    def both() -> bool:
        found[:] = [a for a in stack.world.approvals.values() if a["execution_id"] == run.id]
        return len(found) == 2

    wait_until(both, 60, "both are asked for")
    for approval in found:
        word = "approve" if approval["tool_args"] == {"command": "echo one"} else "reject"
        stack.call("POST", f"/approvals/{approval['id']}/{word}", {})
    check(stack, run, "completed", response="Done.")
    outcomes = {d["tool_execution_id"]: d["outcome"] for d in of(run.events, "tool_completed")}
    assert sorted(outcomes.values()) == ["denied", "success"]
