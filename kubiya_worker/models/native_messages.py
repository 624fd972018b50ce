"""This module fits a conversation to what Anthropic, Google and Bedrock accept. Pure.

Part of it may come from another model: ids and names that these refuse, thoughts that only their author understands,
texts that are blank. Each would be refused again with every further request. What is fine stays the same, byte for
byte.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pydantic_ai import messages as pai

from kubiya_worker.models.wire.outgoing import sendable_name
from kubiya_worker.protocol.characters import without_half_surrogates

NOTHING_SAID: Final = "(no text)"
NO_OUTPUT: Final = "(no output)"
BEGINNING: Final = "(The conversation begins here.)"

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")  # Bedrock's rule; Anthropic's has no limit of length
_OTHER: Final = re.compile(r"[^A-Za-z0-9_-]")
_UNSIGNED: Final = ("google",)  # whose thoughts may come back without a signature


def fitted(messages: Sequence[pai.ModelMessage], provider: str) -> list[pai.ModelMessage]:
    """Return the conversation as `provider` (Connection.provider) accepts it."""
    converted: list[pai.ModelMessage] = []
    names: dict[str, str] = {}  # of the tools that were called, by the call's id
    for message in messages:
        if isinstance(message, pai.ModelResponse):
            if not any(isinstance(before, pai.ModelRequest) and _speaks(before) for before in converted):
                converted.append(pai.ModelRequest(parts=[pai.UserPromptPart(content=BEGINNING)]))
            kept = [part for part in message.parts if _goes_back(part, provider)]
            names |= {part.tool_call_id: part.tool_name for part in kept if isinstance(part, pai.ToolCallPart)}
            converted.append(replace(message, parts=[_answered(part) for part in kept]))
        else:
            converted.append(replace(message, parts=[_asked(part, names) for part in message.parts]))
    return converted


def sendable_id(call_id: str) -> str:
    """Return a call's id in the characters that all take; two ids stay two."""
    if _ID.fullmatch(call_id):
        return call_id
    digest = hashlib.sha256(call_id.encode("utf-8", "replace")).hexdigest()[:12]
    return f"{_OTHER.sub('_', call_id)[:40]}_{digest}"


def _speaks(request: pai.ModelRequest) -> bool:
    return any(not isinstance(part, pai.SystemPromptPart) for part in request.parts)


def _goes_back(part: pai.ModelResponsePart, provider: str) -> bool:
    if isinstance(part, pai.ThinkingPart):
        return part.provider_name == provider or (part.provider_name is None and provider in _UNSIGNED)
    return not isinstance(part, pai.TextPart) or bool(part.content.strip() or part.provider_details)


def _answered(part: pai.ModelResponsePart) -> pai.ModelResponsePart:
    if isinstance(part, pai.TextPart):
        return replace(part, content=without_half_surrogates(part.content))
    if isinstance(part, pai.ToolCallPart):
        name, args, call_id = sendable_name(part.tool_name), part.args_as_json_str(), sendable_id(part.tool_call_id)
        return pai.ToolCallPart(
            name, args, call_id, provider_name=part.provider_name, provider_details=part.provider_details
        )
    return part


def _asked(part: pai.ModelRequestPart, names: Mapping[str, str]) -> pai.ModelRequestPart:
    if isinstance(part, pai.ToolReturnPart):
        content: Any = part.content
        if isinstance(content, str):
            content = _text(content, NO_OUTPUT)
        elif isinstance(content, list):
            content = [_text(item, NO_OUTPUT) if isinstance(item, str) else item for item in content]
        name = sendable_name(names.get(part.tool_call_id, part.tool_name))
        return pai.ToolReturnPart(name, content, sendable_id(part.tool_call_id))
    if isinstance(part, pai.UserPromptPart) and isinstance(part.content, str):
        return replace(part, content=_text(part.content, NOTHING_SAID))
    if isinstance(part, pai.SystemPromptPart):
        return replace(part, content=without_half_surrogates(part.content))
    return part


def _text(text: str, instead: str) -> str:
    return without_half_surrogates(text) if text.strip() else instead
