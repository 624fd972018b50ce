"""This module converts our messages, tools and settings to pydantic-ai's, and its answer to ours.

It is pure, but its imports are heavy.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from pydantic_ai import messages as pai
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.usage import RequestUsage

from kubiya_worker.models import answer_parts as parts_of
from kubiya_worker.models import base
from kubiya_worker.models.connection import Connection
from kubiya_worker.models.wire.tool_calls import is_object
from kubiya_worker.protocol.characters import cleaned, without_half_surrogates
from kubiya_worker.protocol.execution import Usage
from kubiya_worker.protocol.messages import Message, ToolCall
from kubiya_worker.protocol.tools import ToolSpec

log = logging.getLogger(__name__)

# A key in a response's metadata: our stored message, for models that send it back themselves.
MESSAGE: Final = "kubiya_message"
# A note before the message that follows a cut answer: a model cannot see by itself that its answer was cut.
_CUT: Final = {
    "length": "(Your answer before this was cut at the token limit.)",
    "size": "(Your answer before this was too large; its end was left out.)",
}
NO_RESULT: Final = "(no result: this call was not finished)"

_NUMBERS: Final = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_COUNTS: Final = ("max_tokens", "seed")
_EFFORTS: Final = ("minimal", "low", "medium", "high", "xhigh", "max")
# Settings that session.py, request_settings.py and vision.py apply.
_APPLIED_ELSEWHERE: Final = ("timeout", "caching", "compatibility", "vision")
_FINISH: Final = {"tool_call": base.TOOL_CALLS}


def paired(messages: Sequence[Message]) -> list[Message]:
    """Return `messages` with each tool call answered right after it, as providers refuse a call without its result.

    A call without a result (a cancelled turn) gets NO_RESULT; a result without its call is left out; a result that
    comes late (after another message) moves up to its call.
    """
    results = {str(m.get("tool_call_id")): m for m in messages if m.get("role") == "tool"}
    chosen: list[Message] = []
    for message in messages:
        if message.get("role") == "tool":
            continue
        chosen.append(message)
        for call in message.get("tool_calls") or ():
            missing = {"role": "tool", "content": NO_RESULT, "tool_call_id": call["id"], "tool_name": call["name"]}
            chosen.append(results.get(str(call["id"]), missing))
    return chosen


def to_messages(system_prompt: str, messages: Sequence[Message]) -> list[pai.ModelMessage]:
    """Return the conversation as pydantic-ai's alternating requests (system, user, tool results) and responses."""
    converted: list[pai.ModelMessage] = []
    parts: list[pai.ModelRequestPart] = []
    cut = ""
    if system_prompt:
        parts.append(pai.SystemPromptPart(content=system_prompt))
    for message in paired(messages):
        if cut and message["role"] == "user":
            message = {**message, "content": f"{cut}\n\n{message.get('content') or ''}"}
        if message["role"] == "assistant":
            if parts:
                converted.append(pai.ModelRequest(parts=parts))
                parts = []
            parts_of_it, name = parts_of.restored(message), message.get("model")
            converted.append(pai.ModelResponse(parts=parts_of_it, model_name=name, metadata={MESSAGE: message}))
            cut = "" if message.get("tool_calls") else _CUT.get(str(message.get("cut") or ""), "")
        else:
            parts.append(_request_part(message))
            cut = ""
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


def to_settings(settings: Mapping[str, Any], metadata: Mapping[str, str], connection: Connection) -> ModelSettings:
    """Return model_config as pydantic-ai's settings, with the trace keys if the server takes them.

    A value that cannot be a number, and a key that the server does not know, is left out and logged at DEBUG.
    """
    chosen: dict[str, Any] = {}
    body: dict[str, Any] = {"metadata": dict(metadata)} if metadata and connection.metadata else {}
    for name, value in settings.items():
        if value is None or name in _APPLIED_ELSEWHERE:
            continue
        try:
            if name in _NUMBERS:
                chosen[name] = float(value)
            elif name in _COUNTS:
                chosen[name] = int(value)
            elif name == "top_k" and connection.chat and not connection.official:
                body["top_k"] = int(value)  # OpenAI has no top_k; similar servers take it in the body
            elif name == "top_k" and not connection.chat:
                chosen["top_k"] = int(value)
            elif name == "response_format" and isinstance(value, dict) and connection.chat:
                body["response_format"] = value
            elif name in ("stop", "stop_sequences"):
                chosen["stop_sequences"] = [value] if isinstance(value, str) else [str(item) for item in value]
            elif name == "parallel_tool_calls":
                chosen["parallel_tool_calls"] = bool(value)
            elif name in ("thinking", "reasoning_effort"):
                level = _effort(value)
                if not connection.chat:
                    chosen["thinking"] = level
                elif level is not False:  # without a level, the server's own default holds
                    chosen["openai_reasoning_effort"] = "medium" if level is True else level
            else:
                log.debug("models.setting_ignored name=%s", name)
        except (TypeError, ValueError):
            log.debug("models.setting_ignored name=%s reason=not_understood", name)
    if body:
        chosen["extra_body"] = body
    return cast(ModelSettings, chosen)


def _effort(value: Any) -> bool | str:
    """Return on (True), off (False) or a level; raise ValueError for anything else."""
    word = str(value).strip().lower()
    if word in ("true", "false", "none", "off", "on"):
        return word in ("true", "on")
    if word not in _EFFORTS:
        raise ValueError(value)
    return word


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
