"""A whole run through each shape of model endpoint, OpenAI's, Anthropic's and Google's, with real tools.

The endpoint refuses conversations that the real ones refuse (tests/support/model_shapes.py): a request that it answers
was rightly made.
"""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from kubiya_worker.models.choice import installed
from kubiya_worker.protocol import event_shapes
from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Stack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["echo"]}}
MODELS = {"openai": "gpt-test", "anthropic": "anthropic:claude-sonnet-5", "google": "google:gemini-3-pro-preview"}
PACKAGES = {"anthropic": "anthropic", "google": "google.genai"}


@pytest.fixture(scope="module")
def queue(stack: Stack, endpoint: ModelEndpoint) -> str:
    name = stack.queue("providers")
    stack.worker(
        name,
        OPENAI_BASE_URL=endpoint.url,
        OPENAI_API_KEY="sk-test-canary",
        ANTHROPIC_BASE_URL=endpoint.root,
        ANTHROPIC_API_KEY="sk-ant-canary",
        GOOGLE_GEMINI_BASE_URL=endpoint.root,
        GOOGLE_API_KEY="sk-goo-canary",
    )
    return name


@pytest.fixture(params=MODELS)
def shape(request: pytest.FixtureRequest) -> str:
    if request.param in PACKAGES and not installed(PACKAGES[request.param]):
        pytest.skip(f"{PACKAGES[request.param]} is not installed")
    return str(request.param)


class Ran:
    """One execution against a script."""

    def __init__(
        self, stack: Stack, endpoint: ModelEndpoint, queue: str, shape: str, *script: dict[str, Any], **body: Any
    ) -> None:
        endpoint.script = list(script)
        before = endpoint.count
        config = {"thinking": "low"}
        agent = stack.agent(f"a-{uuid.uuid4().hex[:8]}", skills=[SHELL], model_id=MODELS[shape], llm_config=config)
        self.execution = stack.execute("Do it.", agent=agent, queue=queue, **body)
        self.events = list(stack.events(self.execution))
        self.row = stack.execution(self.execution)
        self.requests = endpoint.requests[before:]
        assert [p for event in self.events for p in event_shapes.problems(event["event"], event["data"])] == []
        assert "canary" not in str(self.events) + str(self.row)

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [event["data"] for event in self.events if event["event"] in kinds]


def echo(word: str) -> dict[str, Any]:
    return {"name": "shell", "arguments": {"command": f"echo {word}"}}


def test_thoughts_parallel_tools_and_an_answer(stack: Stack, endpoint: ModelEndpoint, queue: str, shape: str) -> None:
    pairs = [{"thinking": "I look", "text": "Looking. "}, {"thinking": "twice"}]
    first = {"thinking": pairs, "tools": [echo("left"), echo("right")]}
    second = {"thinking": "once more", "tools": [echo("again")]}
    ran = Ran(stack, endpoint, queue, shape, first, second, {"text": "Both, and again."})
    assert (ran.row["status"], ran.row["response"]) == ("completed", "Both, and again."), ran.row
    assert len(ran.requests) == 3
    assert sorted(data["tool_output"].strip() for data in ran.of("tool_completed")) == ["again", "left", "right"]
    sent = str(ran.requests[1]["body"])
    assert sent.index("left") < sent.index("right")
    told = [event for event in ran.events if event["event"].startswith("thinking_")]
    thoughts: dict[tuple[str, int], str] = {}
    order: list[str] = []
    for event in told:
        key = (event["data"]["message_id"], event["data"]["index"])
        if event["event"] == "thinking_start":
            thoughts[key] = ""
        elif event["event"] == "thinking_delta":
            thoughts[key] += event["data"]["thinking"]
        order.append(event["event"].removeprefix("thinking_"))
    assert " ".join(thoughts.values()).replace("Itwice", "I twice") in (
        "I look twice once more",
        "I looktwice once more",
    )
    assert order[0] == "start" and order[-1] == "complete" and order.count("start") == order.count("complete")
    signed = [data["signature"] for data in ran.of("thinking_complete")]
    assert all(signed) if shape == "anthropic" else not any(signed)


def test_a_conversation_goes_on_with_its_thoughts(
    stack: Stack, endpoint: ModelEndpoint, queue: str, shape: str
) -> None:
    endpoint.script = [{"thinking": "hm", "tools": [echo("one")]}, {"thinking": "so", "text": "First."}]
    agent = stack.agent(
        f"a-{uuid.uuid4().hex[:8]}", skills=[SHELL], model_id=MODELS[shape], llm_config={"thinking": "low"}
    )
    before = endpoint.count
    execution = stack.execute("Do it.", agent=agent, queue=queue, execution_metadata={"interactive": True})
    stack.wait_for_turn(execution, 1)
    endpoint.script = [{"thinking": "more", "tools": [echo("two")]}, {"text": "Second."}]
    stack.call("POST", f"/executions/{execution}/message", {"message": "And now?"})
    stack.wait_for_turn(execution, 2)
    stack.call("POST", f"/executions/{execution}/mark-done")
    row = stack.wait(execution)
    assert (row["status"], row["response"]) == ("completed", "Second."), row
    assert endpoint.count - before == 4


def test_a_refusal_ends_the_run_and_says_so(stack: Stack, endpoint: ModelEndpoint, queue: str, shape: str) -> None:
    ran = Ran(stack, endpoint, queue, shape, {"tools": [echo("x")]}, {"refusal": "I cannot help with that."})
    assert ran.row["status"] == "failed"
    assert ran.row["error_message"].startswith("The model at ") and "\n" not in ran.row["error_message"]
    assert "refused to answer" in ran.row["error_message"] and "I cannot help with that" in ran.row["error_message"]
    assert len(ran.requests) == 2
    turns = stack.call("GET", f"/analytics/executions/{ran.execution}/details")["turns"]
    assert turns[-1]["finish_reason"] == "error"  # the judge of a published control plane knows no other word


def test_an_answer_that_is_none_is_paid_for_too(stack: Stack, endpoint: ModelEndpoint, queue: str, shape: str) -> None:
    """A refusal, and answers that cannot be used and are asked for again: each has been paid for."""
    good = Ran(stack, endpoint, queue, shape, {"text": "Yes."})
    asked = good.row["usage"]["input_tokens"]
    assert asked > 0
    refused = Ran(stack, endpoint, queue, shape, {"refusal": "No."})
    assert (refused.row["status"], refused.row["usage"]["input_tokens"]) == ("failed", asked)
    [turn] = stack.call("GET", f"/analytics/executions/{refused.execution}/details")["turns"]
    assert turn["input_tokens"] == asked
    if shape == "google":
        wrong = {"tools": [{"name": "shell", "arguments": '{"command": "echo'}]}
        again = Ran(stack, endpoint, queue, shape, wrong, wrong, {"text": "Yes."})
        assert (again.row["status"], again.row["usage"]["input_tokens"]) == ("completed", 3 * asked)


def test_a_conversation_beyond_the_window_ends_the_run_and_says_so(
    stack: Stack, endpoint: ModelEndpoint, queue: str, shape: str
) -> None:
    ran = Ran(stack, endpoint, queue, shape, {"fault": "context_overflow"})
    assert ran.row["status"] == "failed" and len(ran.requests) == 1
    assert ran.row["error_message"].endswith(
        "Shorten the conversation or choose a model with a larger context window"
    ), ran.row


def test_a_conversation_beyond_the_window_is_summed_up_between_thoughts_and_tools(
    stack: Stack, endpoint: ModelEndpoint, queue: str, shape: str
) -> None:
    """The rest begins with an answer that has thoughts and calls; not every provider accepts that at first."""
    steps = [{"thinking": f"step {n}", "tools": [echo(f"left-{n}"), echo(f"right-{n}")]} for n in range(3)]
    overflow, summary = {"fault": "context_overflow"}, {"thinking": "so", "text": "THE SUMMARY"}
    ran = Ran(stack, endpoint, queue, shape, *steps, overflow, summary, {"thinking": "on", "text": "Done."})
    assert (ran.row["status"], ran.row["response"]) == ("completed", "Done."), ran.row
    assert len(ran.requests) == 6
    last = str(ran.requests[-1]["body"])
    assert "THE SUMMARY" in last and "left-2" in last and "right-2" in last and "left-0" not in last
    assert [notice["kind"] for notice in ran.of("notice")] == ["compaction"]


def test_what_passes_is_waited_out(stack: Stack, endpoint: ModelEndpoint, queue: str, shape: str) -> None:
    busy = {"fault": "rate_limited", "headers": {"Retry-After": "2"}}
    cut = {"thinking": "one", "text": "two three four five", "cut_after": 4}
    ran = Ran(stack, endpoint, queue, shape, busy, {"fault": "overloaded"}, cut, {"text": "two three four five"})
    assert (ran.row["status"], ran.row["response"]) == ("completed", "two three four five")
    assert [notice["kind"] for notice in ran.of("notice")] == ["rate_limited", "unavailable", "cut_stream"]
    assert ran.requests[1]["at"] - ran.requests[0]["at"] >= 2.0
    text = ""
    for event in ran.events:
        if event["event"] == "reset_chunks":
            text = ""
        elif event["event"] == "message_chunk":
            text += event["data"]["content"]
    assert text == "two three four five"


def test_malformed_arguments_run_nothing_and_the_run_goes_on(
    stack: Stack, endpoint: ModelEndpoint, queue: str, shape: str
) -> None:
    wrong = {"tools": [{"name": "shell", "arguments": '{"command": "echo'}]}
    ran = Ran(stack, endpoint, queue, shape, wrong, {"tools": [echo("well-formed")]}, {"text": "Got it."})
    assert ran.row["response"] == "Got it."
    outcomes = [data["outcome"] for data in ran.of("tool_completed")]
    assert outcomes == (["success"] if shape == "google" else ["failed", "success"])  # Google's own call fails


def test_a_wrong_key_ends_the_run_at_once(stack: Stack, endpoint: ModelEndpoint, queue: str, shape: str) -> None:
    ran = Ran(stack, endpoint, queue, shape, {"fault": "auth"})
    assert ran.row["status"] == "failed" and "refused the key" in ran.row["error_message"]
    assert len(ran.requests) == 1
