"""Each filter of a query string does what it says: these tests send it and look at what is left."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.support.api import Api


def ids(rows: Any) -> list[str]:
    return [str(row["id"]) for row in rows]


LISTS = ("/agents", "/teams", "/environments", "/environments/default/worker-queues", "/approval-rules", "/jobs")


@pytest.mark.parametrize("path", LISTS)
def test_skip_and_limit_give_a_part_of_a_list(api: Api, path: str) -> None:
    more = {
        "/approval-rules": {"scope_type": "all"},
        "/jobs": {"trigger_type": "manual", "entity_type": "agent", "entity_id": "ops", "prompt_template": "x"},
    }
    for _ in range(3):
        api.call("POST", path, {"name": f"p-{uuid.uuid4()}"[:40], **more.get(path, {})})
    every = ids(api.call("GET", path))
    assert len(every) >= 3
    assert ids(api.call("GET", f"{path}?skip=1&limit=2")) == every[1:3]
    assert ids(api.call("GET", f"{path}?limit=1")) == every[:1]
    told = api.call("GET", f"{path}?nam=x", None, 422)
    assert told["detail"][0]["loc"] == ["query", "nam"]


def test_executions_are_found_by_status_and_type(api: Api) -> None:
    one, two = api.execute(), api.execute()
    body = {"prompt": "x", "worker_queue_id": "default"}
    team = api.call("POST", "/teams/triage/execute", body)["execution_id"]
    api.call("PATCH", f"/executions/{two}", {"status": "running"})
    for name in ("status", "status_filter"):
        assert ids(api.call("GET", f"/executions?{name}=RUNNING")) == [two]
        assert {one, two, team} <= set(ids(api.call("GET", f"/executions?{name}=all")))
    assert ids(api.call("GET", "/executions?execution_type=team")) == [team]
    assert ids(api.call("GET", "/executions?limit=1&skip=1")) == ids(api.call("GET", "/executions"))[1:2]
    (short,) = api.call("GET", "/executions?summary=true&limit=1")
    assert set(short) < set(api.call("GET", "/executions?summary=false&limit=1")[0])
    told = api.call("GET", "/executions?execution_type=temas", None, 422)["detail"][0]
    assert told["loc"] == ["query", "execution_type"] and told["msg"].startswith("Did you mean team?")


def test_executions_of_a_queue_are_found_by_status(api: Api) -> None:
    queue = api.call("POST", "/environments/default/worker-queues", {"name": "listed"})["id"]
    one, two = (api.execute(worker_queue_id=queue) for _ in range(2))
    api.call("PATCH", f"/executions/{two}", {"status": "running"})
    path = f"/worker-queues/{queue}/executions"
    assert ids(api.call("GET", f"{path}?status=running")) == [two]
    assert len(ids(api.call("GET", f"{path}?status=all&limit=1"))) == 1
    assert set(ids(api.call("GET", path))) == {one, two}


def test_events_are_given_after_a_number(api: Api) -> None:
    execution = api.execute()
    for number in range(3):
        api.call("POST", f"/executions/{execution}/events", {"event_type": "notice", "data": {"message": str(number)}})
    found = api.call("GET", f"/executions/{execution}/events?after=1&limit=1")
    assert [event["sequence"] for event in found] == [2]


def test_a_stream_goes_on_after_the_last_event(api: Api) -> None:
    execution = api.execute()
    for number in range(2):
        api.call("POST", f"/executions/{execution}/events", {"event_type": "notice", "data": {"message": f"n{number}"}})
    api.call("PATCH", f"/executions/{execution}", {"status": "completed"})
    whole = api.ask("GET", f"/executions/{execution}/stream?last_event_id=0").text
    rest = api.ask("GET", f"/executions/{execution}/stream?last_event_id=1").text
    assert "n0" in whole and "n1" in whole
    assert "n0" not in rest and "n1" in rest


def test_a_session_is_that_of_its_execution(api: Api) -> None:
    execution = api.execute()
    api.call("POST", f"/executions/{execution}/session", {"messages": []})
    path = f"/executions/{execution}/session"
    assert api.call("GET", f"{path}?session_id={execution}") == api.call("GET", path)
    api.call("GET", f"{path}?session_id=another", None, 404)


def test_approvals_are_found_by_what_they_are(api: Api) -> None:
    execution, other = api.execute(), api.execute()
    made = []
    for number in range(3):
        body = {"execution_id": execution, "tool_name": "shell", "requester_email": f"p{number}@acme.example"}
        made.append(api.call("POST", "/approvals", body)["id"])
    elsewhere = api.call("POST", "/approvals", {"execution_id": other, "tool_name": "shell"})["id"]
    api.call("POST", f"/approvals/{made[0]}/approve", {})
    assert set(ids(api.call("GET", f"/approvals?execution_id={execution}"))) == set(made)
    assert ids(api.call("GET", f"/approvals?execution_id={execution}&status=approved")) == made[:1]
    assert ids(api.call("GET", "/approvals?requester_email=p1@acme.example")) == made[1:2]
    newest = ids(api.call("GET", "/approvals"))
    assert ids(api.call("GET", "/approvals?limit=1&offset=1")) == newest[1:2]
    assert set(ids(api.call("GET", f"/approvals/pending?execution_id={other}"))) == {elsewhere}
    assert api.call("GET", "/approvals?status=aproved", None, 422)["detail"][0]["msg"].startswith(
        "Did you mean approved?"
    )


def test_jobs_say_when_they_are_due_if_asked(api: Api) -> None:
    body = {"name": "due", "trigger_type": "manual", "entity_type": "agent", "entity_id": "ops", "prompt_template": "x"}
    job = api.call("POST", "/jobs", body)["id"]
    assert "next_execution_at" not in next(one for one in api.call("GET", "/jobs") if one["id"] == job)
    assert next(one for one in api.call("GET", "/jobs?due=true") if one["id"] == job)["next_execution_at"] is None


def test_the_runs_of_a_job_are_given_in_parts(api: Api) -> None:
    body = {"name": "run", "trigger_type": "manual", "entity_type": "agent", "entity_id": "ops", "prompt_template": "x"}
    job = api.call("POST", "/jobs", body)["id"]
    for _ in range(3):
        api.call("POST", f"/jobs/{job}/trigger", {})
    every = [run["execution_id"] for run in api.call("GET", f"/jobs/{job}/executions")]
    for word in ("skip", "offset"):
        found = api.call("GET", f"/jobs/{job}/executions?{word}=1&limit=1")
        assert [run["execution_id"] for run in found] == every[1:2]


def test_models_are_found_by_provider_runtime_and_type(api: Api) -> None:
    assert [one["id"] for one in api.call("GET", "/models?provider=demo")] == ["demo"]
    assert len(api.call("GET", "/models?runtime=default&type=text-generation")) == 2
    assert api.call("GET", "/models?runtime=claude_code") == api.call("GET", "/models?type=image") == []


def test_an_install_script_is_for_its_kind_of_deployment(api: Api) -> None:
    path = "/worker-queues/default/install-script"
    assert "docker run" in api.ask("GET", f"{path}?deployment_type=docker").text
    assert "kind: Deployment" in api.ask("GET", f"{path}?deployment_type=kubernetes").text


def test_an_environment_can_be_that_of_an_execution(api: Api) -> None:
    execution = api.execute(execution_environment={"env_vars": {"ONLY": "here"}})
    path = "/execution-environment/agents/ops/resolved/full"
    assert api.call("GET", f"{path}?execution_id={execution}")["env_vars"] == {"ONLY": "here"}
    assert api.call("GET", path)["env_vars"] == {}


def test_workers_that_are_gone_are_told_when_they_are_asked_for(api: Api) -> None:
    stays, leaves = (api.call("POST", "/worker-queues/default/start", {})["worker_id"] for _ in range(2))
    about = {"reason": "SIGTERM", "exit_code": 3, "error_message": "no key"}
    api.call("POST", f"/workers/{leaves}/disconnect", about)
    live = ids(api.call("GET", "/workers"))
    assert stays in live and leaves not in live
    every = {row["id"]: row for row in api.call("GET", "/workers?gone=true")}
    assert every[leaves]["disconnect"] == about and "disconnect" not in every[stays]
