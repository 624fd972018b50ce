"""Budgets on a real stack: what a reached limit does, what it costs, and what a person can do about it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.demo_scripts import script
from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Stack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
STEP = {"tools": [{"name": "shell", "arguments": {"command": "true"}}]}


def agent(stack: Stack, model: str = "demo", **budgets: Any) -> str:
    return stack.agent(
        f"agent-{uuid.uuid4().hex[:8]}", skills=[SHELL], model_id=model, configuration={"budgets": budgets}
    )


def question(stack: Stack, execution: str, number: int) -> dict[str, Any]:
    """The request for more budget with that number (1 is the first), as its event has it."""
    for event in stack.events(execution, until="nothing", timeout=60):
        if event["event"] == "approval_requested" and event["data"]["tool_execution_id"] == f"raise_budget_{number}":
            return dict(event["data"])
    raise AssertionError(f"no question {number}")


def test_a_person_raises_the_limit_and_the_run_goes_on(stack: Stack) -> None:
    execution = stack.execute(
        script(STEP, STEP, STEP, {"text": "Done."}), agent=agent(stack, max_steps=1, on_limit="ask")
    )
    first = question(stack, execution, 1)
    assert (first["tool_name"], first["tool_args"]) == ("raise_budget", {"max_steps": 2})
    assert stack.wait(execution, "waiting_for_input")["status"] == "waiting_for_input"
    stack.call("POST", f"/approvals/{first['approval_id']}/approve", {})
    second = question(stack, execution, 2)
    assert second["tool_args"] == {"max_steps": 3}
    assert "budget of 2 model calls is used up" in second["reason"]
    stack.call("POST", f"/approvals/{second['approval_id']}/approve", {"arguments": {"max_steps": 10}})
    row = stack.wait(execution)
    assert (row["status"], row["response"]) == ("completed", "Done.")


def test_a_person_who_does_not_raise_it_ends_the_run(stack: Stack) -> None:
    execution = stack.execute(script(STEP, {"text": "Done."}), agent=agent(stack, max_steps=1, on_limit="ask"))
    asked = question(stack, execution, 1)
    stack.call("POST", f"/approvals/{asked['approval_id']}/reject", {"reason": "enough"})
    row = stack.wait(execution)
    assert row["status"] == "failed"
    assert "budget of 1 model call is used up" in row["error_message"] and "enough" in row["error_message"]


def test_limits_that_cannot_be_read_are_refused_with_the_definition_and_by_the_worker(stack: Stack) -> None:
    wrong = {"budgets": {"max_steps": 0}}
    told = stack.call("POST", "/agents", {"name": "unlimited", "configuration": wrong}, 422)
    assert "budgets.max_steps is a whole number above 0, not 0" in told["detail"][0]["msg"]
    stack.call("PATCH", f"/agents/{agent(stack)}", {"configuration": {"budgets": "lots"}}, 422)
    loose = agent(stack)
    stack.store("agents", loose, configuration={"budgets": {"max_stepz": 5}})
    row = stack.wait(stack.execute(script({"text": "x"}), agent=loose))
    assert row["status"] == "failed"
    assert "budgets has no 'max_stepz'" in row["error_message"] and "docs/budgets.md" in row["error_message"]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[ModelEndpoint]:
    with ModelEndpoint() as running:
        yield running


@pytest.fixture(scope="module")
def queue(stack: Stack, endpoint: ModelEndpoint, tmp_path_factory: pytest.TempPathFactory) -> str:
    table = Path(tmp_path_factory.mktemp("prices")) / "prices.yaml"
    table.write_text("models:\n  gpt-test: {input: 1000, output: 2000}\n")
    name = stack.queue("priced")
    stack.worker(name, OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-test", KUBIYA_MODEL_PRICES=str(table))
    return name


def test_cost_is_counted_and_is_a_limit(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    tools = [{"name": "shell", "arguments": {"command": "true"}}]
    tokens = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}  # 0.2 USD
    endpoint.script = [{"tools": tools, "usage": tokens}] * 4
    execution = stack.execute("Go.", agent=agent(stack, "gpt-test", max_cost_usd=0.5), queue=queue)
    row = stack.wait(execution)
    assert row["status"] == "failed", row
    assert "The budget of 0.5 USD is used up (0.6 used)." in row["error_message"]
    assert row["usage"]["cost_usd"] == 0.6, "three calls: a call is not begun when the limit is reached"
    details = stack.call("GET", f"/analytics/executions/{execution}/details")
    assert details["turns"][0]["total_cost"] == 0.6


def test_a_limit_of_cost_without_a_price_is_refused(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    before = endpoint.count
    row = stack.wait(stack.execute("Go.", agent=agent(stack, "our-own", max_cost_usd=1), queue=queue))
    assert row["status"] == "failed"
    assert "'our-own' has no known price" in row["error_message"] and "KUBIYA_MODEL_PRICES" in row["error_message"]
    assert endpoint.count == before, "nothing was spent"
