"""A LiteLLM proxy's configuration without the proxy: where each model is served, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.models import Endpoint, Models
from kubiya_worker.models.hosted_model import HostedModel
from kubiya_worker.models.routes import Route, Routing, literal_keys, parse, read

FILE = """\
model_list:
- model_name: small
  litellm_params: {model: openai/gpt-4o-mini, api_key: os.environ/MY_KEY}
- model_name: own
  litellm_params: {model: hosted_vllm/meta/llama-3, api_base: "http://gpu:8000/v1/", api_key: sk-own}
- model_name: claude
  litellm_params: {model: anthropic/claude-x, api_key: sk-ant}
litellm_settings: {drop_params: true}
environment_variables: {MY_KEY: sk-mine}
"""


def _one(**params: Any) -> dict[str, Any]:
    return {"model_list": [{"model_name": "m", "litellm_params": params}]}


def test_each_name_has_its_endpoint_its_key_and_the_provider_s_name(tmp_path: Path) -> None:
    path = tmp_path / "litellm.yaml"
    path.write_text(FILE)
    assert read(str(path), None, {}) == {
        "small": Route("gateway", "gpt-4o-mini", "https://api.openai.com/v1", "sk-mine"),
        "own": Route("gateway", "meta/llama-3", "http://gpu:8000/v1", "sk-own"),
        "claude": Route("anthropic", "claude-x", "", "sk-ant"),
    }


def test_json_does_as_well_and_variables_of_the_worker_count() -> None:
    text = json.dumps(_one(model="x", api_base="os.environ/BASE", api_key="os.environ/KEY"))
    assert read(None, text, {"BASE": "http://h/v1", "KEY": "k1"}) == {"m": Route("gateway", "x", "http://h/v1", "k1")}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, "has no model_list"),
        ({"model_list": []}, "has no model_list"),
        ({"model_list": ["x"]}, r"model_list\[0\] needs a model_name"),
        ({"model_list": [{"model_name": "m"}]}, r"model_list\[0\] needs a model_name and litellm_params"),
        (
            _one(model="azure/x", api_base="https://h", api_key="k"),
            "m: the provider azure can only be reached through LiteLLM itself",
        ),
        (_one(model="anthropic/x", api_base="https://h"), "anthropic at an address of its own"),
        (_one(model="x", api_base="gpu:8000"), "api_base is no URL"),
        (_one(model="x", rpm=5), "litellm_params.rpm of m is for LiteLLM's own proxy"),
        (_one(model="x", api_key="os.environ/NOT_SET"), "the variable NOT_SET is not set"),
        ({**_one(model="x"), "router_settings": {}}, "router_settings is for LiteLLM's own proxy"),
        ({**_one(model="x"), "litellm_settings": {"callbacks": ["langfuse"]}}, "litellm_settings.callbacks is for"),
        ({"model_list": 2 * _one(model="x")["model_list"]}, r"model_list\[1\]: there are two of m"),
        ({"model_list": [{"model_name": "*", "litellm_params": {"model": "openai/*"}}]}, "any number of models"),
    ],
)
def test_what_only_litellm_can_do_is_refused_by_name(document: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        parse(document, "f.yaml", {})
    assert caught.value.message.startswith("f.yaml") and caught.value.remedy


def test_what_is_not_given_or_given_twice_is_said(tmp_path: Path) -> None:
    for path, text, says in (
        (None, None, "needs a list of models"),
        ("a", "b", "contradict each other"),
        (str(tmp_path / "gone"), None, "cannot be read"),
        (None, "{sk-secret: [", "not valid YAML or JSON"),
        (None, "- sk-secret", "has to be a mapping"),
    ):
        with pytest.raises(ConfigurationError, match=says) as caught:
            read(path, text, {})
        assert "sk-secret" not in caught.value.line()


def test_models_go_where_they_are_served_and_share_what_they_can() -> None:
    routes = {
        "a": Route("gateway", "up-a", "http://one/v1", "k"),
        "b": Route("gateway", "up-b", "http://one/v1", "k"),
        "c": Route("gateway", "up-c", "http://one/v1", "other"),
    }
    models = Models(Endpoint("http://gateway"), {}, routing=Routing(routes))
    a, b, c = (models.select(name) for name in "abc")
    assert isinstance(a, HostedModel) and isinstance(b, HostedModel) and isinstance(c, HostedModel)
    assert (a.label, b.label) == ("up-a at one", "up-b at one")
    assert a._client is b._client is not c._client and c._client.connection.api_key == "other"
    with pytest.raises(ConfigurationError, match="'d' is not in the proxy's model_list") as caught:
        models.select("d")
    assert caught.value.remedy == "There are: a, b, c"
    assert models.select("demo").label == "demo model, not an LLM"


def test_prices_are_those_of_the_model_behind_the_name() -> None:
    routes = {"small": Route("gateway", "gpt-4o-mini", "http://one/v1", "k")}
    assert Models(Endpoint(), {}, routing=Routing(routes)).window("small") == Models(Endpoint(), {}).window(
        "gpt-4o-mini"
    )
    assert Models(Endpoint(), {}, routing=Routing(routes)).window("small")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (_one(model="x", api_key="sk-1"), True),
        (_one(model="x", api_key="os.environ/K"), False),
        (_one(model="x"), False),
        ({**_one(model="x"), "environment_variables": {"K": "sk-1"}}, True),
    ],
)
def test_keys_that_would_be_seen_on_a_command_line(document: dict[str, Any], expected: bool) -> None:
    assert literal_keys(json.dumps(document)) is expected
