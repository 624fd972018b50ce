"""Stored models: entries of the lists that queues give their workers, kept while agents, teams or jobs name them."""

from __future__ import annotations

import uuid
from dataclasses import fields

import pytest

from kubiya_worker.models import compatibility, routes
from kubiya_worker.protocol.model_entries import COMPATIBILITY, PARAMS
from kubiya_worker.server.edges.base import fields_of
from kubiya_worker.server.edges.models import ModelCompatibility, ModelPatch
from kubiya_worker.server.stored_models import named_by
from tests.support.api import Api, Object

EXTRAS: Object = {
    "extra_body": {"num_ctx": 16384},
    "extra_headers": {"X-Tenant": "ops", "X-Api-Key": "${KUBIYA_MODEL_HEADER_OPS}"},
}
WHOLE: Object = {
    **{"description": "The small one", "model": "openai/gpt-4o-mini", "api_base": "https://models.example.com/v1"},
    **{"api_key": "os.environ/KUBIYA_MODEL_KEY_SMALL", **EXTRAS},
    "compatibility": {
        **{"stream": False, "stream_options": False, "tool_choice": "omit", "max_tokens_field": "max_tokens"},
        **{"extra_body": {"seed": 7}, "extra_headers": {"X-Team": "night"}},
    },
}


def name(start: str) -> str:
    return f"{start}-{uuid.uuid4().hex[:8]}"


def queue(api: Api, **fields: object) -> Object:
    made: Object = api.call("POST", "/environments/default/worker-queues", {"name": name("q"), **fields})
    return made


def model(api: Api, of: Object, **fields: object) -> Object:
    given = {"name": name("m"), "model": "openai/x", "queues": [of["name"]], **fields}
    made: Object = api.call("POST", "/stored-models", given)
    return made


def listed(api: Api, of: Object) -> list[Object]:
    settings = api.call("GET", f"/worker-queues/{of['id']}/config")["settings"]
    found: list[Object] = (settings.get("litellm_config") or {}).get("model_list", [])
    return found


def test_the_fields_are_those_that_a_worker_reads() -> None:
    taken = {key for key, refused in fields_of(ModelPatch).items() if refused is None}
    assert taken == {*PARAMS, "compatibility", "description", "queues"} - {"base_url"}  # another name of api_base
    own = {each.name for each in fields(compatibility.Compatibility)} - {"secrets"}
    assert set(fields_of(ModelCompatibility)) == set(COMPATIBILITY) == own == set(compatibility.KEYS)


def test_the_workers_of_a_queue_get_the_models_that_are_stored_for_it(api: Api) -> None:
    here, other = queue(api), queue(api)
    version = api.call("GET", f"/worker-queues/{here['id']}/config")["config_version"]
    made = model(api, here, **WHOLE)
    params = {key: WHOLE[key] for key in ("model", "api_base", "api_key", *EXTRAS)}
    (row,) = listed(api, here)
    assert row == {
        **{"model_name": made["name"], "litellm_params": params, "compatibility": WHOLE["compatibility"]},
        "model_info": {"id": made["id"], "origin": "stored"},
    }
    assert listed(api, other) == [] and made["queues"] == [here["name"]]
    found = api.call("GET", f"/stored-models/{made['name']}")
    assert {key: found[key] for key in WHOLE} == WHOLE
    changed = api.call("GET", f"/worker-queues/{here['id']}/config")["config_version"]
    assert changed != version
    variables = {"KUBIYA_MODEL_KEY_SMALL": "sk-1", "KUBIYA_MODEL_HEADER_OPS": "header-1"}
    route = routes.stored([row], "x", variables)[made["name"]]
    assert (route.base_url, route.upstream, route.key, route.fault) == (WHOLE["api_base"], "gpt-4o-mini", "sk-1", None)
    headers = {"X-Tenant": "ops", "X-Api-Key": "header-1", "X-Team": "night"}
    assert (route.compatibility.extra_headers, route.compatibility.tool_choice) == (headers, "omit")


def test_without_queues_all_have_the_model_and_the_published_list_too(api: Api) -> None:
    here, other = queue(api), queue(api)
    made = model(api, here, description="About it")
    api.call("PATCH", f"/stored-models/{made['id']}", {"queues": None})
    assert [row["model_name"] for row in (*listed(api, here), *listed(api, other))] == [made["name"]] * 2
    (shown,) = [each for each in api.call("GET", "/models") if each["id"] == made["name"]]
    assert (shown["provider"], shown["description"]) == ("stored", "About it")
    api.call("PATCH", f"/stored-models/{made['id']}", {"queues": [other["id"]], "description": "Other"})
    assert listed(api, here) == [] and len(listed(api, other)) == 1
    api.call("DELETE", f"/stored-models/{made['name']}")
    assert listed(api, other) == []


def test_an_entry_of_the_queue_wins_and_is_told(api: Api) -> None:
    made = name("m")
    own = {"model_name": made, "litellm_params": {"model": "own"}}
    settings = {"enable_local_litellm_proxy": True, "litellm_config": {"model_list": [own]}}
    here = queue(api, settings=settings)
    assert model(api, here, name=made)["hidden_in"] == [here["name"]]
    second = model(api, here)["name"]
    assert [row["model_name"] for row in listed(api, here)] == [made, second] and listed(api, here)[0] == own
    api.call("PATCH", f"/worker-queues/{here['id']}", {"settings": {**settings, "enable_local_litellm_proxy": False}})
    assert api.call("GET", f"/stored-models/{made}")["hidden_in"] == []


@pytest.mark.parametrize(
    ("fields", "place", "told"),
    [
        ({"api_key": "sk-in-the-open"}, ["api_key"], "os.environ/KUBIYA_MODEL_KEY_NAME"),
        ({"api_key": "{{.secret.A}}"}, ["api_key"], "a key is not stored with a model"),
        ({"api_key": "os.environ/AWS_SECRET_ACCESS_KEY"}, ["api_key"], "is not for models"),
        ({"api_key": "os.environ/OPENAI_API_KEY", "api_base": "https://x.example"}, ["api_key"], "is not for models"),
        ({"api_key": "os.environ/KUBIYA_MODEL_KEY_"}, ["api_key"], "is not for models"),
        ({"api_base": "models.example.com"}, ["api_base"], "no URL"),
        ({"model": "azure/gpt-4o"}, ["model"], "through LiteLLM only"),
        ({"model": "anthropic/x", "api_base": "https://x.example"}, ["model"], "at an address of its own"),
        ({"model": "anthropic/x", "extra_body": {"a": 1}}, ["extra_body"], "not for anthropic"),
        ({"model": "openai/"}, ["model"], "write openai/NAME"),
        ({"extra_body": {"messages": []}}, ["extra_body"], "is the worker's own"),
        ({"extra_body": {"api_key": "sk-aaaaaaaaaaaaaaaa"}}, ["extra_body", "api_key"], "in the open"),
        ({"extra_headers": {"Authorization": "Bearer x"}}, ["extra_headers"], "${KUBIYA_MODEL_HEADER_NAME}"),
        ({"extra_headers": {"X-A": "${HOME}"}}, ["extra_headers"], "that begin with KUBIYA_MODEL_HEADER_"),
        ({"extra_headers": {"X-A": "{{.secret.A}}"}}, ["extra_headers"], "no secret of the control plane"),
        ({"extra_headers": {"a b": "x"}}, ["extra_headers"], "is no header"),
        ({"compatibility": {"extra_headers": {"X-A": "${HOME}"}}}, ["compatibility"], "that begin with"),
        ({"compatibility": {"tool_choice": "any"}}, ["compatibility", "tool_choice"], "one of auto, omit"),
        ({"queues": ["nowhere"]}, ["queues", 0], "There is no queue 'nowhere'"),
        ({"queues": []}, ["queues"], "at least 1"),
        ({"name": "demo"}, ["name"], "the script that every worker has"),
        ({"name": "all-*"}, ["name"], "one model"),
        ({"name": "anthropic:x"}, ["name"], "that provider's API itself"),
        ({"rpm": 10}, ["rpm"], "Run LiteLLM itself"),
        ({"input_cost_per_token": 1}, ["input_cost_per_token"], "KUBIYA_MODEL_PRICES"),
        ({"base_url": "https://x.example"}, ["base_url"], "Set api_base"),
        ({"temperature": 1}, ["temperature"], "llm_config of the agents"),
    ],
)
def test_what_no_worker_would_keep_is_refused_by_name(api: Api, fields: Object, place: list[str], told: str) -> None:
    body = {"name": name("m"), "model": "openai/x", **fields}
    (first, *_) = api.call("POST", "/stored-models", body, 422)["detail"]
    assert first["loc"] == ["body", *place] and told in first["msg"]


@pytest.mark.parametrize(
    ("model_", "key"),
    [("gpt-4o", "OPENAI_API_KEY"), ("anthropic/c", "ANTHROPIC_API_KEY"), ("gemini/g", "GEMINI_API_KEY")],
)
def test_a_providers_own_key_goes_to_its_own_address_only(api: Api, model_: str, key: str) -> None:
    here = queue(api)
    made = model(api, here, model=model_, api_key=f"os.environ/{key}")
    assert routes.stored(listed(api, here), "x", {key: "sk-1"})[made["name"]].key == "sk-1"
    there = {"api_base": "https://elsewhere.example"}
    api.call("PATCH", f"/stored-models/{made['id']}", there, 422)
    (row,) = listed(api, here)
    moved = {**row, "litellm_params": {**row["litellm_params"], **there}}  # as another control plane might send it
    assert routes.stored([moved], "x", {key: "sk-1"})[made["name"]].fault


@pytest.mark.parametrize(
    "definition",
    [
        {"model_id": "m"},
        {"llm_config": {"fallback_models": ["other", "m"]}},
        {"configuration": {"fallback_models": "m"}},
        {"configuration": {"llm": {"model": "m"}}},
        {"config": {"model_id": "m"}},
        {"config": {"llm": {"model": "m"}}},
    ],
)
def test_who_names_a_model_is_found_wherever_it_is_named(definition: Object) -> None:
    assert "m" in named_by(definition) and "" not in named_by({"model_id": ""})


def test_what_agents_teams_and_jobs_name_is_deleted_only_by_force(api: Api) -> None:
    here = queue(api)
    made = model(api, here)["name"]
    agent = api.agent(model_id=made)
    team = api.call("POST", "/teams", {"name": name("t"), "configuration": {"llm": {"model": made}}})
    job = {"trigger_type": "manual", "entity_type": "agent", "entity_id": "ops", "prompt_template": "x"}
    job = api.call("POST", "/jobs", {**job, "name": name("j"), "config": {"model_id": made}})
    users = {("agent", agent["name"]), ("team", team["name"]), ("job", job["name"])}
    found = api.call("GET", f"/stored-models/{made}")["used_by"]
    assert {(each["kind"], each["name"]) for each in found} == users
    told = api.call("DELETE", f"/definitions/Model/{made}", None, 409)["detail"]
    assert all(each[1] in told["message"] for each in users)
    gone = api.call("DELETE", f"/definitions/Model/{made}?force=true")
    assert {(each["kind"], each["name"], each["now"]) for each in gone["ended"]} == {
        (kind, named, "unchanged") for kind, named in users
    }
    assert api.call("GET", f"/agents/{agent['id']}")["model_id"] == made  # a worker may have a model of this name
    assert listed(api, here) == []


def test_a_queue_that_goes_takes_only_its_own_models_with_it(api: Api) -> None:
    first, second = queue(api), queue(api)
    alone = model(api, first)["name"]
    both = model(api, first, queues=[first["name"], second["name"]])["name"]
    needed = api.call("DELETE", f"/worker-queues/{first['id']}", None, 409)["detail"]["needed_by"]
    assert {each["name"] for each in needed} == {alone, both}
    gone = api.call("DELETE", f"/worker-queues/{first['id']}?force=true")["ended"]
    assert {(each["name"], each["now"]) for each in gone} == {(alone, "deleted"), (both, "changed")}
    api.call("GET", f"/stored-models/{alone}", None, 404)
    assert api.call("GET", f"/stored-models/{both}")["queues"] == [second["name"]]


def test_a_queue_that_is_renamed_keeps_its_models(api: Api) -> None:
    here = queue(api)
    made = model(api, here)["name"]
    renamed = api.call("PATCH", f"/worker-queues/{here['id']}", {"name": name("r")})["name"]
    assert api.call("GET", f"/definitions/models/{made}")["spec"]["queues"] == [renamed]
    assert len(listed(api, here)) == 1


def test_a_model_is_applied_edited_rolled_back_and_pruned(api: Api) -> None:
    here = queue(api)
    one = {"kind": "Model", "name": name("m"), "spec": {**WHOLE, "queues": [here["name"]]}}
    source = {"source": name("s")}
    (change,) = api.call("POST", "/definitions/apply", {"documents": [one], **source})["changes"]
    assert change["action"] == "created"
    stored = api.call("GET", f"/definitions/models/{one['name']}")
    edited = {**stored, "spec": {**stored["spec"], "model": "openai/other"}}
    (change,) = api.call("POST", "/definitions/apply", {"documents": [edited], **source})["changes"]
    assert [each["path"] for each in change["differences"]] == ["spec.model"]
    assert listed(api, here)[0]["litellm_params"]["model"] == "openai/other"
    api.call("POST", f"/definitions/Model/{one['name']}/rollback", {"version": 1})
    assert listed(api, here)[0]["litellm_params"]["model"] == WHOLE["model"]
    versions = api.call("GET", f"/definitions/Model/{one['name']}/history")["versions"]
    assert len(versions) >= 3
    other = {"kind": "Skill", "name": name("s"), "spec": {"type": "shell"}}
    api.call("POST", "/definitions/apply", {"documents": [other], "prune": True, **source})
    api.call("GET", f"/stored-models/{one['name']}", None, 404)
