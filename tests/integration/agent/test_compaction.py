"""A conversation that becomes too long for the model is summed up, and goes on; nothing of it is lost."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Stack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
OVERFLOW = {
    "status": 400,
    "body": {
        "error": {"message": "This model's maximum context length is 10 tokens", "code": "context_length_exceeded"}
    },
}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[ModelEndpoint]:
    with ModelEndpoint() as running:
        yield running


@pytest.fixture(scope="module")
def queue(stack: Stack, endpoint: ModelEndpoint) -> str:
    name = stack.queue("compaction")
    stack.worker(name, OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-test")
    return name


def run(
    stack: Stack, endpoint: ModelEndpoint, queue: str, script: list[dict[str, Any]], **configuration: Any
) -> tuple[str, dict[str, Any], list[str]]:
    """(execution id, its row, the requests that the endpoint got, each as text)."""
    endpoint.script, before = list(script), endpoint.count
    agent = stack.agent(
        f"agent-{uuid.uuid4().hex[:8]}", skills=[SHELL], model_id="gpt-test", configuration=configuration
    )
    execution = stack.execute("Find the needle.", agent=agent, queue=queue)
    row = stack.wait(execution)
    return execution, row, [json.dumps(r["body"]["messages"]) for r in endpoint.requests[before:]]


def tool(text: str, tokens: int) -> dict[str, Any]:
    usage = {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1}
    return {"tools": [{"name": "shell", "arguments": {"command": f"echo {text}"}}], "usage": usage}


def test_past_the_threshold_the_model_gets_a_summary(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    script = [tool("hay-one", 50), tool("hay-two", 150), {"text": "THE SUMMARY"}, {"text": "Here."}]
    execution, row, asked = run(stack, endpoint, queue, script, compaction={"at_tokens": 100})
    assert (row["status"], row["response"]) == ("completed", "Here.")
    assert len(asked) == 4
    assert "You summarise a conversation" in asked[2] and "Find the needle." in asked[2] and "hay-one" in asked[2]
    assert "THE SUMMARY" in asked[3] and "hay-two" in asked[3], "what is new stays word for word"
    assert "hay-one" not in asked[3] and "Find the needle." not in asked[3]
    messages = stack.call("GET", f"/executions/{execution}/session")["messages"]
    assert [x["role"] for x in messages] == ["user", *("assistant", "tool") * 2, "system", "assistant"]
    assert messages[0]["content"] == "Find the needle.", "all of it is kept"
    notices = [e["data"] for e in stack.events(execution) if e["event"] == "notice"]
    assert [n["kind"] for n in notices] == ["compaction"]
    assert row["usage"]["input_tokens"] > 200, "the summary is counted"


def test_a_provider_that_says_it_is_too_long_is_given_less(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    script = [tool("hay-one", 5), tool("hay-two", 5), OVERFLOW, {"text": "THE SUMMARY"}, {"text": "Here."}]
    _, row, asked = run(stack, endpoint, queue, script)
    assert (row["status"], row["response"]) == ("completed", "Here.")
    assert "THE SUMMARY" in asked[4] and "hay-one" not in asked[4]


def test_it_ends_when_less_is_still_too_much(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    script = [tool("hay-one", 5), OVERFLOW, {"text": "THE SUMMARY"}, OVERFLOW, OVERFLOW, OVERFLOW]
    _, row, asked = run(stack, endpoint, queue, script)
    assert row["status"] == "failed" and "maximum context length" in row["error_message"]
    assert len(asked) == 4, "no summary of a summary alone"


def test_false_is_no(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    _, row, asked = run(stack, endpoint, queue, [tool("hay", 5), OVERFLOW], compaction=False)
    assert row["status"] == "failed" and len(asked) == 2
    _, row, asked = run(stack, endpoint, queue, [], compaction="perhaps")
    assert row["status"] == "failed" and "compaction is false or" in row["error_message"] and not asked
