"""`kubiya models` of the control plane: stored models and those of queues' own lists, beside those of this host."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest
import yaml

from tests.support.api import Api
from tests.support.commands import Commands

SPEC = {"model": "openai/gpt-4o-mini", "api_base": "http://127.0.0.1:1/v1", "description": "the small one"}


@pytest.fixture
def small(plane: Api) -> Any:
    """Yield the name of a stored model, which an agent names."""
    plane.call("POST", "/stored-models", {"name": "small-model", **SPEC})
    plane.agent(name="asks-small", model_id="small-model")
    yield "small-model"
    for path in ("/agents/asks-small", "/stored-models/small-model"):
        plane.ask("DELETE", path)


def listed(kubiya: Commands, model: str) -> list[dict[str, Any]]:
    return [row for row in kubiya("models", "ls", "-o", "json").json["models"] if row["model"] == model]


def test_stored_models_are_listed_with_who_names_them_and_what_hides_them(
    plane: Api, kubiya: Commands, small: str
) -> None:
    own = {"model_name": small, "litellm_params": {"model": "anthropic/x"}}
    settings = {"enable_local_litellm_proxy": True, "litellm_config": {"model_list": [own]}}
    plane.call("POST", "/environments/default/worker-queues", {"name": "lists-one", "settings": settings})
    stored, queue = listed(kubiya, small)
    assert (stored["origin"], stored["endpoint"], stored["used_by"]) == ("stored", SPEC["api_base"], ["asks-small"])
    assert stored["note"] == "hidden by the own list of lists-one" and stored["queues"] == []
    assert (queue["origin"], queue["queues"], queue["endpoint"]) == ("queue", ["lists-one"], "anthropic")
    table = kubiya("models", "ls", "-o", "table").out.splitlines()
    assert table[0].split()[:3] == ["MODEL", "ORIGIN", "QUEUES"]
    assert any(line.split()[:3] == [small, "stored", "all"] for line in table)
    plane.call("DELETE", "/worker-queues/lists-one")


def test_a_stored_model_is_shown_changed_and_removed(
    plane: Api, kubiya: Commands, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = yaml.safe_load(kubiya("models", "get", "small-mo").out)
    assert document == {"kind": "Model", "name": small, "spec": SPEC}
    assert small in kubiya("models", "get", small, "-o", "table").out
    monkeypatch.setattr(click, "edit", lambda text, **_: text.replace("gpt-4o-mini", "gpt-4o"))
    assert 'spec.model: "openai/gpt-4o-mini" -> "openai/gpt-4o"' in kubiya("models", "edit", small).out
    assert plane.call("GET", f"/stored-models/{small}")["model"] == "openai/gpt-4o"
    assert "spec.model" in kubiya("models", "history", small).out
    assert "agent asks-small" in kubiya("models", "rm", small, code=78).err
    told = kubiya("models", "rm", small, "--force").out
    assert "asks-small  unchanged" in told and f"model/{small}  deleted" in told


def test_a_model_of_a_queues_own_list_is_changed_there(plane: Api, kubiya: Commands) -> None:
    own = {"model_name": "of-a-queue", "litellm_params": {"model": "x"}}
    settings = {"enable_local_litellm_proxy": True, "litellm_config": {"model_list": [own]}}
    plane.call("POST", "/environments/default/worker-queues", {"name": "with-list", "settings": settings})
    assert "kubiya queues edit with-list" in kubiya("models", "edit", "of-a-queue", code=64).err
    assert "There is no model" in kubiya("models", "rm", "nobodys", code=64).err
    plane.call("DELETE", "/worker-queues/with-list")


def test_a_stored_model_is_tested_at_its_own_address_with_the_key_of_this_shell(
    plane: Api, kubiya: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"api_key": "os.environ/KUBIYA_MODEL_KEY_TRIED"}
    plane.call("POST", "/stored-models", {"name": "tried-model", **SPEC, **key})
    assert "KUBIYA_MODEL_KEY_TRIED is not set" in kubiya("models", "test", "tried-model", code=78).err
    monkeypatch.setenv("KUBIYA_MODEL_KEY_TRIED", "sk-canary")
    told = kubiya("models", "test", "tried-model", "-o", "json", code=69)
    assert "127.0.0.1:1" in json.dumps(told.json) and "sk-canary" not in told.out + told.err
    plane.call("DELETE", "/stored-models/tried-model")
