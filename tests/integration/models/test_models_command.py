"""`kubiya models`, against servers of this host."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.cli.main import call, cli
from tests.support.model_endpoint import ModelEndpoint
from tests.support.prompt_cache import CachingEndpoint

CALLS = [
    {"name": "get_temperature", "arguments": {"city": "Oslo"}},
    {"name": "get_temperature", "arguments": {"city": "Rome"}},
]
SENTENCE = {"text": "It is warmer in Rome than it is in Oslo, by fifteen degrees."}
JSON = {"text": '{"warmer": "Rome", "degrees": 19}', "when": '"response_format"', "forever": True}


@pytest.fixture
def endpoint() -> Iterator[ModelEndpoint]:
    with ModelEndpoint() as running:
        yield running


def kubiya(tmp_path: Path, *argv: str, **env: str) -> tuple[int, str, str]:
    """Run the command in this process: loading what speaks to models takes seconds, for each process that does."""
    before = dict(os.environ)
    out, err = io.StringIO(), io.StringIO()
    os.environ.clear()
    os.environ.update({"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **env})
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = call(cli, ["models", *argv])
    finally:
        os.environ.clear()
        os.environ.update(before)
    return code, out.getvalue(), err.getvalue()


def tried(tmp_path: Path, endpoint: ModelEndpoint, model: str = "small", **env: str) -> tuple[int, dict[str, Any]]:
    env = {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "sk-canary", **env}
    code, said, _ = kubiya(tmp_path, "test", model, "-o", "json", **env)
    found: dict[str, Any] = json.loads(said)
    return code, found


def statuses(found: dict[str, Any]) -> dict[str, str]:
    return {name: check["status"] for name, check in found["checks"].items()}


def test_a_model_that_can_all_of_it(tmp_path: Path, endpoint: ModelEndpoint) -> None:
    endpoint.script = [JSON, {"thinking": "Two cities.", "tools": CALLS}, SENTENCE]
    code, found = tried(tmp_path, endpoint)
    assert (code, found["ok"], found["calls"], found["error"]) == (0, True, 3, None)
    assert statuses(found) == {
        "tools": "yes",
        "parallel_tools": "yes",
        "streaming": "yes",
        "usage_in_the_stream": "yes",
        "reasoning": "yes",
        "structured_output": "yes",
        "caching": "unknown",
    }
    assert '"city": "Oslo"' in found["checks"]["tools"]["detail"]
    back = endpoint.requests[1]["body"]["messages"]
    assert [m["role"] for m in back] == ["system", "user", "assistant", "tool", "tool"]


def test_a_model_that_only_talks_ends_with_one(tmp_path: Path, endpoint: ModelEndpoint) -> None:
    endpoint.default = {**SENTENCE, "usage": None}
    code, found = tried(tmp_path, endpoint)
    assert (code, found["ok"]) == (1, False)
    assert (statuses(found)["tools"], statuses(found)["usage_in_the_stream"]) == ("no", "no")


@pytest.mark.parametrize("status", [400, 500])
def test_an_endpoint_that_takes_no_tools_is_told_apart_from_one_that_is_away(
    tmp_path: Path, endpoint: ModelEndpoint, status: int
) -> None:
    body = {"error": {"message": "small does not support tools"}}
    endpoint.script = [{"status": status, "body": body, "when": '"tools"', "forever": True}]
    endpoint.default = SENTENCE
    code, found = tried(tmp_path, endpoint)
    assert (code, found["checks"]["tools"]["status"]) == (1, "no")
    assert "does not support tools" in found["checks"]["tools"]["detail"]


@pytest.mark.parametrize(
    ("fault", "code"), [("auth", 77), ("rate_limited", 75), ("bad_request", 78), ("overloaded", 69)]
)
def test_a_fault_is_one_line_with_a_remedy_and_a_code(
    tmp_path: Path, endpoint: ModelEndpoint, fault: str, code: int
) -> None:
    endpoint.default = {"fault": fault}
    env = {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "sk-canary"}
    got, said, error = kubiya(tmp_path, "test", "small", **env)
    assert (got, said) == (code, "")
    assert error.startswith("kubiya: ") and error.count("\n") == 1 and ". " in error
    assert "sk-canary" not in error
    assert tried(tmp_path, endpoint)[0] == code


def test_a_prompt_cache_that_works_is_seen(tmp_path: Path) -> None:
    with CachingEndpoint() as endpoint:
        endpoint.script = [JSON, {"tools": CALLS}, SENTENCE]
        code, found = tried(tmp_path, endpoint, "claude-sonnet-4-5")
    assert (code, found["checks"]["caching"]["status"]) == (0, "yes"), found
    assert found["cost_usd"] > 0


def test_models_are_listed_with_window_and_price(tmp_path: Path, endpoint: ModelEndpoint) -> None:
    code, said, _ = kubiya(tmp_path, "ls", "--base-url", endpoint.url, "-o", "json")
    (row,) = json.loads(said)["models"]
    assert (code, row["model"], row["endpoint"]) == (0, "scripted", endpoint.url)
    prices = tmp_path / "prices.yaml"
    prices.write_text("models: {scripted: {input: 3, output: 15, context: 200000}}")
    code, said, _ = kubiya(tmp_path, "ls", "--base-url", endpoint.url, KUBIYA_MODEL_PRICES=str(prices))
    assert code == 0 and "scripted" in said and endpoint.url in said


def test_without_an_endpoint_it_says_how_to_get_one(tmp_path: Path) -> None:
    code, said, error = kubiya(tmp_path, "test", "no-such-model-anywhere")
    assert (code, said) == (78, "")
    assert error.startswith("kubiya: There is no endpoint for the model 'no-such-model-anywhere'. ")


def test_an_endpoint_that_is_away_is_named(tmp_path: Path) -> None:
    code, _, error = kubiya(tmp_path, "ls", "--base-url", "http://127.0.0.1:1/v1")
    assert code == 69 and error.startswith("kubiya: http://127.0.0.1:1/v1 cannot be reached") and "curl -v" in error


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (("test", "demo"), 64, "a script"),
        (("test",), 64, "MODEL"),
        (("ls", "--base-url", "localhost:1"), 64, "no URL"),
        (("test", "anthropic:"), 78, "names no model"),
        (("test", "anthropic:claude-x"), 78, "ANTHROPIC_API_KEY"),
    ],
)
def test_what_cannot_be_done_is_said_before_a_call(tmp_path: Path, argv: tuple[str, ...], code: int, says: str) -> None:
    got, _, error = kubiya(tmp_path, *argv)
    assert got == code and says in error
