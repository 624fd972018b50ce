"""These tests check which model serves an id, and the message when no model does."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.models import Endpoint, Models, choice
from kubiya_worker.models.demo import DemoModel
from kubiya_worker.models.hosted_model import HostedModel

GATEWAY = "http://127.0.0.1:4000"


@pytest.mark.parametrize(
    ("override", "agent", "default", "expected"),
    [
        ("o", "a", "d", "o"),
        (None, "a", "d", "a"),
        (None, None, "d", "d"),
        ("", " ", "", "kubiya/claude-sonnet-4"),
        (None, " a ", None, "a"),
    ],
)
def test_order_of_choice(override: str | None, agent: str | None, default: str | None, expected: str) -> None:
    models = Models(Endpoint(GATEWAY, "k", default_model=default, override=override), {})
    assert models.resolve(agent) == expected


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [
        ("kubiya/claude-sonnet-4", ("gateway", "kubiya/claude-sonnet-4")),
        ("openai/gpt-5", ("gateway", "openai/gpt-5")),
        ("ollama/llama3:8b", ("gateway", "ollama/llama3:8b")),
        ("llama3:8b", ("gateway", "llama3:8b")),
        ("openai:gpt-5", ("openai", "gpt-5")),
        ("bedrock:anthropic.claude-v2:1", ("bedrock", "anthropic.claude-v2:1")),
    ],
)
def test_only_known_prefixes_leave_the_gateway(model_id: str, expected: tuple[str, str]) -> None:
    assert choice.split(model_id) == expected


def test_demo_needs_no_endpoint_and_says_what_it_is() -> None:
    model = Models(Endpoint(), {}).select("demo")
    assert isinstance(model, DemoModel)
    assert model.label == "demo model, not an LLM"


def test_no_endpoint_names_the_variables_to_set() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Models(Endpoint(), {}).select(None)
    assert "kubiya/claude-sonnet-4" in caught.value.message
    for name in ("LITELLM_API_BASE", "OPENAI_API_KEY", "OPENAI_BASE_URL", "demo"):
        assert name in caught.value.remedy


def test_an_address_without_a_scheme_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="is no URL"):
        Models(Endpoint("localhost:4000", "k"), {}).select("m")


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "installed", lambda package: False)
    with pytest.raises(ConfigurationError) as caught:
        Models(Endpoint(GATEWAY, "k"), {}).select("anthropic:claude-sonnet-4")
    assert "pip install 'kubiya-worker[anthropic]'" in caught.value.remedy


def test_a_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "installed", lambda package: True)
    with pytest.raises(ConfigurationError) as caught:
        Models(Endpoint(GATEWAY, "k"), {}).select("google:gemini-2.5-flash")
    assert "GOOGLE_API_KEY" in caught.value.remedy


def test_packages_are_looked_up_without_importing_them() -> None:
    assert choice.installed("json")
    assert not choice.installed("no_such_package")
    assert not choice.installed("no_such_package.inner")


def test_only_providers_with_an_api_of_their_own_need_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "installed", lambda package: False)
    models = Models(Endpoint(), {"OPENAI_API_KEY": "sk-x", "ANTHROPIC_API_KEY": "sk-y"})
    assert isinstance(models.select("openai:gpt-5-mini"), HostedModel)
    with pytest.raises(ConfigurationError, match="needs the package 'anthropic'"):
        models.select("anthropic:claude-sonnet-5")


def test_an_id_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="names no model"):
        Models(Endpoint(GATEWAY, "k"), {}).select("openai:")


def test_the_key_of_an_endpoint_is_not_shown() -> None:
    endpoint = Endpoint(GATEWAY, "sk-canary")
    model = Models(endpoint, {}).select("m")
    assert isinstance(model, HostedModel)
    assert "sk-canary" not in repr(endpoint) + repr(model) + repr(model._client.connection) + model.label


def test_a_password_in_the_address_is_not_shown() -> None:
    model = Models(Endpoint("http://user:hunter2@gateway.example:4000/v1", "k"), {}).select("m")
    assert model.label == "m at gateway.example:4000"


@pytest.mark.parametrize(
    ("url", "gateway", "expected"),
    [(GATEWAY, True, True), (GATEWAY, False, False), ("https://api.openai.com/v1", True, False)],
)
def test_only_a_gateway_takes_metadata(url: str, gateway: bool, expected: bool) -> None:
    assert Endpoint(url, "k", gateway=gateway).takes_metadata is expected


def test_importing_and_selecting_loads_no_provider() -> None:
    program = (
        "import sys, kubiya_worker.models as m\n"
        "m.Models(m.Endpoint('http://127.0.0.1:1', 'k'), {}).select('x'); m.Models(m.Endpoint(), {}).select('demo')\n"
        "heavy = {'pydantic', 'pydantic_ai', 'openai', 'httpx2', 'anthropic', 'boto3', 'google'} & sys.modules.keys()\n"
        "print(sorted(heavy)); sys.exit(bool(heavy))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
