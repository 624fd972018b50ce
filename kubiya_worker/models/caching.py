"""This module plans prompt caching: which parts of a request are marked, for how long, and under which key. Pure.

Anthropic and Bedrock keep only what is marked with `cache_control` (a `cachePoint` on Bedrock). The prefix is tools,
then system text, then messages. Up to four marks go out with each request: the last tool, the last system text, the
end of the request before this one, and the end of this one. The third keeps the older prefix in reach when many
parallel calls lie between the two: a provider looks back about 20 blocks from a mark.

OpenAI and Gemini cache by themselves. OpenAI gets a key that steers requests with the same beginning to one machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError

OFF: Final = "off"
TIMES: Final = ("5m", "1h")
LEAST_TOKENS: Final = 1024  # most models do not keep a shorter prefix (the minimum is 512 to 4,096)

PARTS_ONLY_AT: Final = ("openrouter.ai",)


def setting(model_config: Mapping[str, Any]) -> str | None:
    """Return the agent's `caching`: `off`, `5m`, `1h`, or None if it is not set.

    Raise ConfigurationError for other values.
    """
    value = model_config.get("caching")
    if value is None:
        return None
    word = {False: OFF, True: TIMES[0]}[value] if isinstance(value, bool) else str(value).strip().lower()
    if word not in (OFF, *TIMES):  # YAML reads a plain `off` as false
        raise ConfigurationError(
            f"`caching` of the agent's model_config is {value!r}", remedy=f"Write one of {', '.join((OFF, *TIMES))}"
        )
    return word


def is_claude(name: str) -> bool:
    """Return whether a model's name behind a gateway is that of a Claude; no other models are known to need marks."""
    return "claude" in name.lower()


def retention(model_config: Mapping[str, Any], provider: str, name: str) -> str:
    """Return how long marked parts are kept, or an empty text when nothing is marked.

    A model behind a gateway is marked when its name says Claude, or when the agent sets `caching` itself: then the
    name is an alias, and its author knows which model it stands for.
    """
    word = setting(model_config)
    if word == OFF or provider in ("google", "openai"):
        return ""
    marks = word is not None or provider == "anthropic" or is_claude(name)
    # Nova is the other model family on Bedrock with a cache.
    marks = marks or (provider == "bedrock" and "nova" in name.lower())
    return (word or TIMES[0]) if marks else ""


def parts_only(host: str) -> bool:
    """Return whether a gateway accepts marks only on parts of a message."""
    return any(host == name or host.endswith(f".{name}") for name in PARTS_ONLY_AT)


def pays(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any]) -> bool:
    """Return whether another request with this beginning is likely.

    Without one, writing to the cache would only cost more.
    """
    return bool(tools) or any(message.get("role") == "assistant" for message in messages)


def key(agent_id: str, system_prompt: str, tools: Sequence[Mapping[str, Any]]) -> str:
    """Return the key of an agent's version: its executions share it, and it changes with the prompt and the tools."""
    text = json.dumps([agent_id, system_prompt, list(tools)], sort_keys=True, default=str)
    return f"kubiya-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:40]}"


def marked(time: str) -> dict[str, str]:
    """Return the value of `cache_control`; five minutes is the default without `ttl`, which some gateways refuse."""
    return {"type": "ephemeral"} if time == TIMES[0] else {"type": "ephemeral", "ttl": time}


def mark_messages(messages: Sequence[MutableMapping[str, Any]], time: str, *, parts_only: bool = False) -> None:
    """Mark messages in OpenAI's form in place, and turn the texts of people and of the system into lists of parts.

    All of these become lists, marked or not, so that a message's bytes stay the same when the mark moves on. A tool's
    result is marked as a message: LiteLLM puts the mark of a part inside the result, where Anthropic does not look for
    it. `parts_only` is for gateways that know only marks of parts.
    """
    for message in messages:
        if message.get("role") == "assistant" or (message.get("role") == "tool" and not parts_only):
            continue
        content = message.get("content")
        if isinstance(content, str) and content:
            message["content"] = [{"type": "text", "text": content}]
    systems = [at for at, message in enumerate(messages) if message.get("role") in ("system", "developer")]
    leading = [at for count, at in enumerate(systems) if at == count]
    ends = [len(messages) - 1, _end_before(messages)]
    for at in {*leading[-1:], *(end for end in ends if end >= len(leading))}:
        _mark(messages[at], time, parts_only=parts_only)


def mark_tools(tools: Sequence[MutableMapping[str, Any]], time: str) -> None:
    """Mark the last tool in place; the mark covers all of them."""
    if tools:
        tools[-1]["cache_control"] = marked(time)


def _end_before(messages: Sequence[Mapping[str, Any]]) -> int:
    """Return the index where the previous request ended, before the latest assistant message.

    Return -1 when there was none.
    """
    return next((at for at in range(len(messages) - 1, -1, -1) if messages[at].get("role") == "assistant"), 0) - 1


def _mark(message: MutableMapping[str, Any], time: str, *, parts_only: bool) -> None:
    content = message.get("content")
    if message.get("role") == "tool" and not parts_only:
        if content:
            message["cache_control"] = marked(time)
    elif message.get("role") != "assistant" and isinstance(content, list) and content:
        content[-1] = {**content[-1], "cache_control": marked(time)}
