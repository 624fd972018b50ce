"""This module converts messages, tools and settings to pydantic-ai's, and its answer to ours.

It is pure, but its imports are heavy; chat completions do not need it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from pydantic_ai import messages as pai
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.usage import RequestUsage

from kubiya_worker.models import answer_parts as parts_of
from kubiya_worker.models import base, model_settings
from kubiya_worker.models.paired_messages import paired, with_cut_notes
from kubiya_worker.models.wire.tool_calls import is_object
from kubiya_worker.protocol.characters import cleaned, without_half_surrogates
from kubiya_worker.protocol.execution import Usage
from kubiya_worker.protocol.messages import Message, ToolCall
from kubiya_worker.protocol.tools import ToolSpec

_FINISH: Final = {"tool_call": base.TOOL_CALLS}


def to_messages(system_prompt: str, messages: Sequence[Message]) -> list[pai.ModelMessage]:
    """Return the conversation as pydantic-ai's alternating requests (system, user, tool results) and responses."""
    converted: list[pai.ModelMessage] = []
    parts: list[pai.ModelRequestPart] = []
    if system_prompt:
        parts.append(pai.SystemPromptPart(content=system_prompt))
    for message in with_cut_notes(paired(messages)):
        if message["role"] == "assistant":
            if parts:
                converted.append(pai.ModelRequest(parts=parts))
                parts = []
            converted.append(pai.ModelResponse(parts=parts_of.restored(message), model_name=message.get("model")))
        else:
            parts.append(_request_part(message))
    if parts:
        converted.append(pai.ModelRequest(parts=parts))
    return converted


def _request_part(message: Message) -> pai.ModelRequestPart:
    content = str(message.get("content") or "")
    if message["role"] == "tool":
        images = [pai.BinaryContent(data=data, media_type=kind) for kind, data in message.get("image_data") or ()]
        return pai.ToolReturnPart(
            tool_name=str(message.get("tool_name") or "tool"),
            content=[content, *images] if images else content,
            tool_call_id=str(message["tool_call_id"]),
        )
    if message["role"] == "system":
        return pai.SystemPromptPart(content=content)
    return pai.UserPromptPart(content=content)


def to_tools(tools: Iterable[ToolSpec]) -> ModelRequestParameters:
    return ModelRequestParameters(
        function_tools=[
            ToolDefinition(name=tool.name, description=tool.description, parameters_json_schema=tool.parameters)
            for tool in tools
        ],
        allow_text_output=True,
    )


def to_settings(settings: Mapping[str, Any]) -> ModelSettings:
    """Return model_config as pydantic-ai's settings."""
    chosen = model_settings.read(settings)
    chosen.pop("response_format", None)  # none of these providers takes OpenAI's form
    if model_settings.STOP in chosen:
        chosen["stop_sequences"] = chosen.pop(model_settings.STOP)
    return cast(ModelSettings, chosen)


def to_usage(usage: RequestUsage) -> Usage:
    """Return the counts; `input_tokens` includes tokens read from and written to a cache, as providers bill it."""
    details = usage.details or {}  # LiteLLM names tokens written to a cache only at the top level
    return Usage(
        input_tokens=usage.input_tokens or 0,
        output_tokens=usage.output_tokens or 0,
        cache_read_tokens=usage.cache_read_tokens or details.get("cache_read_input_tokens") or 0,
        cache_creation_tokens=usage.cache_write_tokens or details.get("cache_creation_input_tokens") or 0,
    )


def to_reply(response: pai.ModelResponse, text: str, *, too_large: bool = False) -> base.ModelReply:
    """Return the finished answer; `text` is what was streamed, `too_large` says that its end was not read."""
    asked = [part for part in response.parts if isinstance(part, pai.ToolCallPart)]
    details = response.provider_details or {}
    finish: str = response.finish_reason or details.get("finish_reason") or base.STOP
    finish = base.LENGTH if too_large else _FINISH.get(finish, finish)
    calls = [_tool_call(part) for part in asked]
    if calls and finish == base.LENGTH and not is_object(_arguments(asked[-1])):
        calls[-1]["cut"] = base.LENGTH
    if calls and finish == base.STOP:
        finish = base.TOOL_CALLS  # some servers say "stop" although they ask for tools
    elif not calls and finish == base.TOOL_CALLS:
        finish = base.STOP
    return base.ModelReply(
        content=text,
        tool_calls=calls,
        thinking=cleaned(parts_of.entries(response.parts)),
        usage=to_usage(response.usage),
        finish_reason=finish,
        model=response.model_name or "",
        provider=response.provider_name or "",
        too_large=too_large,
    )


def _tool_call(part: pai.ToolCallPart) -> ToolCall:
    name, identity = without_half_surrogates(part.tool_name), without_half_surrogates(part.tool_call_id)
    return {"id": identity, "name": name, "arguments": _arguments(part) or "{}"}


def _arguments(part: pai.ToolCallPart) -> str:
    """Return the text of a call's arguments; empty when the model wrote none."""
    if isinstance(part.args, str):
        return without_half_surrogates(part.args)
    return json.dumps(part.args) if part.args else ""
