"""These tests follow each setting of an agent's `llm_config` to the request."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.models import model_settings
from kubiya_worker.models.base import ModelRequest
from kubiya_worker.models.connection import GATEWAY, Connection
from kubiya_worker.models.wire.chat_request import body_of
from kubiya_worker.protocol.tools import ToolSpec

OPENAI = Connection("openai", "https://api.openai.com/v1", "k")
GATEWAYS = Connection(GATEWAY, "http://gateway.example", "k")
SHELL = ToolSpec.parse({"name": "shell", "description": "run", "parameters": {"type": "object", "properties": {}}})
ALWAYS = {"model", "stream", "stream_options", "messages", "tools", "tool_choice"}
SAMPLING = {"temperature": 0.5, "top_p": 0.5, "frequency_penalty": 1.0, "presence_penalty": 1.0}


def sent(given: dict[str, Any], connection: Connection, model: str = "m") -> dict[str, Any]:
    body = body_of(model, ModelRequest(model, "", [], [SHELL], given), connection)
    return {name: value for name, value in body.items() if name not in ALWAYS}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"temperature": 0.2}, {"temperature": 0.2}),
        ({"temperature": "0.2"}, {"temperature": 0.2}),
        ({"temperature": "warm"}, {}),
        ({"temperature": "nan", "top_p": float("inf"), "max_tokens": float("inf")}, {}),
        ({"temperature": None, "seed": "x", "no_such_setting": 1}, {}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"top_k": 3}, {"top_k": 3}),
        ({"frequency_penalty": 1}, {"frequency_penalty": 1.0}),
        ({"presence_penalty": 1}, {"presence_penalty": 1.0}),
        ({"max_tokens": "100"}, {"max_tokens": 100}),
        ({"seed": 7}, {"seed": 7}),
        ({"stop": "END"}, {"stop": ["END"]}),
        ({"stop_sequences": ["A", 1]}, {"stop": ["A", "1"]}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        ({"thinking": "high"}, {"thinking": "high"}),
        ({"reasoning_effort": "none"}, {"thinking": False}),
        ({"thinking": "bogus"}, {}),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        ({"response_format": "json"}, {}),
        ({"timeout": 3, "caching": "off", "compatibility": {}, "vision": True}, {}),
    ],
)
def test_a_setting_is_read_in_its_type_or_left_out(given: dict[str, Any], read: dict[str, Any]) -> None:
    assert model_settings.read(given) == read


@pytest.mark.parametrize(
    ("given", "connection", "expected"),
    [
        (SAMPLING | {"seed": 7, "stop": "END"}, GATEWAYS, SAMPLING | {"seed": 7, "stop": ["END"]}),
        ({"stop_sequences": ["A"]}, OPENAI, {"stop": ["A"]}),
        ({"parallel_tool_calls": False}, GATEWAYS, {"parallel_tool_calls": False}),
        ({"reasoning_effort": "low"}, OPENAI, {"reasoning_effort": "low"}),
        ({"thinking": True}, GATEWAYS, {"reasoning_effort": "medium"}),
        ({"thinking": False}, GATEWAYS, {}),
        ({"max_tokens": 9}, OPENAI, {"max_completion_tokens": 9}),
        ({"max_tokens": 9}, GATEWAYS, {"max_tokens": 9}),
        (
            {"max_tokens": 9, "compatibility": {"max_tokens_field": "max_completion_tokens"}},
            GATEWAYS,
            {"max_completion_tokens": 9},
        ),
        ({"top_k": 3}, GATEWAYS, {"top_k": 3}),
        ({"top_k": 3}, OPENAI, {}),
        (
            {"temperature": 1, "compatibility": {"extra_body": {"temperature": 0.9, "x": 1}}},
            GATEWAYS,
            {"temperature": 0.9, "x": 1},
        ),
    ],
)
def test_a_setting_reaches_the_request(given: dict[str, Any], connection: Connection, expected: dict[str, Any]) -> None:
    assert sent(given, connection) == expected


@pytest.mark.parametrize("model", ["o1", "o3-mini", "O4-mini", "openai/gpt-5", "gpt-5-mini", "gpt-5-2025-08-07"])
def test_models_that_always_reason_get_no_settings_of_sampling(model: str) -> None:
    assert sent(SAMPLING | {"seed": 7}, GATEWAYS, model) == {"seed": 7}


@pytest.mark.parametrize("model", ["gpt-5.1", "openai/gpt-5.2-codex"])
def test_models_that_reason_on_demand_get_them_without_an_effort(model: str) -> None:
    assert sent(SAMPLING, GATEWAYS, model) == SAMPLING
    assert sent(SAMPLING | {"thinking": "low"}, GATEWAYS, model) == {"reasoning_effort": "low"}


@pytest.mark.parametrize(
    "model", ["gpt-4o", "gpt-5-chat-latest", "gpt-oss-120b", "claude-sonnet-4", "o1x-local", "gpt-50"]
)
def test_other_models_keep_them(model: str) -> None:
    assert sent(SAMPLING | {"thinking": "low"}, GATEWAYS, model) == SAMPLING | {"reasoning_effort": "low"}
