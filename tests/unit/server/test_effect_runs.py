"""Each field of a request to an execution or a job does what it says: these tests send it and look at what follows."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.support.api import Api, Object

USER = {"user_id": "u-1", "user_name": "Ada", "user_email": "ada@acme.example", "user_avatar": "a.png"}


# -- start an execution


def test_a_request_says_what_its_run_starts_with(api: Api) -> None:
    folder = {"working_dir": "/srv/app", "env_vars": {"REGION": "eu", "LEVEL": 3}}
    fields: Object = {
        "system_prompt": "Be brief.",
        "model_id": "m-9",
        "user_metadata": USER,
        "execution_environment": folder,
    }
    execution = api.execute(**fields, prompt="Look at it.", execution_metadata={"interactive": True})
    given = api.input_of(execution)
    assert (given["prompt"], given["system_prompt"], given["model_id"]) == ("Look at it.", "Be brief.", "m-9")
    assert given["agent_config"]["cwd"] == "/srv/app" and given["user_metadata"] == USER
    assert "REGION" not in str(given), "variables are no part of a history"
    path = f"/execution-environment/agents/ops/resolved?execution_id={execution}"
    assert api.call("GET", path) == {"REGION": "eu", "LEVEL": "3"}
    row = api.call("GET", f"/executions/{execution}")
    assert {name: row[name] for name in USER} == USER
    assert row["execution_metadata"] == {"interactive": True}


def test_a_run_goes_to_its_queue_and_knows_what_started_it(api: Api) -> None:
    made = api.call("POST", "/environments/default/worker-queues", {"name": "special"})
    execution = api.execute(worker_queue_id="special", parent_execution_id="e-0", stream=True)
    row = api.call("GET", f"/executions/{execution}")
    assert (row["queue_id"], row["parent_execution_id"]) == (made["id"], "e-0")
    other = api.call("GET", f"/executions/{api.execute(stream=False)}")
    assert set(other) == set(row), "the answer is the same with and without stream"


def test_a_priority_is_temporals_and_a_retry_keeps_it(api: Api) -> None:
    urgent = api.execute(priority=1)
    assert api.input_of(urgent)["temporal_priority"] == 1
    assert "temporal_priority" not in api.input_of(api.execute())
    api.call("POST", f"/executions/{urgent}/cancel", {})
    again = api.call("POST", f"/executions/{urgent}/retry", {})["execution_id"]
    assert api.input_of(again)["temporal_priority"] == 1
    for wrong in (0, 6, "high", 1.5):
        api.call("POST", "/agents/ops/execute", {"prompt": "x", "priority": wrong}, 422)


def test_a_team_takes_the_same_request(api: Api) -> None:
    body = {"prompt": "Look.", "worker_queue_id": "default", "system_prompt": "Lead."}
    given = api.input_of(api.call("POST", "/teams/triage/execute", body)["execution_id"])
    assert given["system_prompt"] == "Lead." and given["team_id"]


def test_an_entity_of_one_request_is_what_its_run_starts_with(api: Api) -> None:
    entity = {
        **{"entity_type": "team", "name": "once", "system_prompt": "Lead.", "model_id": "m-1"},
        **{"model_params": {"temperature": 0.1}, "mcp_servers": {"wiki": {"command": "wiki"}}},
        **{"skill_ids": ["s-1"], "runtime": "claude_code", "configuration": {"mode": "route"}},
    }
    member = {"id": "m", "name": "logs", "description": "Reads logs", "prompt": "Read.", "model": "m-2"}
    body = {
        **{"prompt": "Do it.", "worker_queue_id": "default", "user_metadata": USER},
        "entity": {**entity, "subagents": [member]},
        "execution_environment": {"env_vars": {"A": "1"}},
    }
    told = api.call("POST", "/dynamic-executions/execute", body)
    given = api.input_of(told["execution_id"])
    assert (given["entity_type"], given["entity_name"], given["prompt"]) == ("team", "once", "Do it.")
    assert (given["system_prompt"], given["model_id"], given["runtime_type"]) == ("Lead.", "m-1", "claude_code")
    assert given["model_config"] == {"temperature": 0.1} and given["mcp_servers"] == {}
    assert given["skill_ids"] == ["s-1"] and given["user_metadata"] == USER
    assert given["agent_config"] == {"mode": "route", "runtime_config": {"agents": {"subagent_1": member}}}
    path = f"/execution-environment/agents/{told['entity_id']}/resolved/full?execution_id={told['execution_id']}"
    found = api.call("GET", path)
    assert found["env_vars"] == {"A": "1"} and found["mcp_servers"] == entity["mcp_servers"]
    assert told["worker_queue_id"] == api.call("GET", "/worker-queues/default")["id"]
    agents = {"x": {"prompt": "Read."}}
    body["entity"] = {"configuration": {"runtime_config": {"agents": agents}}}
    given = api.input_of(api.call("POST", "/dynamic-executions/execute", body)["execution_id"])
    assert given["agent_config"]["runtime_config"] == {"agents": agents}


# -- speak to an execution


def test_a_message_reaches_the_run_with_who_said_it_and_to_whom(api: Api) -> None:
    execution = api.execute()
    body = {"message": "Go on.", "role": "user", "message_id": "m-1", "member": "logs"}
    for _ in range(2):  # one message_id is one message
        assert api.call("POST", f"/executions/{execution}/message", body)["message_id"] == "m-1"
    (said,) = [one["argument"] for one in api.told(execution) if one["action"] == "signal"]
    (message,) = said["args"]
    assert said["name"] == "add_message" and message["content"] == "Go on." and message["role"] == "user"
    assert (message["message_id"], message["member"]) == ("m-1", "logs")
    api.call("POST", f"/executions/{execution}/message", {"message": "x", "role": "system"}, 422)


def test_a_reason_is_told_to_temporal_and_shown(api: Api) -> None:
    one, two, three = api.execute(), api.execute(), api.execute()
    api.call("POST", f"/executions/{one}/terminate", {"reason": "stuck"})
    api.call("POST", "/executions/batch/terminate", {"reason": "stuck", "execution_ids": [two]})
    for execution in (one, two):
        assert [t["argument"] for t in api.told(execution) if t["action"] == "terminate"] == [{"reason": "stuck"}]
        assert api.call("GET", f"/executions/{execution}")["error_message"] == "Terminated: stuck"
    assert api.call("GET", f"/executions/{three}")["status"] == "pending"


def asked(api: Api, **context: Any) -> tuple[str, str]:
    execution = api.execute()
    body = {"execution_id": execution, "tool_name": "shell", "tool_args": {"command": "ls"}, **context}
    return execution, str(api.call("POST", "/approvals", body)["id"])


def answer_of(api: Api, execution: str) -> Object:
    (said,) = [one["argument"]["args"][0] for one in api.told(execution) if one["action"] == "signal"]
    return dict(said)


@pytest.mark.parametrize(("verb", "field"), [("approve", "comment"), ("reject", "reason")])
def test_an_answer_reaches_the_run_with_its_reason_and_who_gave_it(api: Api, verb: str, field: str) -> None:
    execution, approval = asked(api)
    who = {"approver_email": "local@localhost", "approver_name": "local user", "approver_id": "local"}
    for name in who:  # the approver is who asks: another one is refused by name
        refused = api.call("POST", f"/approvals/{approval}/{verb}", {**who, name: "ada"}, 422)["detail"]
        assert refused[0]["loc"] == ["body", name] and "local user" in refused[0]["msg"]
    api.call("POST", f"/approvals/{approval}/{verb}", {field: "It is planned", **who})
    answer = answer_of(api, execution)
    assert answer["decision"] == {"approve": "approved", "reject": "rejected"}[verb]
    assert answer["reason"] == "It is planned"
    assert answer["approver"] == {"email": "local@localhost", "name": "local user", "id": "local"}


def test_an_answer_can_edit_arguments_and_count_for_later_calls(api: Api) -> None:
    execution, approval = asked(api)
    api.call("POST", f"/approvals/{approval}/approve", {"arguments": {"command": "ls -l"}, "remember": True})
    answer = answer_of(api, execution)
    assert (answer["arguments"], answer["remember"]) == ({"command": "ls -l"}, True)
    execution, approval = asked(api, enforcement_context={"question": True})
    api.call("POST", f"/approvals/{approval}/approve", {"answer": "blue"})
    assert answer_of(api, execution)["arguments"] == {"command": "ls", "answer": "blue"}


def test_a_stop_says_why_and_workers_are_told_of_it_for_an_agent_or_a_team(api: Api) -> None:
    execution = api.execute()
    for kind, entity in (("agent", "ops"), ("team", "triage")):
        skills = api.call("GET", f"/skills/associations/{kind}s/{entity}/skills/resolved")
        assert api.call("GET", f"/authority?kind={kind}&entity={entity}")["skills"] == skills
    assert api.call("GET", "/authority?kind=agent&entity=nobody")["skills"] is None
    body = {"prompt": "x", "worker_queue_id": "default"}
    api.call("POST", "/stop", {"reason": "a key has leaked"})
    try:
        assert api.call("GET", "/authority")["stopped"]["reason"] == "a key has leaked"
        assert "a key has leaked" in api.call("POST", "/agents/ops/execute", body, 423)["detail"]
        assert api.call("GET", f"/executions/{execution}")["status"] == "paused"
    finally:
        api.call("DELETE", "/stop")


# -- jobs

JOB: Object = {
    "trigger_type": "manual",
    "entity_type": "agent",
    "entity_id": "ops",
    "prompt_template": "Look at {{what}}.",
}


def job(api: Api, status: int | None = None, **fields: Any) -> Object:
    made: Object = api.call("POST", "/jobs", {"name": f"j-{uuid.uuid4()}", **JOB, **fields}, status)
    return made


def run(api: Api, made: Object, **body: Any) -> tuple[Object, Object]:
    told = api.call("POST", f"/jobs/{made['id']}/trigger", {"parameters": {"what": "disks"}, **body})
    return api.input_of(told["execution_id"]), api.call("GET", f"/executions/{told['execution_id']}")


def test_a_job_says_what_its_runs_start_with(api: Api) -> None:
    environment = {"env_vars": {"A": "1"}, "working_dir": "/srv"}
    config = {"model_id": "m-4", "budgets": {"max_steps": 3}}
    made = job(api, system_prompt="Be brief.", config=config, execution_environment=environment)
    given, row = run(api, made)
    assert (given["prompt"], given["system_prompt"], given["model_id"]) == ("Look at disks.", "Be brief.", "m-4")
    assert given["agent_config"] == {"budgets": {"max_steps": 3}, "cwd": "/srv"}
    assert api.call("GET", f"/execution-environment/agents/ops/resolved?execution_id={row['id']}") == {"A": "1"}
    given, _ = run(api, made, config_override={"model_id": "m-5", "budgets": {"max_steps": 4}})
    assert (given["model_id"], given["agent_config"]["budgets"]) == ("m-5", {"max_steps": 4})
    told = api.call("POST", f"/jobs/{made['id']}/trigger", {"parameters": {}}, 422)
    assert "needs what" in told["detail"][0]["msg"]


def test_a_job_runs_its_agent_or_team(api: Api) -> None:
    team: Object = {"entity_type": "team", "entity_id": "triage", "config": {"mode": "route"}}
    given, row = run(api, job(api, **team))
    assert row["execution_type"] == "team" and given["team_config"]["mode"] == "route"
    assert job(api, **{**team, "entity_type": None}, planning_mode="predefined_team")["entity_type"] == "team"
    told = job(api, 422, config={"mode": "route"})
    assert told["detail"][0]["loc"] == ["body", "config", "mode"], "an agent has no mode"


def test_a_job_runs_where_it_says(api: Api) -> None:
    place = api.call("POST", "/environments", {"name": "far"})["id"]
    made = api.call("POST", "/environments/far/worker-queues", {"name": "far-queue"})["id"]
    named = job(api, executor_type="specific_queue", worker_queue_name="far-queue")
    placed = job(api, executor_type="environment", environment_name="far")
    assert [run(api, each)[1]["queue_id"] for each in (named, placed)] == [made, made] and place
    assert job(api, 422, executor_type="specific_queue")["detail"][0]["loc"] == ["body", "worker_queue_name"]


def test_a_job_that_is_disabled_does_not_run(api: Api) -> None:
    made = job(api, enabled=False)
    assert made["status"] == "disabled"
    api.call("POST", f"/jobs/{made['id']}/trigger", {"parameters": {"what": "x"}}, 409)


def test_a_cron_job_keeps_its_times(api: Api) -> None:
    times: Object = {"trigger_type": "cron", "cron_schedule": "5 4 * * *", "cron_timezone": "Europe/Paris"}
    made = job(api, **times, prompt_template="Look.")
    wanted = api.plane.scheduler.get(made["id"])
    assert wanted is not None
    assert (list(wanted.cron), wanted.timezone, wanted.paused) == (["5 4 * * *"], "Europe/Paris", False)
    assert job(api, 422, **{**times, "cron_schedule": "61 * * * *"})["detail"][0]["loc"] == ["body", "cron_schedule"]


def test_a_schedule_knows_what_to_do_while_a_run_is_going_and_after_an_outage(api: Api) -> None:
    times: Object = {"trigger_type": "cron", "cron_schedule": "5 4 * * *", "prompt_template": "Look."}
    made = job(api, **times, overlap_policy="skip", catch_up_seconds=3600)
    wanted = api.plane.scheduler.get(made["id"])
    assert wanted is not None
    assert (wanted.overlap, wanted.catch_up) == ("skip", 3600)
    plain = job(api, **times)
    assert (plain["overlap_policy"], plain["catch_up_seconds"]) == ("allow_all", 60)
    for name, value in (("overlap_policy", "terminate_other"), ("catch_up_seconds", 9)):
        assert job(api, 422, **times, **{name: value})["detail"][0]["loc"] == ["body", name]
    long = job(api, 422, **times, catch_up_seconds=10**9)["detail"][0]["msg"]
    assert long == "catch_up_seconds must be 10 to 31536000 seconds"
    for name, value in (("overlap_policy", "skip"), ("catch_up_seconds", 3600)):
        refused = job(api, 422, **{name: value})["detail"][0]
        assert (refused["loc"], refused["msg"]) == (["body", name], f"{name} goes with the trigger_type cron")
    changed = api.call("PATCH", f"/jobs/{made['id']}", {"trigger_type": "manual"})
    assert (changed["overlap_policy"], changed["catch_up_seconds"]) == ("allow_all", 60)


def test_the_secret_of_a_webhook_is_the_one_that_was_given(api: Api) -> None:
    made = job(api, trigger_type="webhook", webhook_secret="s3cret-of-ours", prompt_template="Look.")
    path = made["webhook_url_path"].removeprefix("/api/v1")
    assert api.call("POST", path, {}, headers={"X-Gitlab-Token": "s3cret-of-ours"})["status"] == "started"
    api.call("POST", path, {}, 401, headers={"X-Gitlab-Token": "another"})


def test_a_cancellation_says_why(api: Api) -> None:
    execution = api.execute()
    api.call("POST", f"/executions/{execution}/cancel", {"reason": "wrong host"})
    assert api.call("GET", f"/executions/{execution}")["error_message"] == "Cancelled by user: wrong host"
    other = api.execute()
    api.call("POST", f"/executions/{other}/cancel")
    assert api.call("GET", f"/executions/{other}")["error_message"] == "Cancelled by user"


def start_of(api: Api, execution: str) -> dict[str, Any]:
    """Return the workflow's input, as it waits in the outbox."""
    action = api.plane.stores.outbox.next(execution)
    assert action is not None and action.kind == "start"
    return action.argument


def test_the_same_is_started_again_with_all_that_it_was_asked_with(api: Api) -> None:
    first = api.execute(
        prompt="Look again.",
        model_id="other-model",
        system_prompt="Be short.",
        execution_metadata={"interactive": True},
        execution_environment={"env_vars": {"STAGE": "test"}, "working_dir": "/srv"},
        user_metadata={"tainted": True, "user_id": "somebody"},
    )
    ada = api.key("operator", "Ada", email="ada@acme.example")
    told = api.call("POST", f"/executions/{first}/retry", {}, headers=ada["headers"])
    again = api.call("GET", f"/executions/{told['execution_id']}")
    assert told["page"] == f"/#/executions/{again['id']}" and again["id"] != first
    assert (again["prompt"], again["system_prompt"]) == ("Look again.", "Be short.")
    assert again["requested_by"]["email"] == "ada@acme.example"
    assert again["execution_metadata"] == {"interactive": True, "source": "retry", "retry_of": first}
    before, after = start_of(api, first), start_of(api, again["id"])
    for name in ("model_id", "system_prompt", "agent_config", "agent_id", "prompt"):
        assert after[name] == before[name], name
    assert after["agent_config"]["cwd"] == "/srv"
    assert after["user_metadata"] == {"tainted": True}, "a text of strangers stays one"
    assert api.plane.stores.executions.environment(again["id"]) == {"STAGE": "test"}
    third = api.call("POST", f"/executions/{again['id']}/retry", {})["execution_id"]
    assert start_of(api, third)["user_metadata"] == {"tainted": True}


def test_the_same_can_start_on_another_queue_and_once_for_a_key(api: Api) -> None:
    first = api.execute()
    other = api.call("POST", "/environments/default/worker-queues", {"name": "again"})["id"]
    sent = {"Idempotency-Key": "the-same"}
    body = {"worker_queue_id": "again"}
    made = [api.call("POST", f"/executions/{first}/retry", body, headers=sent)["execution_id"] for _ in range(2)]
    assert made[0] == made[1]
    assert api.call("GET", f"/executions/{made[0]}")["queue_id"] == other


def test_what_cannot_be_repeated_is_refused(api: Api) -> None:
    body = {"prompt": "x", "worker_queue_id": "default", "entity": {"name": "once"}}
    dynamic = api.call("POST", "/dynamic-executions/execute", body)["execution_id"]
    assert "stored nowhere" in api.call("POST", f"/executions/{dynamic}/retry", {}, 409)["detail"]
    older = api.execute()
    row = api.plane.stores.executions.get("local", older)
    assert row is not None
    del row["request"]
    api.plane.stores.executions.save(row)
    assert "cannot be repeated" in api.call("POST", f"/executions/{older}/retry", {}, 409)["detail"]
