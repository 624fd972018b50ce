"""These tests read again what a worker writes, field by field, and follow the fields that decide something."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from pydantic import TypeAdapter

from kubiya_worker.server.edges import worker
from kubiya_worker.server.edges.base import Wire
from tests.support.api import Api, Object

AT = "2026-11-28T12:00:00+00:00"


def example(model: Any, name: str) -> Any:
    """Return a value of a field's type that is no default."""
    about = TypeAdapter(model).json_schema()["properties"][name]
    kinds = [one.get("type") for one in about.get("anyOf", [about])]
    values = {
        "string": f"a {name}",
        "integer": 41,
        "number": 4.5,
        "boolean": False,
        "object": {name: [1]},
        "array": [name],
    }
    return AT if name.endswith("_at") else next(values[kind] for kind in kinds if kind in values)


def fields(model: type[Wire], *others: str) -> list[str]:
    return [name for name in model.model_fields if name not in others]


@pytest.mark.parametrize("name", fields(worker.TurnBody, "execution_id"))
def test_a_turn_keeps_what_it_was_posted_with(api: Api, name: str) -> None:
    execution, value = api.execute(), example(worker.TurnBody, name)
    turn = {"execution_id": execution, "turn_number": 1, "model": "demo", "started_at": AT, name: value}
    api.call("POST", "/analytics/turns", turn)
    (found,) = api.call("GET", f"/analytics/executions/{execution}/details")["turns"]
    assert found[name] == value


@pytest.mark.parametrize("name", fields(worker.ToolCallBody, "execution_id"))
def test_a_tool_call_keeps_what_it_was_posted_with(api: Api, name: str) -> None:
    execution, value = api.execute(), example(worker.ToolCallBody, name)
    call = {"execution_id": execution, "tool_name": "shell", "started_at": AT, name: value}
    api.call("POST", "/analytics/tool-calls", call)
    (found,) = api.call("GET", f"/analytics/executions/{execution}/details")["tool_calls"]
    assert found[name] == value


def test_a_turn_is_counted_once_and_decides_the_next_status(api: Api) -> None:
    execution = api.execute()
    turn = {"execution_id": execution, "turn_number": 1, "model": "demo", "started_at": AT, "turn_id": "t-1"}
    for finish, error, status in (("stop", None, "completed"), ("error", None, "failed"), ("stop", "x", "failed")):
        told = api.call("POST", "/analytics/turns", {**turn, "finish_reason": finish, "error_message": error})
        assert told["next_status"] == status
    assert len(api.call("GET", f"/analytics/executions/{execution}/details")["turns"]) == 1
    api.call("POST", "/analytics/turns", {**turn, "execution_id": "nobody"}, 404)
    api.call("POST", "/analytics/tool-calls", {"execution_id": "nobody", "tool_name": "x", "started_at": AT}, 404)


def test_a_batch_of_figures_is_stored_whole(api: Api) -> None:
    execution = api.execute()
    turn = {"execution_id": execution, "turn_number": 1, "model": "demo", "started_at": AT}
    call = {"execution_id": execution, "tool_name": "shell", "started_at": AT}
    body = {"execution_id": execution, "turns": [turn], "tool_calls": [call, call], "tasks": []}
    told = api.call("POST", "/analytics/batch", body)
    assert (told["execution_id"], told["turns"], told["tool_calls"]) == (execution, 1, 2)


def worker_of(api: Api, **body: Any) -> tuple[str, str]:
    queue = api.call("POST", "/environments/default/worker-queues", {"name": f"q{uuid.uuid4().hex[:9]}"})["id"]
    return queue, api.call("POST", f"/worker-queues/{queue}/start", body)["worker_id"]


def live(api: Api, queue: str) -> Object:
    (found,) = api.call("GET", f"/worker-queues/{queue}/workers")
    return dict(found)


@pytest.mark.parametrize("name", fields(worker.SystemInfo))
def test_a_workers_host_is_shown(api: Api, name: str) -> None:
    about = {name: example(worker.SystemInfo, name)}
    queue, key = worker_of(api, system_info=about)
    assert live(api, queue)["system_info"] == about
    queue, key = worker_of(api)
    api.call("POST", f"/workers/{key}/heartbeat", {"system_info": about})
    assert live(api, queue)["system_info"] == about


@pytest.mark.parametrize("name", fields(worker.Beat, "system_info"))
def test_a_heartbeat_is_shown(api: Api, name: str) -> None:
    queue, key = worker_of(api)
    value = example(worker.Beat, name)
    api.call("POST", f"/workers/{key}/heartbeat", {name: value})
    assert live(api, queue)[name] == value


def test_a_worker_gets_the_id_and_the_address_that_it_asks_for(api: Api) -> None:
    body = {"worker_id": "w-7", "control_plane_url": "https://cp.example", "worker_sdk_version": "1.0"}
    told = api.call("POST", "/worker-queues/default/start", body)
    assert (told["worker_id"], told["control_plane_url"]) == ("w-7", "https://cp.example")
    assert told["control_plane_sdk_version"], "a worker compares it with its own worker_sdk_version"


def test_a_disconnected_worker_is_gone_and_its_reason_is_kept(api: Api) -> None:
    queue, key = worker_of(api)
    about = {"reason": "crash", "exit_code": 3, "error_message": "out of memory"}
    api.call("POST", f"/workers/{key}/disconnect", about)
    assert api.call("GET", f"/worker-queues/{queue}/workers") == []
    assert api.stored("workers", key)["disconnect"] == about


@pytest.mark.parametrize("name", fields(worker.ExecutionPatch, "status", "sequel"))
def test_a_change_of_an_execution_is_shown(api: Api, name: str) -> None:
    execution, value = api.execute(), example(worker.ExecutionPatch, name)
    assert api.call("PATCH", f"/executions/{execution}", {"status": "running", name: value})[name] == value
    row = api.call("GET", f"/executions/{execution}")
    assert (row["status"], row[name]) == ("running", value)


def test_events_are_stored_once_and_in_their_order(api: Api) -> None:
    execution = api.execute()
    path = f"/executions/{execution}/events"
    first = {"event_type": "notice", "data": {"message": "a"}, "timestamp": AT, "event_id": "e-1"}
    api.call("POST", path, first)
    second = {**first, "event_id": "e-2", "after": ["e-1"]}
    assert api.call("POST", f"{path}/batch", {"events": [first, second], "after": ["e-1"]})["duplicates"] == 1
    api.call("POST", f"{path}/batch", {"events": [{**first, "event_id": "e-4", "after": ["e-3"]}]}, 425)
    api.call("POST", f"{path}/batch", {"events": [], "after": ["e-3"]}, 425)
    found = api.call("GET", path)
    assert [(e["event_type"], e["data"], e["timestamp"]) for e in found] == [("notice", {"message": "a"}, AT)] * 2


def test_a_session_is_kept_and_replaced_from_a_message_on(api: Api) -> None:
    execution = api.execute()
    path, said = f"/executions/{execution}/session", [{"role": "user", "content": str(n)} for n in range(3)]
    api.call("POST", path, {"session_id": "s-1", "user_id": "u-1", "messages": said, "metadata": {"a": 1}})
    api.call("POST", path, {"messages": [{"role": "user", "content": "new"}], "first": 1, "metadata": {"a": 2}})
    found = api.call("GET", path)
    assert [message["content"] for message in found["messages"]] == ["0", "new"]
    assert (found["session_id"], found["user_id"], found["metadata"]) == ("s-1", "u-1", {"a": 2})


APPROVAL = fields(worker.Approval, "execution_id", "id", "timeout_minutes")


@pytest.mark.parametrize("name", APPROVAL)
def test_a_request_for_approval_shows_what_it_is_about(api: Api, name: str) -> None:
    value = example(worker.Approval, name)
    execution = api.execute()
    made = api.call("POST", "/approvals", {"execution_id": execution, "tool_name": "shell", name: value})
    assert api.call("GET", f"/approvals/{made['id']}")[name] == value == made[name]
    assert made["execution_id"] == execution


def test_a_request_for_approval_has_the_id_and_the_time_that_it_asks_for(api: Api) -> None:
    body = {"execution_id": api.execute(), "tool_name": "shell", "id": f"ap-{uuid.uuid4()}", "timeout_minutes": 5}
    made = api.call("POST", "/approvals", body)
    assert made["id"] == body["id"] == api.call("POST", "/approvals", body)["id"]
    assert made["timeout_minutes"] == 5 and made["expires_at"] > made["created_at"]


def test_a_scheduled_run_has_its_row(api: Api) -> None:
    job = {"name": f"j-{uuid.uuid4()}", "trigger_type": "manual", "entity_type": "agent", "entity_id": "ops"}
    made = api.call("POST", "/jobs", {**job, "prompt_template": "x"})["id"]
    queue = api.call("POST", "/environments/default/worker-queues", {"name": "scheduled"})["id"]
    body = {
        **{"execution_id": str(uuid.uuid4()), "organization_id": "local", "entity_type": "agent", "entity_id": "ops"},
        **{"prompt": "Look.", "trigger_type": "cron", "trigger_metadata": {"a": 1}, "job_id": made},
        "worker_queue_id": queue,
    }
    api.call("POST", "/executions/job-executions", body)
    row = api.call("GET", f"/executions/{body['execution_id']}")
    assert (row["organization_id"], row["execution_type"], row["entity_name"]) == ("local", "agent", "ops")
    assert (row["prompt"], row["queue_id"]) == ("Look.", queue)
    assert row["execution_metadata"] == {"a": 1, "job_id": made, "trigger_type": "cron"}
    (run,) = api.call("GET", f"/jobs/{made}/executions")
    assert run["trigger_type"] == "cron"
    told = {"status": "failed", "duration_ms": 5, "error_message": "x"}
    api.call("POST", f"/executions/{body['execution_id']}/job/{made}/status", told)
    assert api.call("GET", f"/executions/{body['execution_id']}")["execution_metadata"]["job"] == {
        "job_id": made,
        **told,
    }


def test_an_update_lock_is_held_by_one_worker_for_its_time(api: Api) -> None:
    path = "/worker-queues/default/workers/w-1/update-lock"
    made = api.call("POST", path, {"worker_id": "w-1", "lock_duration_seconds": 60})
    assert 55 <= api.call("GET", "/worker-queues/default/update-lock-status")["ttl_seconds"] <= 60 and made["locked"]
    api.call("POST", path, {"worker_id": "w-2"}, 422)
    api.call("POST", path, {"lock_duration_seconds": 601}, 422)


def test_requests_and_groups_are_several_writes(api: Api) -> None:
    execution = api.execute()
    write = {"method": "PATCH", "path": f"/executions/{execution}", "body": {"response": "one"}}
    (answer,) = api.call("POST", "/batch", {"requests": [write]})["answers"]
    assert answer["response"] == "one"
    wrong = {**write, "body": {"response": 5}}
    first, second = api.call("POST", "/batch", {"groups": [[wrong], [write]]})["groups"]
    assert first["status"] == 422 and first["detail"][0]["loc"] == ["body", "response"]
    assert second["answers"]


def test_a_published_worker_sends_a_tools_arguments_with_its_question(api: Api) -> None:
    question = {"tool_name": "save_file", "tool_args": {"path": "a"}, "risk_level": "low", "category": "x"}
    assert "rules" in api.call("POST", "/approval-rules/resolve", question)
