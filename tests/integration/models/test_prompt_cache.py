"""The prompt cache, as strict as Anthropic's: what is marked, what is read back, and what that costs."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from kubiya_worker.models import Endpoint, ModelReply, ModelRequest, Models
from kubiya_worker.models.choice import installed
from kubiya_worker.protocol.messages import Message
from tests.support.prompt_cache import CachingEndpoint, Charge, PromptCache

from .conftest import KEY, SHELL, user

PROMPT = "You are ops. " * 300
ENVIRON = {"ANTHROPIC_API_KEY": "sk-ant-canary"}
MODELS = ["kubiya/claude-sonnet-4", "anthropic:claude-sonnet-5"]


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[CachingEndpoint]:
    with CachingEndpoint() as running:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", running.root)
        yield running


def converse(endpoint: CachingEndpoint, model: str, steps: int, *, parallel: int = 1, **fields: Any) -> list[Charge]:
    """A run of `steps` model calls; each but the last asks for `parallel` tools. Returns what each was charged."""
    tools = [{"name": "shell", "arguments": {"command": "ls"}} for _ in range(parallel)]
    endpoint.script[:] = [{"text": f"Step {n}.", "tools": tools} for n in range(steps - 1)] + [{"text": "Done."}]

    async def run() -> None:
        models = Models(Endpoint(endpoint.url, KEY), ENVIRON)
        messages: list[Message] = [user("Look around.")]
        request = {"system_prompt": PROMPT, "tools": [SHELL], **fields}
        for _ in range(steps):
            stream = models.select(model).stream(ModelRequest(model, messages=messages, **request))
            reply = [item async for item in stream][-1]
            assert isinstance(reply, ModelReply)
            charge = endpoint.cache.charges[-1]
            assert reply.usage.input_tokens == charge.input
            assert (reply.usage.cache_read_tokens, reply.usage.cache_creation_tokens) == (charge.read, charge.written)
            messages = [*messages, {"role": "assistant", "content": reply.content, "tool_calls": reply.tool_calls}]
            messages += [
                {"role": "tool", "content": f"{call['id']} " * 200, "tool_call_id": call["id"], "tool_name": "shell"}
                for call in reply.tool_calls
            ]
        await models.close()

    before = len(endpoint.cache.charges)
    asyncio.run(run())
    return endpoint.cache.charges[before:]


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> str:
    if request.param.startswith("anthropic") and not installed("anthropic"):
        pytest.skip("anthropic is not installed")
    return str(request.param)


def test_each_step_reads_all_that_the_step_before_has_sent(endpoint: CachingEndpoint, model: str) -> None:
    charges = converse(endpoint, model, 12)
    for before, after in itertools.pairwise(charges):
        assert after.read == before.read + before.written
        assert after.plain == 0
    assert sum(c.read for c in charges) / sum(c.input for c in charges) > 0.8


def test_many_parallel_calls_do_not_push_the_prefix_out_of_reach(endpoint: CachingEndpoint, model: str) -> None:
    charges = converse(endpoint, model, 4, parallel=15)
    for before, after in itertools.pairwise(charges):
        assert after.read >= before.read + before.written


def test_a_second_execution_reads_tools_and_system_of_the_first(endpoint: CachingEndpoint, model: str) -> None:
    converse(endpoint, model, 2)
    later = converse(endpoint, model, 2)
    assert later[0].read > 900


@pytest.mark.parametrize("word", ["off", False])
def test_nothing_is_marked_when_caching_is_off(endpoint: CachingEndpoint, model: str, word: object) -> None:
    assert all(c.marks == 0 for c in converse(endpoint, model, 3, settings={"caching": word}))
    assert "cache_control" not in json.dumps([r["body"] for r in endpoint.requests])


def test_an_hour_is_asked_for_when_the_agent_says_so(endpoint: CachingEndpoint, model: str) -> None:
    now = [0.0]
    endpoint.cache = PromptCache(clock=lambda: now[0])
    converse(endpoint, model, 2, settings={"caching": "1h"})
    now[0] = 1800.0
    assert converse(endpoint, model, 2, settings={"caching": "1h"})[0].read
    now[0] = 9000.0
    assert not converse(endpoint, model, 2, settings={"caching": "1h"})[0].read


def test_other_models_behind_a_gateway_get_plain_messages(endpoint: CachingEndpoint) -> None:
    converse(endpoint, "qwen3-coder", 3)
    for request in endpoint.requests:
        assert all(isinstance(m["content"], str) for m in request["body"]["messages"])
        assert "cache_control" not in json.dumps(request["body"]) and "prompt_cache_key" not in request["body"]


def test_an_alias_is_marked_when_the_agent_says_so(endpoint: CachingEndpoint) -> None:
    assert converse(endpoint, "our-best", 3, settings={"caching": "5m"})[-1].read


def test_a_single_question_is_not_written_to_the_cache(endpoint: CachingEndpoint, model: str) -> None:
    assert converse(endpoint, model, 1, tools=[])[0].marks == 0


def test_the_double_refuses_what_the_provider_refuses() -> None:
    mark = {"type": "ephemeral"}
    text = [{"type": "text", "text": "t", "cache_control": mark}] * 5
    from tests.support.prompt_cache import Refused

    with pytest.raises(Refused, match="maximum of 4"):
        PromptCache().charge({"messages": [{"role": "user", "content": text}]})
    late = [text[0], {**text[0], "cache_control": {**mark, "ttl": "1h"}}]
    with pytest.raises(Refused, match="must not come after"):
        PromptCache().charge({"messages": [{"role": "user", "content": late}]})


def test_openai_itself_gets_a_key_and_no_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    from kubiya_worker.models.connection import Connection
    from kubiya_worker.models.wire.chat_request import body_of

    official = Connection("openai", "https://api.openai.com/v1", "sk-x")
    request = ModelRequest("gpt-5", "p", [user("hi")], [SHELL], cache_key="kubiya-1")
    body = body_of("gpt-5", request, official)
    assert body["prompt_cache_key"] == "kubiya-1" and "cache_control" not in str(body)
    other = Connection("openai", "https://openai.example.com/v1", "sk-x")
    assert "prompt_cache_key" not in body_of("gpt-5", request, other)


def test_a_tool_of_a_workspace_names_no_path_of_it(tmp_path: Any) -> None:
    from kubiya_worker.tools.toolset import build_toolset

    skills = [
        {"name": kind, "type": kind, "configuration": {"allowed_hosts": ["*"]} if kind == "http" else {}}
        for kind in ("shell", "file_system", "python", "http", "file_generation", "data_visualization")
    ]

    def wired(name: str) -> list[dict[str, Any]]:
        return [spec.wire() for spec in build_toolset(skills, workspace=tmp_path / name).specs]

    assert wired("execution-1") == wired("execution-2")
    assert str(tmp_path) not in json.dumps(wired("execution-1"))
