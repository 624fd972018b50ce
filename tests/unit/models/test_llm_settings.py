"""These tests follow each setting of an agent's `llm_config` to the request."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.models import conversion
from kubiya_worker.models.connection import Connection

DIRECT = Connection("anthropic", "", "k")
OPENAI = Connection("openai", "https://api.openai.com/v1", "k")


@pytest.mark.parametrize(
    ("given", "connection", "expected"),
    [
        ({"temperature": 0.2}, DIRECT, {"temperature": 0.2}),
        ({"temperature": "0.2"}, DIRECT, {"temperature": 0.2}),
        ({"top_p": 0.5}, DIRECT, {"top_p": 0.5}),
        ({"top_k": 3}, DIRECT, {"top_k": 3}),
        ({"frequency_penalty": 1}, DIRECT, {"frequency_penalty": 1.0}),
        ({"presence_penalty": 1}, DIRECT, {"presence_penalty": 1.0}),
        ({"max_tokens": 100}, DIRECT, {"max_tokens": 100}),
        ({"seed": 7}, DIRECT, {"seed": 7}),
        ({"stop": "END"}, DIRECT, {"stop_sequences": ["END"]}),
        ({"stop_sequences": ["A", "B"]}, DIRECT, {"stop_sequences": ["A", "B"]}),
        ({"parallel_tool_calls": False}, DIRECT, {"parallel_tool_calls": False}),
        ({"thinking": "high"}, DIRECT, {"thinking": "high"}),
        ({"reasoning_effort": "low"}, OPENAI, {"openai_reasoning_effort": "low"}),
        ({"thinking": True}, OPENAI, {"openai_reasoning_effort": "medium"}),
    ],
)
def test_a_setting_reaches_the_request(given: dict[str, Any], connection: Connection, expected: dict[str, Any]) -> None:
    assert conversion.to_settings(given, {}, connection) == expected
