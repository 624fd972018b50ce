"""OpenAI-compatible endpoints through pydantic-ai: the gateway of a registration, OpenAI itself, and their likes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx2
from openai import AsyncOpenAI
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

from kubiya_worker.models.adapted import AdaptedChatModel
from kubiya_worker.models.connection import CONNECT_TIMEOUT, READ_SLACK, Connection
from kubiya_worker.models.conversion import is_object

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageFunctionToolCallParam
    from pydantic_ai.messages import ToolCallPart

    from kubiya_worker.models.connection import Make, Shut

NO_KEY: Final = "none"  # the client wants some key; local servers want none


class ChatModel(AdaptedChatModel):
    """Sends tool calls back byte for byte as the model wrote them, so that its prompt cache still fits.

    Arguments that are no JSON object go back wrapped, as pydantic-ai does it ({"INVALID_JSON": "<raw>"}): a gateway
    that translates for another provider parses them and would answer 500 to raw ones, for ever.
    """

    @staticmethod
    def _map_tool_call(t: ToolCallPart) -> ChatCompletionMessageFunctionToolCallParam:
        mapped = AdaptedChatModel._map_tool_call(t)
        if isinstance(t.args, str) and is_object(t.args):
            mapped["function"]["arguments"] = t.args
        return mapped


def connect(connection: Connection) -> tuple[Make, Shut]:
    client = AsyncOpenAI(
        base_url=connection.base_url,
        api_key=connection.api_key or NO_KEY,
        max_retries=0,  # Temporal retries, where it is seen and survives the worker
        timeout=httpx2.Timeout(connection.idle_timeout + READ_SLACK, connect=CONNECT_TIMEOUT),
    )
    provider: OpenAIProvider | OpenAICompatibleProvider
    if connection.official:
        provider = OpenAIProvider(openai_client=client)
    else:
        name = "litellm" if connection.metadata else "openai-compatible"
        provider = OpenAICompatibleProvider(name, openai_client=client)
    profile = OpenAIModelProfile(
        openai_chat_streaming_requires_finish_reason=True,
        json_schema_transformer=None,  # a tool's schema goes out as its author wrote it
    )
    if not connection.official:
        profile["openai_chat_supports_max_completion_tokens"] = False  # `max_tokens` is what all of them know

    def make(name: str) -> ChatModel:
        return ChatModel(name, provider=provider, profile=profile)

    return make, client.close
