"""Each field of a definition does what it says: these tests set it and look at what follows."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubiya_worker.server.background import drop_old_queues
from tests.support.api import Api, Object

# What is shown as it was given: (path, a body that is taken, the fields).
SHOWN: dict[str, tuple[str, Object, Object]] = {
    "environment": (
        "/environments",
        {},
        {"name": "Staging", "display_name": "Staging area", "description": "For tests", "tags": ["a", "b"]},
    ),
    "queue": (
        "/environments/default/worker-queues",
        {},
        {
            **{"name": "builds", "display_name": "Builds", "description": "Long ones", "tags": ["x"]},
            **{"worker_type": "local", "parent_execution_id": "e-1"},
        },
    ),
    "agent": (
        "/agents",
        {},
        {"name": "watcher", "description": "Watches", "capabilities": ["logs"], "status": "running"},
    ),
    "team": ("/teams", {}, {"name": "night shift", "description": "At night", "status": "archived"}),
    "rule": ("/approval-rules", {"scope_type": "all"}, {"name": "careful", "description": "Asks for everything"}),
    "job": (
        "/jobs",
        {"trigger_type": "manual", "entity_type": "agent", "entity_id": "ops", "prompt_template": "Look."},
        {"name": "nightly", "description": "Looks at night"},
    ),
}


@pytest.mark.parametrize("kind", SHOWN)
def test_what_is_given_is_stored_and_shown(api: Api, kind: str) -> None:
    path, body, fields = SHOWN[kind]
    made = api.call("POST", path, {"name": f"x-{uuid.uuid4()}"[:40], **body})
    place = {"queue": "/worker-queues", "rule": "/approval-rules"}.get(kind, path) + f"/{made['id']}"
    for name, value in fields.items():
        assert api.call("PUT" if kind == "rule" else "PATCH", place, {name: value})[name] == value
    shown = next(one for one in api.call("GET", place.rpartition("/")[0]) if one["id"] == made["id"])
    assert {name: shown[name] for name in fields} == fields
    made = api.call("POST", path, {**body, **fields, "name": f"y-{uuid.uuid4()}"[:40]})
    assert {name: made[name] for name in fields if name != "name"} == {k: v for k, v in fields.items() if k != "name"}


# -- queues


def queue(api: Api, **fields: Any) -> Object:
    made: Object = api.call(
        "POST", "/environments/default/worker-queues", {"name": f"q{uuid.uuid4().hex[:9]}", **fields}
    )
    return made


def start(api: Api, queue_id: str, **fields: Any) -> Object:
    told: Object = api.call("POST", f"/worker-queues/{queue_id}/start", fields)
    return told


def test_a_queue_takes_as_many_workers_as_max_workers_says(api: Api) -> None:
    made = queue(api, max_workers=1)["id"]
    assert api.call("GET", f"/worker-queues/{made}/worker-command")["can_register"] is True
    start(api, made)
    assert api.call("GET", f"/worker-queues/{made}/worker-command")["can_register"] is False
    api.call("PATCH", f"/worker-queues/{made}", {"max_workers": None})
    assert api.call("GET", f"/worker-queues/{made}/worker-command")["can_register"] is True


def test_a_queue_tells_its_workers_how_to_work(api: Api) -> None:
    settings = {"enable_local_litellm_proxy": True, "litellm_config": {"model_list": []}}
    made = queue(api, heartbeat_interval=17, single_execution_mode=True, settings=settings)["id"]
    told = start(api, made)
    assert (told["heartbeat_interval"], told["queue_single_execution"]) == (17, True)
    assert api.call("GET", f"/worker-queues/{made}/config")["settings"] == settings


def test_a_queue_for_one_run_is_hidden_and_gets_no_other_work(api: Api) -> None:
    made = queue(api, ephemeral=True)["id"]
    assert start(api, made)["queue_ephemeral"] is True
    assert made not in [one["id"] for one in api.call("GET", "/worker-queues")]
    start(api, queue(api)["id"])
    execution = api.call("POST", "/agents/ops/execute", {"prompt": "x"})["execution_id"]
    assert api.call("GET", f"/executions/{execution}")["queue_id"] != made


def test_a_queue_is_deleted_after_its_time_unless_somebody_needs_it(api: Api) -> None:
    made = [queue(api, auto_cleanup_after_seconds=60)["id"] for _ in range(4)]
    alone, watched, working, planned = made
    start(api, watched)
    execution = api.execute(worker_queue_id=working)
    name = api.call("GET", f"/worker-queues/{planned}")["name"]
    job = {"name": "held", "trigger_type": "cron", "cron_schedule": "5 4 * * *", "prompt_template": "x"}
    where = {"executor_type": "specific_queue", "worker_queue_name": name}
    api.call("POST", "/jobs", {**job, **where, "entity_type": "agent", "entity_id": "ops"})
    now = datetime.now(UTC)
    assert drop_old_queues(api.plane, now + timedelta(seconds=50)) == []
    assert drop_old_queues(api.plane, now + timedelta(seconds=70)) == [alone]
    api.call("GET", f"/worker-queues/{alone}", None, 404)
    api.call("POST", f"/executions/{execution}/cancel", {})
    assert drop_old_queues(api.plane, now + timedelta(seconds=70)) == [working]


def test_a_queue_that_is_not_active_takes_no_workers_and_no_work(api: Api) -> None:
    made = queue(api)["id"]
    api.call("PATCH", f"/worker-queues/{made}", {"status": "paused"})
    api.call("POST", f"/worker-queues/{made}/start", {}, 400)
    api.call("POST", "/agents/ops/execute", {"prompt": "x", "worker_queue_id": made}, 400)


@pytest.mark.parametrize("status", ["inactive", "archived"])
def test_a_team_that_is_not_active_starts_nothing(api: Api, status: str) -> None:
    start(api, "default")  # who names no queue needs one with a live worker
    api.call("POST", "/teams/triage/execute", {"prompt": "x"})
    api.call("PATCH", "/teams/triage", {"status": status})
    told = api.call("POST", "/teams/triage/execute", {"prompt": "x"}, 400)
    assert told["detail"] == f"The team 'triage' is {status}, not active"
    api.call("PATCH", "/teams/triage", {"status": "active"})
    api.call("POST", "/teams/triage/execute", {"prompt": "x"})


def test_the_environment_of_a_queue_is_the_one_of_its_path(api: Api) -> None:
    assert queue(api, environment_id="default")["environment_id"]
    body = {"name": "astray", "environment_id": "elsewhere"}
    told = api.call("POST", "/environments/default/worker-queues", body, 422)
    assert told["detail"][0]["loc"] == ["body", "environment_id"]


# -- agents, teams, skills, environments


def test_an_agents_definition_is_what_its_run_starts_with(api: Api) -> None:
    llm = {"temperature": 0.2}
    agent = api.agent(system_prompt="Be brief.", model_id="m-1", llm_config=llm, configuration={"cwd": "/srv"})["id"]
    given = api.input_of(api.execute(agent))
    assert (given["system_prompt"], given["model_id"], given["model_config"]) == ("Be brief.", "m-1", llm)
    assert given["agent_config"] == {"cwd": "/srv"}
    assert given["runtime_type"] == "default"
    assert api.input_of(api.execute(api.agent(runtime="claude_code")["id"]))["runtime_type"] == "claude_code"


def test_model_and_model_config_are_other_names(api: Api) -> None:
    made = api.agent(model="m-2", model_config={"top_p": 0.5})
    assert (made["model_id"], made["llm_config"], made["model_config"]) == ("m-2", {"top_p": 0.5}, {"top_p": 0.5})
    both = api.agent(model="other", model_id="m-3")
    assert both["model_id"] == "m-3" and "model" not in both


def test_what_a_worker_says_beside_a_status_is_dropped_as_published(api: Api) -> None:
    agent = api.agent()["id"]
    body = {"status": "running", "last_active_at": "2026-01-01T00:00:00Z", "state": {"a": 1}, "error_message": "x"}
    found = api.call("PATCH", f"/agents/{agent}", body)
    assert found["status"] == "running"
    assert (found["last_active_at"], found["state"], found["error_message"]) == (None, {}, None)


def test_a_skill_is_what_a_worker_gets_unless_it_is_switched_off(api: Api) -> None:
    skill = {
        **{"id": "s-1", "name": "ops shell", "type": "shell", "description": "Runs", "icon": "cog", "enabled": True},
        "configuration": {"allowed_commands": ["ls"]},
    }
    off = {"type": "python", "enabled": False}
    for kind in ("agents", "teams"):
        made = api.call("POST", f"/{kind}", {"name": f"s-{uuid.uuid4()}", "skills": [skill, off]})["id"]
        (found,) = api.call("GET", f"/skills/associations/{kind}/{made}/skills/resolved")
        assert {name: found[name] for name in skill} == skill
    assert api.call("GET", "/skills/s-1")["name"] == "ops shell"


def test_variables_and_mcp_servers_come_from_environments_and_then_from_the_agent(api: Api) -> None:
    servers = {"tickets": {"url": "https://tickets.example"}}
    first = {"env_vars": {"REGION": "eu", "LEVEL": 3}, "mcp_servers": servers}
    environment = api.call("POST", "/environments", {"name": "eu", "execution_environment": first})["id"]
    own = {"env_vars": {"REGION": "us"}, "mcp_servers": {"wiki": {"command": "wiki"}}}
    fields = {"environment_ids": [environment], "execution_environment": own}
    for kind, made in (("agent", api.agent(**fields)), ("team", api.call("POST", "/teams", {"name": "eus", **fields}))):
        found = api.call("GET", f"/execution-environment/{kind}s/{made['id']}/resolved/full")
        assert found["env_vars"] == {"REGION": "us", "LEVEL": "3"}
        assert set(found["mcp_servers"]) == {"tickets", "wiki"}


def test_a_teams_configuration_is_what_its_run_starts_with(api: Api) -> None:
    member = api.agent()["id"]
    wanted = queue(api)
    configuration = {"member_ids": [member], "member_queues": {member: wanted["name"]}, "mode": "route"}
    team = api.call("POST", "/teams", {"name": "t-1", "configuration": configuration})["id"]
    shown = api.call("PATCH", f"/teams/{team}", {"configuration": {**configuration, "mode": "sequential"}})
    assert [one["id"] for one in shown["agents"]] == [member]
    execution = api.call("POST", f"/teams/{team}/execute", {"prompt": "x", "worker_queue_id": "default"})
    given = api.input_of(execution["execution_id"])["team_config"]
    assert given == {**configuration, "mode": "sequential", "member_queues": {member: wanted["id"]}}


# -- approval rules


def resolved(api: Api, **question: Any) -> list[str]:
    return [
        rule["name"]
        for rule in api.call("POST", "/approval-rules/resolve", {"tool_name": "shell", **question})["rules"]
    ]


def test_rules_are_found_by_what_they_are_about(api: Api) -> None:
    mark = uuid.uuid4().hex[:6]
    tool = f"tool_{mark}"
    rules: dict[str, Object] = {
        "low": {"scope_type": "tool", "scope_value": tool, "priority": 1},
        "high": {"scope_type": "tool", "scope_value": tool, "priority": 9},
        "off": {"scope_type": "tool", "scope_value": tool, "enabled": False},
        "risky": {"scope_type": "risk_level", "scope_value": "high"},
        "files": {"scope_type": "category", "scope_value": f"files-{mark}"},
    }
    for name, fields in rules.items():
        api.call("POST", "/approval-rules", {"name": f"{mark}-{name}", **fields})
    about = {"tool_name": tool, "tool_args": {"command": "ls"}}
    ours = [name for name in resolved(api, **about) if name.startswith(mark)]
    assert ours == [f"{mark}-high", f"{mark}-low"]
    assert f"{mark}-risky" in resolved(api, risk_level="critical", tool_args={})
    assert f"{mark}-files" in resolved(api, category=f"files-{mark}")


def test_the_strongest_rule_says_whether_a_person_is_asked(api: Api) -> None:
    tool = f"tool_{uuid.uuid4().hex[:6]}"
    body = {"name": tool, "scope_type": "tool", "scope_value": tool, "priority": 50, "action": "allow"}
    made = api.call("POST", "/approval-rules", body)["id"]
    question = {"tool_name": tool}
    assert api.call("POST", "/approval-rules/resolve", question)["requires_approval"] is False
    api.call("PUT", f"/approval-rules/{made}", {"action": "ask"})
    assert api.call("POST", "/approval-rules/resolve", question)["requires_approval"] is True


def test_what_a_worker_needs_of_a_rule_reaches_it(api: Api) -> None:
    fields = {
        "argument_pattern": "rm ",
        "timeout_minutes": 5,
        "require_reason": True,
        "action": "deny",
        "enabled": True,
    }
    made = api.call("POST", "/approval-rules", {"name": f"r-{uuid.uuid4()}", "scope_type": "all", **fields})["id"]
    rules = api.call("GET", f"/executions/{api.execute()}/context")["approval_rules"]
    rule = next(rule for rule in rules if rule["id"] == made)
    assert {name: rule[name] for name in fields} == fields


def test_a_rule_that_wants_a_reason_is_not_answered_without_one(api: Api) -> None:
    body = {"name": f"r-{uuid.uuid4()}", "scope_type": "tool", "scope_value": "reasoned", "require_reason": True}
    rule = api.call("POST", "/approval-rules", body)["id"]
    for verb, word in (("approve", "comment"), ("reject", "reason")):
        asked = {"execution_id": api.execute(), "tool_name": "reasoned", "rule_id": rule}
        if verb == "reject":  # as a worker says it of a rule in its own file
            asked = {**asked, "rule_id": None, "enforcement_context": {"require_reason": True}}
        made = api.call("POST", "/approvals", asked)["id"]
        told = api.call("POST", f"/approvals/{made}/{verb}", {word: "  "}, 422)
        assert told["detail"][0]["loc"] == ["body", word] and "wants a reason" in told["detail"][0]["msg"]
        api.call("POST", f"/approvals/{made}/{verb}", {word: "It is planned"})
