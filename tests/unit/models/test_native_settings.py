"""Settings reach Anthropic, Google and Bedrock under the names that pydantic-ai has for them."""

from __future__ import annotations

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.models.base import ModelRequest
from kubiya_worker.models.connection import Connection
from kubiya_worker.models.conversion import to_settings
from kubiya_worker.models.request_settings import settings_of


def test_each_has_its_name() -> None:
    given = {
        "temperature": "0.2",
        "max_tokens": 9,
        "top_k": 3,
        "stop": "END",
        "thinking": "high",
        "response_format": {},
    }
    expected = {"temperature": 0.2, "max_tokens": 9, "top_k": 3, "stop_sequences": ["END"], "thinking": "high"}
    assert to_settings(given) == expected


def test_deviations_of_chat_endpoints_are_refused_by_name() -> None:
    request = ModelRequest("m", "", [], settings={"compatibility": {"stream": False}})
    with pytest.raises(ConfigurationError, match="not for anthropic"):
        settings_of("m", request, Connection("anthropic", "", "k"))
