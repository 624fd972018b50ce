"""These tests check which parts of a request are marked for the prompt cache, and for how long."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kubiya_worker.activities.cache_watch import STEPS, CacheWatch
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.models import Endpoint, Models, caching
from kubiya_worker.protocol.execution import Usage

MARK = {"type": "ephemeral"}


@pytest.mark.parametrize(
    ("config", "provider", "name", "expected"),
    [
        ({}, "anthropic", "claude-sonnet-5", "5m"),
        ({}, "bedrock", "us.anthropic.claude-sonnet-4", "5m"),
        ({}, "bedrock", "amazon.nova-pro-v1:0", "5m"),
        ({}, "bedrock", "meta.llama3-70b-instruct-v1:0", ""),
        ({}, "gateway", "kubiya/claude-sonnet-4", "5m"),
        ({}, "gateway", "Anthropic/CLAUDE-opus", "5m"),
        ({}, "gateway", "gpt-5", ""),
        ({}, "gateway", "qwen3", ""),
        ({"caching": "1h"}, "gateway", "our-alias", "1h"),  # who says so knows what is behind the alias
        ({"caching": True}, "gateway", "our-alias", "5m"),
        ({"caching": "off"}, "gateway", "claude", ""),
        ({"caching": False}, "anthropic", "claude", ""),  # YAML reads `off` so
        ({"caching": "1h"}, "google", "gemini", ""),  # caches by itself
        ({"caching": "5m"}, "openai", "gpt-5", ""),
    ],
)
def test_marks_are_for_models_that_want_them(config: dict[str, Any], provider: str, name: str, expected: str) -> None:
    assert caching.retention(config, provider, name) == expected


@pytest.mark.parametrize("word", ["2h", "on please", 5, ["5m"], {}])
def test_a_time_that_is_none_is_refused_before_anything_is_spent(word: object) -> None:
    with pytest.raises(ConfigurationError, match=r"`caching` of the agent") as caught:
        Models(Endpoint()).check({"caching": word})
    assert "Write one of off, 5m, 1h" in caught.value.line()


def test_four_marks_at_most_and_none_on_what_the_model_said() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "You are ops."},
        {"role": "user", "content": "go"},
    ]
    for step in range(3):
        calls = [{"id": f"c{step}{n}", "type": "function", "function": {}} for n in range(12)]
        messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": "x"} for call in calls]
    caching.mark_messages(messages, "5m")
    tools: list[dict[str, Any]] = [{"type": "function"}, {"type": "function"}]
    caching.mark_tools(tools, "5m")
    marked = [at for at, m in enumerate(messages) if "cache_control" in str(m)]
    assert marked == [0, len(messages) - 14, len(messages) - 1]  # system, the previous request's end, this one's
    assert [("cache_control" in tool) for tool in tools] == [False, True]


def test_a_message_keeps_its_bytes_when_the_mark_moves_on() -> None:
    begin: list[dict[str, Any]] = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    more: list[dict[str, Any]] = [
        {"role": "assistant", "content": "a", "tool_calls": [{"id": "1"}]},
        {"role": "tool", "tool_call_id": "1", "content": "r"},
    ]
    first, second = copy.deepcopy(begin), copy.deepcopy([*begin, *more])
    caching.mark_messages(first, "1h")
    caching.mark_messages(second, "1h")
    assert second[:2] == first  # here even with the marks: the end of the request before keeps its own
    assert (second[-1]["content"], second[-1]["cache_control"]) == ("r", {**MARK, "ttl": "1h"})
    assert second[2] == more[0]


def test_a_gateway_that_knows_parts_alone_gets_parts() -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "u"}, {"role": "tool", "content": "r"}]
    caching.mark_messages(messages, "5m", parts_only=True)
    assert messages[1] == {"role": "tool", "content": [{"type": "text", "text": "r", "cache_control": MARK}]}
    assert caching.parts_only("openrouter.ai") and caching.parts_only("eu.openrouter.ai")
    assert not caching.parts_only("notopenrouter.ai") and not caching.parts_only("127.0.0.1")


@pytest.mark.parametrize("empty", ["", None])
def test_what_is_empty_is_not_marked(empty: str | None) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "u"}, {"role": "tool", "content": empty}]
    caching.mark_messages(messages, "5m")
    assert messages[1]["content"] == empty
    caching.mark_tools([], "5m")


def test_executions_of_one_version_share_a_key_and_a_change_makes_another() -> None:
    tools = [{"name": "shell"}]
    key = caching.key("a1", "You are ops.", tools)
    assert key == caching.key("a1", "You are ops.", [{"name": "shell"}])
    assert len({key, caching.key("a2", "You are ops.", tools), caching.key("a1", "You are dev.", tools)}) == 3
    assert key != caching.key("a1", "You are ops.", []) and len(key) <= 64


def test_a_single_question_without_tools_is_not_marked() -> None:
    assert not caching.pays([{"role": "user"}], [])
    assert caching.pays([{"role": "user"}], ["shell"])
    assert caching.pays([{"role": "user"}, {"role": "assistant"}, {"role": "user"}], [])


def test_it_is_told_once_that_a_cache_is_never_read() -> None:
    watch, unread = CacheWatch(), Usage(input_tokens=2000, cache_creation_tokens=2000)
    assert [watch.note("e", unread) for _ in range(STEPS + 3)] == [False] * (STEPS - 1) + [True] + [False] * 3


def test_one_read_is_enough_and_short_calls_do_not_count() -> None:
    watch = CacheWatch()
    assert not any(watch.note("read", Usage(2000, cache_read_tokens=1000 * (n == 2))) for n in range(20))
    assert not any(watch.note("short", Usage(500)) for _ in range(20))
    watch.forget("short")
