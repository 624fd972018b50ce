"""Executions against a provider whose prompt cache is as strict as Anthropic's."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from kubiya_worker.activities.summary import PROMPT as ORDER
from tests.support.prompt_cache import CachingEndpoint
from tests.support.stack import Stack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"]}}
PROMPT = "You look after the hosts of a small company. " * 120
CLAUDE = "kubiya/claude-sonnet-4-5"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[CachingEndpoint]:
    with CachingEndpoint() as running:
        yield running


@pytest.fixture(scope="module")
def queue(stack: Stack, endpoint: CachingEndpoint) -> str:
    name = stack.queue("caching")
    stack.worker(name, LITELLM_API_BASE=endpoint.url, LITELLM_API_KEY="sk-test")
    return name


def agent_of(stack: Stack, model: str = CLAUDE, **fields: Any) -> str:
    name = f"agent-{uuid.uuid4().hex[:8]}"
    prompt = f"You are {name}. {PROMPT}"  # of its own: what another agent has left in the cache does not fit
    return stack.agent(name, skills=[SHELL], model_id=model, system_prompt=prompt, **fields)


def run(
    stack: Stack, endpoint: CachingEndpoint, queue: str, agent: str, steps: int, summary: str | None = "THE SUMMARY"
) -> tuple[str, dict[str, Any], Any]:
    """(execution id, its row, the bodies of its requests)."""
    tools = [{"name": "shell", "arguments": {"command": "echo " + "word " * 60}}]
    asked = [{"text": summary, "when": ORDER[:40], "forever": True}] if summary else []
    endpoint.script = [*asked, *({"tools": tools} for _ in range(steps - 1))]
    endpoint.default, before = {"text": "Done."}, endpoint.count
    execution = stack.execute("Look around.", agent=agent, queue=queue)
    return execution, stack.wait(execution), [r["body"] for r in endpoint.requests[before:]]


def test_two_executions_of_an_agent_share_their_prefix_to_the_byte(
    stack: Stack, endpoint: CachingEndpoint, queue: str
) -> None:
    agent = agent_of(stack)
    first, second = (run(stack, endpoint, queue, agent, 3) for _ in range(2))
    assert first[1]["status"] == second[1]["status"] == "completed"
    for earlier, later in zip(first[2], second[2], strict=True):
        assert json.dumps(earlier["tools"]) == json.dumps(later["tools"])
        assert earlier["messages"][0] == later["messages"][0]
    bare = [
        json.loads(json.dumps(body["messages"]).replace(', "cache_control": {"type": "ephemeral"}', ""))
        for body in second[2]
    ]
    assert bare[1][: len(bare[0])] == bare[0] and bare[2][: len(bare[1])] == bare[1]
    usage = second[1]["usage"]
    assert usage["cache_read_tokens"] > usage["input_tokens"] / 2
    assert usage["saved_usd"] > 0 and usage["cost_usd"] > 0


def test_what_is_cached_stands_in_the_event_of_each_step(stack: Stack, endpoint: CachingEndpoint, queue: str) -> None:
    execution, _, bodies = run(stack, endpoint, queue, agent_of(stack), 3)
    said = [
        event["data"]["usage"]
        for event in stack.events(execution)
        if event["event"] == "message" and event["data"].get("role") == "assistant"
    ]
    assert len(said) == len(bodies) == 3
    assert said[0]["cache_creation_tokens"] and not said[0]["cache_read_tokens"]
    assert all(usage["cache_read_tokens"] for usage in said[1:])


def test_an_execution_that_never_reads_from_the_cache_says_so_once(
    stack: Stack, endpoint: CachingEndpoint, queue: str
) -> None:
    endpoint.cache.least, before = 10**9, endpoint.cache.least
    try:
        execution, row, _ = run(stack, endpoint, queue, agent_of(stack), 8)
    finally:
        endpoint.cache.least = before
    assert row["status"] == "completed" and not row["usage"]["cache_read_tokens"]
    notices = [e["data"] for e in stack.events(execution) if e["event"] == "notice"]
    assert [n["kind"] for n in notices].count("caching") == 1
    assert "none has read from it" in next(n["message"] for n in notices if n["kind"] == "caching")


def test_a_word_that_is_no_time_fails_the_execution_before_a_call(
    stack: Stack, endpoint: CachingEndpoint, queue: str
) -> None:
    agent = agent_of(stack, model_config={"caching": "2h"})
    _, row, bodies = run(stack, endpoint, queue, agent, 1)
    assert row["status"] == "failed" and not bodies
    assert "caching" in row["error_message"] and "off, 5m, 1h" in row["error_message"]


def test_the_summary_is_asked_for_behind_the_cached_conversation(
    stack: Stack, endpoint: CachingEndpoint, queue: str
) -> None:
    agent = agent_of(stack, configuration={"compaction": {"at_tokens": 2200}})
    _, row, bodies = run(stack, endpoint, queue, agent, 10)
    assert row["status"] == "completed"
    assert any("THE SUMMARY" in json.dumps(body["messages"]) for body in bodies)
    asked = [at for at, body in enumerate(bodies) if ORDER[:40] in json.dumps(body["messages"][-1])]
    assert asked
    charges = endpoint.cache.charges[-len(bodies) :]
    for at in asked:
        assert bodies[at]["tools"] == bodies[at - 1]["tools"]
        assert charges[at].read > charges[at].input / 2, charges[at]


def test_a_model_that_calls_a_tool_instead_is_given_the_conversation_as_a_text(
    stack: Stack, endpoint: CachingEndpoint, queue: str
) -> None:
    agent = agent_of(stack, configuration={"compaction": {"at_tokens": 2200}})
    _, row, bodies = run(stack, endpoint, queue, agent, 8, summary=None)
    assert row["status"] == "completed"
    asked = [body for body in bodies if ORDER[:40] in json.dumps(body["messages"])]
    assert "tools" in asked[0] and "tools" not in asked[1]
