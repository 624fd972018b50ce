"""The worker's client through a real LiteLLM proxy to an endpoint that holds to Anthropic's rules."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest

from kubiya_worker.models import Endpoint, ModelError, ModelReply, ModelRequest, Models, base, listing
from kubiya_worker.protocol.messages import Message
from kubiya_worker.protocol.tools import ToolSpec
from tests.support.prompt_cache import CachingEndpoint

from .conftest import KEY, Gateway

pytestmark = pytest.mark.slow

MODEL = "our/claude"
PROMPT = "You look after the hosts of a small company. " * 120
SHELL = ToolSpec("shell", "run a command", {"type": "object", "properties": {"command": {"type": "string"}}})
LS = {"name": "shell", "arguments": {"command": "ls"}}


@pytest.fixture(autouse=True)
def fresh(endpoint: CachingEndpoint) -> None:
    endpoint.script.clear()
    endpoint._kept.clear()


def converse(gateway: Gateway, steps: int, settings: dict[str, Any]) -> list[ModelReply]:
    """A run of `steps` model calls in which each result goes back."""

    async def run() -> list[ModelReply]:
        models = Models(Endpoint(gateway.url, KEY), {})
        messages: list[Message] = [{"role": "user", "content": "Look around."}]
        metadata = {"trace_id": "t-1", "generation_name": "agent-chat"}
        replies = []
        try:
            for _ in range(steps):
                request = ModelRequest(MODEL, PROMPT, messages, [SHELL], settings, metadata)
                reply = [item async for item in models.select(MODEL).stream(request)][-1]
                assert isinstance(reply, ModelReply)
                replies.append(reply)
                said: Message = {"role": "assistant", "content": reply.content, "tool_calls": reply.tool_calls}
                said["thinking"] = reply.thinking
                kept: Message = json.loads(json.dumps(said))  # as the conversation keeps it
                messages = [*messages, kept] + [
                    {"role": "tool", "content": "done " * 100, "tool_call_id": call["id"], "tool_name": "shell"}
                    for call in reply.tool_calls
                ]
        finally:
            await models.close()
        return replies

    return asyncio.run(run())


def test_it_is_a_real_one_and_lists_its_model(litellm: Gateway) -> None:
    assert litellm.version
    found = listing.ask(listing.ListedEndpoint("", litellm.url, KEY))
    assert [each.name for each in found.models] == [MODEL], found.fault
    wrong = listing.ask(listing.ListedEndpoint("", litellm.url, "sk-wrong")).fault
    assert wrong is not None and "sk-wrong" not in wrong.line()


def test_cache_marks_arrive_and_what_is_read_is_counted(litellm: Gateway, endpoint: CachingEndpoint) -> None:
    endpoint.script[:] = [*({"text": f"Step {n}.", "tools": [LS]} for n in range(7)), {"text": "Done."}]
    before = len(endpoint.cache.charges)
    replies = converse(litellm, 8, {})
    charges = endpoint.cache.charges[before:]
    assert len(charges) == 8 and all(3 <= charge.marks <= 4 for charge in charges)
    for earlier, later in itertools.pairwise(charges):
        assert later.read >= earlier.read + earlier.written
    assert sum(c.read for c in charges) >= 0.8 * sum(c.input for c in charges)
    for reply, charge in zip(replies, charges, strict=True):
        assert reply.usage.cache_read_tokens == charge.read
        assert reply.usage.cache_creation_tokens == charge.written
        assert reply.usage.input_tokens == charge.input


def test_thinking_with_tools_comes_back_with_its_signature(litellm: Gateway, endpoint: CachingEndpoint) -> None:
    endpoint.script[:] = [
        {"thinking": "First I list the folder.", "text": "I look.", "tools": [LS]},
        {"thinking": "Now the other one.", "tools": [LS, LS]},
        {"text": "Both are there."},
    ]
    *thought, last = converse(litellm, 3, {"thinking": "medium", "max_tokens": 8000})
    assert last.content == "Both are there."
    assert all(reply.thinking for reply in thought)
    sent = endpoint.requests[-1]["body"]
    assert (sent.get("thinking") or {}).get("type") in ("enabled", "adaptive")
    blocks = [block for m in sent["messages"] if m["role"] == "assistant" for block in m["content"]]
    thoughts = [block["thinking"] for block in blocks if block["type"] == "thinking"]
    assert thoughts == ["First I list the folder.", "Now the other one."]


@pytest.mark.parametrize(
    ("fault", "kind", "retryable"),
    [
        ("context_overflow", base.CONTEXT_OVERFLOW, False),
        ("rate_limited", base.RATE_LIMITED, True),
        ("overloaded", base.UNAVAILABLE, True),
        ("server_error", base.UNAVAILABLE, True),
        ("auth", base.AUTH, False),
        ("bad_request", base.BAD_REQUEST, False),
    ],
)
def test_faults_keep_their_class(
    litellm: Gateway, endpoint: CachingEndpoint, fault: str, kind: str, retryable: bool
) -> None:
    endpoint.script[:] = [{"fault": fault, "forever": True}]
    with pytest.raises(ModelError) as caught:
        converse(litellm, 1, {})
    assert (caught.value.kind, caught.value.retryable) == (kind, retryable), caught.value.line()
    assert "canary" not in caught.value.line()
