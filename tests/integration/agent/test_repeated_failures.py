"""A call that fails again and again in the same way: the model is told, then a person, then the turn ends."""

from __future__ import annotations

import signal
import uuid
from typing import Any

import pytest

from tests.support.demo_scripts import script, shell
from tests.support.stack import Stack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
ASKS = {"name": "ask", "type": "ask_person", "configuration": {}}
FAILS = shell("cat nothing-is-here")
FOR_EVER = script({"loop": FAILS})


def agent(stack: Stack, *skills: dict[str, Any], **fields: Any) -> str:
    return stack.agent(f"agent-{uuid.uuid4().hex[:8]}", skills=[SHELL, *skills], **fields)


def results(stack: Stack, execution: str) -> list[str]:
    messages = stack.call("GET", f"/executions/{execution}/session")["messages"]
    return [x["content"] for x in messages if x["role"] == "tool"]


def told(contents: list[str]) -> list[bool]:
    return ["do not make this call again" in text for text in contents]


def test_the_model_is_told_after_five_and_the_turn_ends_after_two_more(stack: Stack) -> None:
    execution = stack.execute(FOR_EVER, agent=agent(stack))
    row = stack.wait(execution)
    assert row["status"] == "failed"
    assert 'shell {"command": "cat nothing-is-here"} has failed 7 times in the same way' in row["error_message"]
    assert "nothing-is-here: No such file" in row["error_message"]
    assert "do not make this call again" not in row["error_message"], "that is for the model"
    assert told(results(stack, execution)) == [False] * 4 + [True] * 3
    notices = [e["data"] for e in stack.events(execution) if e["event"] == "notice"]
    assert [n["kind"] for n in notices] == ["repeated_failure"] * 3 and "failed 5 times" in notices[0]["message"]


def test_other_calls_in_between_do_not_hide_it_and_the_number_can_be_set(stack: Stack) -> None:
    steps = [step for _ in range(4) for step in (FAILS, shell("true"))]
    prompt = script(*steps, {"text": "not reached"})
    execution = stack.execute(prompt, agent=agent(stack, configuration={"budgets": {"max_same_failures": 2}}))
    row = stack.wait(execution)
    assert "has failed 4 times" in row["error_message"] and len(results(stack, execution)) == 7


def test_a_call_that_gets_on_is_left_alone(stack: Stack) -> None:
    grows = shell("sh -c 'echo x >> log; cat log; false'")
    execution = stack.execute(script(*[grows] * 9, {"text": "Done."}), agent=agent(stack))
    assert stack.wait(execution)["response"] == "Done."
    assert not any(told(results(stack, execution)))


def test_a_person_is_asked_and_may_let_it_go_on_or_end_it(stack: Stack) -> None:
    execution = stack.execute(FOR_EVER, agent=agent(stack, ASKS))
    asked = stack.first(execution, "approval_requested")
    assert asked["tool_name"] == "go_on_after_failures"
    assert "has failed 7 times in the same way" in asked["reason"]
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
    again = None
    for event in stack.events(execution, until="nothing", timeout=60):
        if event["event"] == "approval_requested" and event["data"]["approval_id"] != asked["approval_id"]:
            again = event["data"]
            break
    assert again is not None
    stack.call("POST", f"/approvals/{again['approval_id']}/reject", {"reason": "it is not there"})
    row = stack.wait(execution)
    assert row["status"] == "failed" and "it is not there" in row["error_message"]
    assert len(results(stack, execution)) == 14


@pytest.mark.slow
def test_the_count_survives_the_worker(stack: Stack) -> None:
    queue = stack.queue(f"mortal-{uuid.uuid4().hex[:6]}")
    first = stack.worker(queue)
    steps = [FAILS, FAILS, FAILS, shell("sleep 1.5"), {"loop": FAILS}]
    execution = stack.execute(script(*steps), agent=agent(stack), queue=queue)
    for event in stack.events(execution, until="nothing", timeout=60):
        if event["event"] == "tool_started" and "sleep" in event["data"]["tool_arguments"]["command"]:
            break
    first.signal(signal.SIGKILL)
    first.wait()
    stack.worker(queue)
    row = stack.wait(execution, timeout=120)
    assert "has failed 7 times" in row["error_message"], row
    assert sum("No such file" in text for text in results(stack, execution)) == 7
