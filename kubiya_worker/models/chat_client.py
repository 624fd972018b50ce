"""The OpenAI client whose chat requests are sent as they were made.

The SDK walks through each message and tool of a request to rename keys and to encode files. Chat completions have
neither, and the walk took half of the CPU of a request, on the event loop, and more with each message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from openai import AsyncOpenAI, Omit, omit
from openai.resources.chat import AsyncChat, AsyncCompletions


class ChatClient(AsyncOpenAI):
    @cached_property
    def chat(self) -> AsyncChat:
        return _Chat(self)


class _Chat(AsyncChat):
    @cached_property
    def completions(self) -> AsyncCompletions:
        return _Completions(self._client)


class _Completions(AsyncCompletions):
    async def create(  # type: ignore[override]  # one signature for the SDK's overloads
        self,
        *,
        messages: Iterable[Any],
        tools: Iterable[Any] | Omit = omit,
        extra_body: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Send messages and tools as part of `extra_body`, which the SDK takes over without looking into it."""
        unchanged: dict[str, Any] = {"messages": messages}
        if not isinstance(tools, Omit):
            unchanged["tools"] = tools
        return await super().create(messages=[], extra_body={**unchanged, **(extra_body or {})}, **options)
