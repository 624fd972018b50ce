"""A scripted endpoint and the real client against it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from kubiya_worker.models import Delta, Endpoint, ModelError, ModelReply, ModelRequest, Models
from kubiya_worker.protocol.messages import Message
from kubiya_worker.protocol.tools import ToolSpec
from tests.support.model_endpoint import ModelEndpoint

KEY = "sk-canary-5f1d"
SHELL = ToolSpec("shell", "run a command", {"type": "object", "properties": {"command": {"type": "string"}}})


@dataclass
class Answered:
    deltas: list[Delta]
    reply: ModelReply

    def text(self, kind: str = "text") -> str:
        return "".join(delta.content for delta in self.deltas if delta.kind == kind)


@dataclass
class Talk:
    """Asks the scripted endpoint through the real client, one event loop for each question."""

    endpoint: ModelEndpoint
    idle_timeout: float = 30.0
    gateway: bool = True
    model_id: str = "kubiya/claude-sonnet-4"
    environ: dict[str, str] = field(default_factory=dict)

    def models(self) -> Models:
        where = Endpoint(self.endpoint.url, KEY, idle_timeout=self.idle_timeout, gateway=self.gateway)
        return Models(where, self.environ)

    def ask(self, *messages: Message, **fields: Any) -> Answered:
        return asyncio.run(self._ask(list(messages) or [user("hi")], fields))

    def fail(self, *messages: Message, **fields: Any) -> ModelError:
        with pytest.raises(ModelError) as caught:
            self.ask(*messages, **fields)
        return caught.value

    async def _ask(self, messages: list[Message], fields: dict[str, Any]) -> Answered:
        models = self.models()
        try:
            request = ModelRequest(self.model_id, fields.pop("system_prompt", ""), messages, **fields)
            items = [item async for item in models.select(self.model_id).stream(request)]
        finally:
            await models.close()
        *deltas, reply = items
        assert isinstance(reply, ModelReply)
        assert all(isinstance(delta, Delta) for delta in deltas)
        return Answered([delta for delta in deltas if isinstance(delta, Delta)], reply)


def user(content: str) -> Message:
    return {"role": "user", "content": content}


@pytest.fixture
def endpoint() -> Iterator[ModelEndpoint]:
    with ModelEndpoint() as running:
        yield running


@pytest.fixture
def talk(endpoint: ModelEndpoint) -> Callable[..., Talk]:
    """`talk(answer, answer, ...)`: the endpoint's script, and the client to ask it with."""

    def scripted(*script: dict[str, Any], **settings: Any) -> Talk:
        endpoint.script[:] = script
        return Talk(endpoint, **settings)

    return scripted
