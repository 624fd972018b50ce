"""This module reaches OpenAI-compatible endpoints through pydantic-ai: a registration's gateway, OpenAI, and others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import httpx2
from openai import AsyncStream
from pydantic_ai.exceptions import ModelHTTPError, ModelRequestRejectedError
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

from kubiya_worker.models.chat_client import ChatClient
from kubiya_worker.models.compatible_model import AdaptedChatModel
from kubiya_worker.models.connection import CONNECT_TIMEOUT, READ_SLACK, Connection
from kubiya_worker.models.conversion import MESSAGE
from kubiya_worker.models.wire.outgoing import KNOWN, assistant, origin_of, refused_fields

if TYPE_CHECKING:
    from pydantic_ai import messages as pai
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.models.openai import OpenAIChatModelSettings
    from pydantic_ai.settings import ModelSettings

    from kubiya_worker.models.connection import Make, Shut

NO_KEY: Final = "none"  # the client demands a key; local servers need none


class ChatModel(AdaptedChatModel):
    """Open an answer without reading it, as wire/ does that; send messages back as their endpoint accepts them.

    Tool calls go back byte for byte as the model wrote them, so that its prompt cache still matches.
    """

    def __init__(self, name: str, origin: str, **options: Any) -> None:
        super().__init__(name, **options)
        self._origin = origin
        self._extra_fields_sent: set[str] = set()  # extra fields that were sent back with messages
        self._refused: frozenset[str] = frozenset()  # those of them that the endpoint refuses

    @asynccontextmanager
    async def opened(
        self, messages: list[pai.ModelMessage], settings: ModelSettings, parameters: ModelRequestParameters
    ) -> AsyncIterator[httpx2.Response]:
        """Yield the open response to a request; raise pydantic-ai's exceptions."""
        prepared, parameters = self.prepare_request(settings, parameters)
        chosen = cast("OpenAIChatModelSettings", prepared or {})
        try:
            stream = await self._completions_create(messages, True, chosen, parameters)
        except ModelHTTPError as error:
            refused = refused_fields(error, self._extra_fields_sent - self._refused)
            if not refused:
                raise
            # The endpoint sends a field that it refuses to get back: without a second try the conversation would fail
            # for ever.
            before, self._refused = self._refused, self._refused | refused
            try:
                stream = await self._completions_create(messages, True, chosen, parameters)
            except ModelHTTPError:
                self._refused = before
                raise error from None
        if not isinstance(stream, AsyncStream):  # Azure's content filter has refused the request
            details = stream.provider_details or {}
            raise ModelRequestRejectedError(self.model_name, str(details.get("finish_reason") or "content_filter"))
        async with stream:
            yield stream.response

    def _map_model_response(self, message: pai.ModelResponse) -> Any:
        kept = (message.metadata or {}).get(MESSAGE)
        if kept is None:
            return super()._map_model_response(message)
        sent = assistant(kept, self._origin, self.system, self._refused)
        self._extra_fields_sent |= sent.keys() - KNOWN
        return sent


def connect(connection: Connection) -> tuple[Make, Shut]:
    client = ChatClient(
        base_url=connection.base_url,
        api_key=connection.api_key or NO_KEY,
        default_headers=connection.custom_headers("OPENAI_CUSTOM_HEADERS"),
        max_retries=0,  # Temporal retries instead: its retries are visible and survive the worker
        timeout=httpx2.Timeout(connection.idle_timeout + READ_SLACK, connect=CONNECT_TIMEOUT),
    )
    provider: OpenAIProvider | OpenAICompatibleProvider
    if connection.official:
        provider = OpenAIProvider(openai_client=client)
    else:
        name = "litellm" if connection.metadata else "openai-compatible"
        provider = OpenAICompatibleProvider(name, openai_client=client)
    profile = OpenAIModelProfile(
        json_schema_transformer=None,  # keep a tool's schema as its author wrote it
    )
    if not connection.official:
        profile["openai_chat_supports_max_completion_tokens"] = False  # all of these endpoints know `max_tokens`

    def make(name: str) -> ChatModel:
        return ChatModel(name, origin_of(connection.place, name), provider=provider, profile=profile)

    return make, client.close
