"""Chat requests reach the endpoint as the SDK itself would send them, without its walk through their messages."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import httpx2
import pytest
from openai import AsyncOpenAI, Omit
from openai.resources.chat.completions import completions

from kubiya_worker.models.chat_client import ChatClient

WALK: Final = "async_maybe_transform"  # the SDK's function that renames keys and encodes files
MESSAGES: list[Any] = [
    {"role": "system", "content": "You help."},
    {"role": "user", "content": [{"type": "text", "text": "Look."}, {"type": "image_url", "image_url": {"url": "u"}}]},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}],
        "reasoning_content": "unknown to the SDK",
    },
    {"role": "tool", "tool_call_id": "1", "content": "seen"},
]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
    "cache_control": {"type": "ephemeral"},
}
REQUESTS: dict[str, dict[str, Any]] = {
    "messages": {"messages": MESSAGES},
    "tools": {"messages": MESSAGES, "tools": [TOOL, TOOL]},
    "tools left out": {"messages": MESSAGES, "tools": Omit()},
    "fields of the endpoint": {"messages": MESSAGES, "extra_body": {"metadata": {"trace": "x"}, "stream": False}},
    "a field that replaces one": {"messages": MESSAGES, "tools": [TOOL], "extra_body": {"tools": [], "messages": []}},
    "settings": {"messages": MESSAGES, "temperature": 0, "stream_options": {"include_usage": True}, "stop": ["\n"]},
}


async def body_of(kind: type[AsyncOpenAI], request: dict[str, Any]) -> Any:
    """Return the body that a client sends."""
    bodies: list[bytes] = []

    def answer(sent: httpx2.Request) -> httpx2.Response:
        bodies.append(sent.read())
        return httpx2.Response(200, json={"id": "1", "object": "chat.completion", "created": 1, "choices": []})

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    async with kind(api_key="k", base_url="http://endpoint", http_client=http) as client:
        await client.with_options(max_retries=0).chat.completions.create(model="m", **request)
    return json.loads(bodies[0])


@pytest.mark.parametrize("name", REQUESTS)
def test_the_body_is_that_of_the_sdk(name: str) -> None:
    ours, theirs = (asyncio.run(body_of(kind, REQUESTS[name])) for kind in (ChatClient, AsyncOpenAI))
    assert ours == theirs


def test_the_sdk_does_not_walk_through_messages_and_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[Any] = []
    whole = getattr(completions, WALK)

    async def noted(data: Any, kind: Any) -> Any:
        walked.append(data)
        return await whole(data, kind)

    monkeypatch.setattr(completions, WALK, noted)
    asyncio.run(body_of(ChatClient, REQUESTS["tools"]))
    (data,) = walked
    assert (data["messages"], isinstance(data["tools"], Omit)) == ([], True)
