"""These tests send unknown and wrong fields: each is refused with its name, its place and the nearest name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from kubiya_worker.server.edges import definitions, executions, filters, jobs, worker
from kubiya_worker.server.edges.base import Filters, NotSupported, Strict, fields_of
from kubiya_worker.server.inputs import read, set_in
from kubiya_worker.server.refusals import ApiError


def refused(model: type[BaseModel], given: Any, place: str = "body") -> list[dict[str, Any]]:
    with pytest.raises(ApiError) as told:
        read(model, given, (place,))
    assert told.value.status == 422
    problems: list[dict[str, Any]] = told.value.detail
    return problems


@pytest.mark.parametrize(
    ("model", "body", "place", "near"),
    [
        (definitions.NewAgent, {"name": "a", "system_promt": "x"}, ["body", "system_promt"], "system_prompt"),
        (definitions.NewAgent, {"name": "a", "System_Prompt": "x"}, ["body", "System_Prompt"], "system_prompt"),
        (definitions.NewAgent, {"name": "a", "systm_prompt": None}, ["body", "systm_prompt"], "system_prompt"),
        (
            definitions.NewAgent,
            {"name": "a", "configuration": {"max_turn": 3}},
            ["body", "configuration", "max_turn"],
            "max_turns",
        ),
        (
            definitions.NewAgent,
            {"name": "a", "model_config": {"temprature": 1}},
            ["body", "model_config", "temprature"],
            "temperature",
        ),
        (
            definitions.NewAgent,
            {"name": "a", "skills": [{"type": "shell"}, {"type": "shell", "configuraton": {}}]},
            ["body", "skills", 1, "configuraton"],
            "configuration",
        ),
        (
            definitions.NewTeam,
            {"name": "t", "configuration": {"member_id": []}},
            ["body", "configuration", "member_id"],
            "member_ids",
        ),
        (
            executions.ExecuteDynamic,
            {"prompt": "p", "entity": {"configuration": {"runtime_config": {"agents": {"x": {"promt": ""}}}}}},
            ["body", "entity", "configuration", "runtime_config", "agents", "x", "promt"],
            "prompt",
        ),
        (jobs.NewJob, {"name": "j", "trigger_type": "cron", "cron": "* * * * *"}, ["body", "cron"], "cron_schedule"),
        (executions.Execute, {"prompt": "p", "zzz": 1}, ["body", "zzz"], ""),
    ],
)
def test_an_unknown_field_is_told_its_place_and_the_nearest_name(
    model: type[BaseModel], body: Any, place: list[Any], near: str
) -> None:
    (problem,) = refused(model, body)
    assert (problem["loc"], problem["type"]) == (place, "extra_forbidden")
    assert f"Unknown field {place[-1]!r}" in problem["msg"]
    if near:
        assert problem["msg"].endswith(f"Did you mean {near}?") and problem["ctx"] == {"nearest": near}
    else:
        assert "Known: prompt, system_prompt, " in problem["msg"]


def test_a_filter_that_is_not_known_is_refused_and_an_empty_one_is_none() -> None:
    (problem,) = refused(filters.ExecutionFilters, {"statsu": "running"}, "query")
    assert problem["loc"] == ["query", "statsu"] and problem["msg"].endswith("Did you mean status?")
    (problem,) = refused(filters.ExecutionFilters, {"status": "runing"}, "query")
    assert problem["msg"].startswith("Did you mean running? status is one of all, cancelled,")
    assert read(filters.ExecutionFilters, {"status": "", "limit": ""}).limit == 50
    assert read(filters.ExecutionFilters, {"limit": "9" * 30, "skip": "-1"}).model_dump() | {"skip": 0} == {
        **filters.ExecutionFilters().model_dump(),
        "limit": 500,
    }


def test_every_problem_of_a_body_is_told_at_once() -> None:
    problems = refused(definitions.NewAgent, {"name": 5, "skils": [], "tags": 1})
    assert [problem["loc"][-1] for problem in problems] == ["name", "skils", "tags"]


def test_null_is_no_field_and_a_field_that_asks_nothing_is_taken() -> None:
    body: dict[str, Any] = {
        "name": "a",
        "description": None,
        "runner_name": "",
        "skill_ids": [],
        "execution_environment": {"integration_ids": []},
    }
    assert set_in(read(definitions.NewAgent, body)) == {"name": "a", "execution_environment": {}}
    assert set_in(read(definitions.QueuePatch, {"max_workers": None})) == {"max_workers": None}


def strict_models(model: type[BaseModel] = Strict) -> list[type[BaseModel]]:
    return [each for child in model.__subclasses__() for each in (child, *strict_models(child))]


REFUSED = sorted(
    (model.__name__, name, model, mark)
    for model in strict_models()
    for name, mark in fields_of(model).items()
    if mark is not None
)


@pytest.mark.parametrize(("name", "model", "mark"), [(name, model, mark) for _, name, model, mark in REFUSED])
def test_a_field_without_effect_is_refused_with_its_name_and_what_to_do(
    name: str, model: type[BaseModel], mark: NotSupported
) -> None:
    problems = refused(model, {name: "something"})
    (problem,) = [problem for problem in problems if problem["type"] == "not_supported"]
    assert problem["loc"] == ["body", name]
    assert problem["msg"] == f"not supported yet: {name}. {mark.instead}"
    for harmless in (None, "", [], {}, False, *mark.harmless):
        assert name not in set_in(model.model_construct()) and not [
            p for p in problems_of(model, {name: harmless}) if p["loc"] == ["body", name]
        ]


def problems_of(model: type[BaseModel], body: Any) -> list[dict[str, Any]]:
    try:
        read(model, body)
    except ApiError as error:
        return list(error.detail)
    return []


def test_the_fields_that_issue_12_names_are_refused_where_they_have_no_effect() -> None:
    names = {name for _, name, _, _ in REFUSED}
    assert names >= {
        *("permission_mode", "runtime_config"),
        *("timeout", "integration_ids"),
    }


def test_a_worker_may_send_what_is_not_known() -> None:
    body = {"status": "active", "of_tomorrow": 1, "system_info": {"pid": 4, "of_tomorrow": 2}}
    assert set_in(read(worker.Beat, body)) == {"status": "active", "system_info": {"pid": 4, "of_tomorrow": 2}}
    events = {"events": [{"event_type": "message", "data": {"a": {}}, "of_tomorrow": 1}]}
    assert set_in(read(worker.EventsBody, events)) == {"events": [{"event_type": "message", "data": {"a": {}}}]}


def test_no_value_is_quoted_in_a_refusal() -> None:
    body = {"name": "a", "system_prompt": {"s3cret": 1}, "execution_environment": {"env_vars": {"A": ["s3cret"]}}}
    assert "s3cret" not in str(refused(definitions.NewAgent, body))
    assert isinstance(read(filters.Page, {}), Filters)
