"""This module is a chat model that sends only what an endpoint takes: compatibility settings and prompt cache marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from openai import Omit
from pydantic_ai.models.openai import OpenAIChatModel

from kubiya_worker.models import caching, compatibility

if TYPE_CHECKING:
    from openai.types import chat
    from pydantic_ai import messages as pai
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.settings import ModelSettings

COMPATIBILITY: Final = "kubiya_compatibility"  # a key in pydantic-ai's settings: the endpoint's deviations


class AdaptedChatModel(OpenAIChatModel):
    """OpenAI's chat completions with the deviations that the settings of a request ask for."""

    async def _completions_create(self, messages: Any, stream: Any, model_settings: Any, parameters: Any) -> Any:
        if stream and _compatibility(model_settings).stream is False:
            # The reader recognises the form of an answer by itself (models/wire); only the request must say "no
            # stream".
            body = {**(model_settings.get("extra_body") or {}), "stream": False}
            model_settings = {**model_settings, "extra_body": body}
        return await super()._completions_create(messages, stream, model_settings, parameters)

    def _get_stream_options(self, model_settings: Any) -> Any:
        wanted = _compatibility(model_settings)
        if wanted.stream_options is False or wanted.stream is False:
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
