"""This module writes a request for OpenAI's chat completions, as its endpoint takes it. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from kubiya_worker.models import caching, compatibility, model_settings
from kubiya_worker.models.base import ModelRequest
from kubiya_worker.models.compatibility import Compatibility
from kubiya_worker.models.connection import Connection
from kubiya_worker.models.paired_messages import paired, with_cut_notes
from kubiya_worker.models.wire.outgoing import IMAGES, SYSTEM, assistant, origin_of
from kubiya_worker.protocol.characters import cleaned
from kubiya_worker.protocol.messages import Message
from kubiya_worker.protocol.tools import ToolSpec

Body = dict[str, Any]

# OpenAI's models that reason refuse these settings: the older ones always, the newer ones once an effort is asked for.
_OF_SAMPLING: Final = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty"})
_ALWAYS_REASONS: Final = re.compile(r"o\d(?![a-z0-9])|gpt-5(?![.\d]|-chat)")
_REASONS_ON_DEMAND: Final = re.compile(r"gpt-5\.\d")
# Fields that the worker adds by itself, or can call by another name: an endpoint that refuses one is asked without it.
_ADDED: Final = frozenset({"stream_options", "metadata", "tool_choice", "prompt_cache_key", "max_tokens"})
_NO_SYSTEM: Final = re.compile(r"o1-mini")  # it refuses the role `system`


def body_of(name: str, request: ModelRequest, connection: Connection, refused: Collection[str] = ()) -> Body:
    """Return the request's body for the model `name`, without what its endpoint has refused.

    Raise ConfigurationError when the agent's `compatibility` or `caching` is wrong.
    """
    deviations = deviations_of(request, connection)
    origin = origin_of(connection.place, name)
    messages = _messages(request, origin, connection.label, refused)
    if SYSTEM in refused or _NO_SYSTEM.match(_family(name)):
        messages = _without_system(messages)
    tools = [_tool(tool) for tool in request.tools]
    body: Body = {"model": name, "stream": deviations.stream is not False, "messages": messages}
    if body["stream"] and deviations.stream_options is not False:
        body["stream_options"] = {"include_usage": True}
    if tools:
        body["tools"] = tools
        if deviations.tool_choice != compatibility.OMIT:
            body["tool_choice"] = "auto"
    body |= _settings(name, request, connection, deviations, tools=bool(tools))
    body |= _cache(name, request, connection, messages, tools)
    if request.metadata and connection.metadata:
        body["metadata"] = dict(request.metadata)
    for field in _ADDED & set(refused) & body.keys():
        value = body.pop(field)
        if field == "max_tokens":
            body["max_completion_tokens"] = value
    return body | dict(deviations.extra_body)


def deviations_of(request: ModelRequest, connection: Connection) -> Compatibility:
    """Return how the endpoint deviates, by the worker's settings and on top the agent's.

    Raise ConfigurationError.
    """
    return connection.compatibility.with_(compatibility.of_agent(request.settings, connection.variables))


def encoded(body: Body) -> bytes:
    """Return the body's bytes; a text may hold half a character, which has no bytes and is replaced."""
    try:
        return _json(body).encode()
    except UnicodeEncodeError:
        return _json(cleaned(body)).encode()


def _json(body: Body) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _messages(request: ModelRequest, origin: str, label: str, refused: Collection[str]) -> list[Body]:
    written: list[Body] = [{"role": "system", "content": request.system_prompt}] if request.system_prompt else []
    images: list[Body] = []  # of the results before the next message: results themselves take only text
    for message in with_cut_notes(paired(request.messages)):
        if message["role"] != "tool" and images:
            written.append({"role": "user", "content": images})
            images = []
        if message["role"] == "assistant":
            written.append(assistant(message, origin, label, refused))
        elif message["role"] == "tool":
            result, parts = _result(message, shown=IMAGES not in refused)
            written.append(result)
            images += parts
        else:
            role = "system" if message["role"] == "system" else "user"
            written.append({"role": role, "content": str(message.get("content") or "")})
    return [*written, {"role": "user", "content": images}] if images else written


def _without_system(messages: list[Body]) -> list[Body]:
    """Return messages whose texts of the role `system` are a person's.

    They are joined with the person's own that follow, since models without this role often want the roles to alternate.
    """
    written: list[Body] = []
    before = ""  # what is put before the next message of a person
    for message in messages:
        if message["role"] == "system":
            before = f"{before}{_text_of(message)}\n\n"
        elif before and message["role"] == "user" and isinstance(message["content"], str):
            written.append({**message, "content": before + message["content"]})
            before = ""
        else:
            written += [{"role": "user", "content": before.rstrip("\n")}] if before else []
            written.append(message)
            before = ""
    return [*written, {"role": "user", "content": before.rstrip("\n")}] if before else written


def _text_of(message: Body) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _result(message: Message, *, shown: bool) -> tuple[Body, list[Body]]:
    """Return the message of a tool's result, and the parts that show its images, unless the endpoint takes none."""
    text, call = str(message.get("content") or ""), str(message["tool_call_id"])
    images: Sequence[tuple[str, bytes]] = message.get("image_data") or ()
    parts: list[Body] = []
    if images and not shown:
        text = f"{text}\n(Images of this result: not shown, as the endpoint takes none.)".lstrip("\n")
    elif images:
        text = f"{text}\n(Images of this result: in the next message.)".lstrip("\n")
        about = f"Images of the result of {message.get('tool_name') or 'tool'}, call {call}:"
        parts = [{"type": "text", "text": about}, *map(_image, images)]
    return {"role": "tool", "tool_call_id": call, "content": text}, parts


def _image(image: tuple[str, bytes]) -> Body:
    kind, data = image
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{base64.b64encode(data).decode()}"}}


def _tool(tool: ToolSpec) -> Body:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _settings(
    name: str, request: ModelRequest, connection: Connection, deviations: Compatibility, *, tools: bool
) -> Body:
    """Return the agent's settings under the endpoint's names, without those that it is known to refuse."""
    chosen = model_settings.read(request.settings)
    effort = chosen.pop(model_settings.THINKING, False)
    if effort is not False:  # without a level, the server's own default holds
        chosen["reasoning_effort"] = "medium" if effort is True else effort
    if connection.official:
        chosen.pop("top_k", None)  # OpenAI has none; similar servers take it
    if not tools:
        chosen.pop("parallel_tool_calls", None)
    if "max_tokens" in chosen:
        default = "max_completion_tokens" if connection.official else "max_tokens"
        chosen[deviations.max_tokens_field or default] = chosen.pop("max_tokens")
    unused = _OF_SAMPLING if _samples_not(_family(name), effort) else ()
    return {key: value for key, value in chosen.items() if key not in unused}


def _samples_not(family: str, effort: bool | str) -> bool:
    """Return whether an OpenAI model refuses settings of sampling."""
    return bool(_ALWAYS_REASONS.match(family) or (effort and _REASONS_ON_DEMAND.match(family)))


def _family(name: str) -> str:
    """Return a model's name without the provider that a gateway puts before it."""
    return name.rpartition("/")[2].lower()


def _cache(name: str, request: ModelRequest, connection: Connection, messages: list[Body], tools: list[Body]) -> Body:
    """Mark messages and tools in place for the endpoint's prompt cache. Return the field that steers OpenAI's own."""
    time = caching.retention(request.settings, connection.provider, name)
    if connection.official:
        off = caching.setting(request.settings) == caching.OFF
        return {"prompt_cache_key": request.cache_key} if request.cache_key and not off else {}
    if time and caching.pays(request.messages, request.tools):
        host = urlsplit(connection.base_url).hostname or ""
        caching.mark_tools(tools, time)
        caching.mark_messages(messages, time, parts_only=caching.parts_only(host))
    return {}


def dispensable(body: Body) -> frozenset[str]:
    """Return the fields of a request that it can do without; IMAGES where it shows some."""
    parts = (
        part for message in body["messages"] if isinstance(message["content"], list) for part in message["content"]
    )
    shows = any(part.get("type") == IMAGES for part in parts)
    return _ADDED.intersection(body) | ({IMAGES} if shows else frozenset())


def extra_fields(messages: Iterable[Mapping[str, Any]], known: Collection[str]) -> set[str]:
    """Return the names of fields that messages of the model have beside those that every endpoint takes."""
    return {field for message in messages if message["role"] == "assistant" for field in message} - set(known)
