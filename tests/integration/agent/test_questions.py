"""An agent asks a person: the answer is the call's result, and nobody but a person gives it."""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.support.stack import Stack

ASK = {"name": "ask", "type": "ask_person"}


def ask(stack: Stack, *questions: dict[str, Any]) -> str:
    agent = stack.agent(f"asking-{uuid.uuid4().hex[:8]}", skills=[ASK])
    steps = [*({"tools": [{"name": "ask_person", "arguments": each}]} for each in questions), {"text": "Done."}]
    return stack.execute("demo:script " + json.dumps(steps), agent=agent)


def outcome(stack: Stack, execution: str) -> dict[str, Any]:
    """Return the outcome of the only tool call of the run."""
    row = stack.wait(execution)
    assert (row["status"], row["response"]) == ("completed", "Done.")
    (done,) = [e["data"] for e in stack.events(execution) if e["event"] == "tool_completed"]
    return dict(done)


def test_a_question_waits_for_a_person_whose_answer_is_the_result(stack: Stack) -> None:
    execution = ask(stack, {"question": "Which host?", "options": ["web-1", "web-2"]})
    asked = stack.first(execution, "approval_requested")
    assert asked["enforcement"]["question"] is True
    assert asked["tool_args"] == {"question": "Which host?", "options": ["web-1", "web-2"]}
    assert stack.wait(execution, "waiting_for_input")["status"] == "waiting_for_input"
    approve = f"/approvals/{asked['approval_id']}/approve"
    assert "must not be empty" in stack.call("POST", approve, {"answer": "  "}, 422)["detail"][0]["msg"]
    assert "at most 20,000" in stack.call("POST", approve, {"answer": "x" * 20_001}, 422)["detail"][0]["msg"]
    stack.call("POST", approve, {"answer": " web-3, näturally ✓ "})
    done = outcome(stack, execution)
    assert (done["status"], done["tool_output"]) == ("success", "web-3, näturally ✓")


def test_who_only_approves_can_answer_with_the_comment(stack: Stack) -> None:
    for body, said in (({"comment": "go on"}, "go on"), ({}, "The person said yes, and no more.")):
        execution = ask(stack, {"question": "May I?"})
        asked = stack.first(execution, "approval_requested")
        stack.call("POST", f"/approvals/{asked['approval_id']}/approve", body)
        assert outcome(stack, execution)["tool_output"] == said


def test_a_question_that_is_turned_down_is_told_to_the_model(stack: Stack) -> None:
    execution = ask(stack, {"question": "May I?"})
    asked = stack.first(execution, "approval_requested")
    stack.call("POST", f"/approvals/{asked['approval_id']}/reject", {"reason": "ask Ann"})
    done = outcome(stack, execution)
    assert done["outcome"] == "denied" and "ask Ann" in done["tool_error"]


def test_a_model_cannot_answer_its_own_question(stack: Stack) -> None:
    execution = ask(stack, {"question": "May I?", "answer": "yes"})
    done = outcome(stack, execution)
    assert done["status"] == "failed" and "answer is not in the schema" in done["tool_error"]


def test_an_approval_takes_no_answer(stack: Stack) -> None:
    agent = stack.agent(f"saving-{uuid.uuid4().hex[:8]}", skills=[{"name": "files", "type": "file_system"}])
    save = {"tools": [{"name": "save_file", "arguments": {"path": "a.txt", "content": "a"}}]}
    execution = stack.execute("demo:script " + json.dumps([save, {"text": "Done."}]), agent=agent)
    asked = stack.first(execution, "approval_requested")
    told = stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {"answer": "yes"}, 422)
    assert "not for an answer" in told["detail"][0]["msg"]
    stack.call("POST", f"/executions/{execution}/cancel")
