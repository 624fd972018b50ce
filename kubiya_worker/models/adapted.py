"""A chat model that keeps to what an endpoint takes: compatibility settings, and marks for the prompt cache."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Self, cast

from openai import Omit
from openai.types import chat
from pydantic_ai.models.openai import OpenAIChatModel

from kubiya_worker.models import caching, compatibility

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk
    from pydantic_ai import messages as pai
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.settings import ModelSettings

COMPATIBILITY: Final = "kubiya_compatibility"  # of pydantic-ai's settings: what the endpoint is to be sent


class AdaptedChatModel(OpenAIChatModel):
    """OpenAI's chat completions with the deviations that the settings of a request ask for."""

    async def _completions_create(self, messages: Any, stream: Any, model_settings: Any, parameters: Any) -> Any:
        if not stream or _compatibility(model_settings).stream is not False:
            return await super()._completions_create(messages, stream, model_settings, parameters)
        whole = await super()._completions_create(messages, False, model_settings, parameters)
        return _OneChunk(whole) if isinstance(whole, chat.ChatCompletion) else whole

    def _get_stream_options(self, model_settings: Any) -> Any:
        if _compatibility(model_settings).stream_options is False:
            return Omit()
        return super()._get_stream_options(model_settings)

    def _get_tool_choice(self, model_settings: Any, parameters: ModelRequestParameters) -> Any:
        tools, choice = super()._get_tool_choice(model_settings, parameters)
        time = str(model_settings.get(caching.SETTING) or "")
        if time:
            caching.mark_tools(cast("Sequence[dict[str, Any]]", tools), time)
        return tools, None if _compatibility(model_settings).tool_choice == compatibility.OMIT else choice

    async def _map_messages(
        self,
        messages: Sequence[pai.ModelMessage],
        model_request_parameters: ModelRequestParameters,
        *,
        model_settings: ModelSettings | None = None,
    ) -> list[chat.ChatCompletionMessageParam]:
        mapped = await super()._map_messages(messages, model_request_parameters, model_settings=model_settings)
        settings = cast("dict[str, Any]", model_settings or {})
        time = str(settings.get(caching.SETTING) or "")
        if time:
            parts_only = bool(settings.get(caching.PARTS_ONLY))
            caching.mark_messages(cast("list[dict[str, Any]]", mapped), time, parts_only=parts_only)
        return mapped


def _compatibility(settings: Any) -> compatibility.Compatibility:
    found = settings.get(COMPATIBILITY)
    return found if isinstance(found, compatibility.Compatibility) else compatibility.NOTHING


class _OneChunk:
    """A whole answer as a stream of one chunk, so that all that reads streams reads it too."""

    def __init__(self, whole: chat.ChatCompletion) -> None:
        raw = whole.model_dump(exclude_unset=True)
        for choice in raw.get("choices") or ():
            message = choice.pop("message", None) or {}
            for number, call in enumerate(message.get("tool_calls") or ()):
                call.setdefault("index", number)
            choice["delta"] = message
        raw["object"] = "chat.completion.chunk"
        self._chunk = _built(raw)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def __aiter__(self) -> AsyncIterator[ChatCompletionChunk]:
        yield self._chunk

    async def close(self) -> None:
        """Nothing is open: the answer is here as a whole."""


def _built(raw: dict[str, Any]) -> ChatCompletionChunk:
    """Build the chunk as OpenAI's client does, without validation: servers leave out, and add, fields."""
    from openai._models import construct_type

    return cast("ChatCompletionChunk", construct_type(value=raw, type_=chat.ChatCompletionChunk))
