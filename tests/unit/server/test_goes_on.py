"""A message to an execution that is over starts it again, once, or is refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.protocol import messages as m
from kubiya_worker.server.conversations import Cut, NoCut, closed, cut_at
from tests.support.api import Api, Object


def over(api: Api, execution: str, status: str = "completed", **fields: Any) -> Object:
    row: Object = api.call("PATCH", f"/executions/{execution}", {"status": status, **fields})
    assert row["status"] == status
    return row


def say(api: Api, execution: str, status: int = 202, text: str = "And now?", **fields: Any) -> Object:
    told: Object = api.call("POST", f"/executions/{execution}/message", {"message": text, **fields}, status)
    return told


def starts(api: Api, execution: str) -> list[Object]:
    return [each["argument"] for each in api.told(execution) if each["action"] == "start"]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "interrupted"])
def test_a_message_starts_an_execution_that_is_over_once(api: Api, status: str) -> None:
    agent = api.agent()
    execution = api.execute(agent["id"], user_metadata={"tainted": True}, model_id="m-9")
    over(api, execution, status, error_message="so it was")
    for _ in range(2):  # the reply may be lost, and the message comes again
        assert say(api, execution, message_id="m-1")["message_id"] == "m-1"
    row = api.call("GET", f"/executions/{execution}")
    assert (row["status"], row["error_message"], row["completed_at"]) == ("pending", None, None)
    first, again = starts(api, execution)
    assert again["prompt"] == "And now?" and again["sequel"]["number"] == 1
    assert again["sequel"]["message"]["message_id"] == "m-1"
    kept = ("execution_id", "agent_id", "model_id", "user_metadata")
    assert {name: again[name] for name in kept} == {name: first[name] for name in kept}, "and so it is tainted again"
    log = api.call("GET", f"/executions/{execution}/events")
    assert [each["event_type"] for each in log][-2:] == ["status", "message"]
    assert [each["data"]["status"] for each in log if each["event_type"] == "status"] == [status, "pending"]
    records = api.call("GET", f"/audit?object={execution}")
    assert "execution.go_on" in [each["action"] for each in records]


def test_a_second_message_is_told_to_the_run_that_the_first_one_started(api: Api) -> None:
    execution = api.execute()
    over(api, execution)
    say(api, execution, message_id="m-1")
    say(api, execution, message_id="m-2")
    told = api.told(execution)
    assert [each["action"] for each in told] == ["start", "start", "signal"]
    assert told[-1]["argument"]["args"][0]["message_id"] == "m-2"


def test_the_outcome_of_a_run_before_comes_too_late(api: Api) -> None:
    execution = api.execute()
    over(api, execution, "cancelled")
    say(api, execution)
    late = {"status": "cancelled", "error_message": "late", "usage": {"total_tokens": 7}}
    row = api.call("PATCH", f"/executions/{execution}", late)
    assert (row["status"], row["error_message"], row["usage"]) == ("pending", None, {"total_tokens": 7})
    assert api.call("PATCH", f"/executions/{execution}", {"status": "running", "sequel": 1})["status"] == "running"
    row = api.call("PATCH", f"/executions/{execution}", {"status": "completed", "sequel": 1})
    assert row["status"] == "completed" and "sequel" in row
    log = api.call("GET", f"/executions/{execution}/events")
    assert [each["event_type"] for each in log].count("done") == 2


def test_one_that_was_cancelled_before_it_went_on_is_not_started(api: Api) -> None:
    execution = api.execute()
    over(api, execution)
    say(api, execution)
    api.call("POST", f"/executions/{execution}/cancel", {})
    assert [each["action"] for each in api.told(execution)] == ["cancel"]
    assert api.call("GET", f"/executions/{execution}")["status"] == "cancelled"


def test_what_cannot_go_on_is_refused_with_the_reason(api: Api) -> None:
    agent = api.agent()
    execution = api.execute(agent["id"])
    over(api, execution)
    refused = say(api, execution, 409, member="logs")
    assert "The member 'logs' does not work now" in refused["detail"]
    api.call("DELETE", f"/agents/{agent['id']}")
    assert f"its agent '{agent['name']}' was deleted" in say(api, execution, 409)["detail"]

    made = api.call("POST", "/environments/default/worker-queues", {"name": "passing"})
    execution = api.execute(worker_queue_id="passing")
    over(api, execution)
    api.call("PATCH", f"/worker-queues/{made['id']}", {"status": "inactive"})
    assert "its queue 'passing' is inactive" in say(api, execution, 409)["detail"]
    api.call("DELETE", f"/worker-queues/{made['id']}")
    assert "its queue 'passing' was deleted" in say(api, execution, 409)["detail"]

    body = {"prompt": "Do it.", "worker_queue_id": "default", "entity": {"name": "once"}}
    execution = api.call("POST", "/dynamic-executions/execute", body)["execution_id"]
    over(api, execution)
    assert "kind dynamic cannot go on: its agent is stored nowhere" in say(api, execution, 409)["detail"]


def test_a_stop_of_all_and_a_key_without_the_right_keep_it_over(api: Api) -> None:
    execution = api.execute()
    over(api, execution)
    api.call("POST", "/stop", {"reason": "incident"})
    assert "All agents were stopped" in say(api, execution, 423)["detail"]
    api.call("DELETE", "/stop")
    for key, status in ((api.key("viewer"), 403), (api.key("operator", agents=["triage"]), 404)):
        path = f"/executions/{execution}/message"
        api.call("POST", path, {"message": "x"}, status, headers=key["headers"], key=False)
    assert api.call("GET", f"/executions/{execution}")["status"] == "completed"
    assert len(starts(api, execution)) == 1


def test_a_message_is_from_the_person_of_the_key(api: Api) -> None:
    ada = api.key("operator", "Ada", email="Ada@Example.org")["headers"]
    execution = api.call(
        "POST", "/agents/ops/execute", {"prompt": "Look.", "worker_queue_id": "default"}, headers=ada, key=False
    )["execution_id"]
    who = {"user_id": "ada@example.org", "user_name": "Ada", "user_email": "Ada@Example.org"}
    assert api.input_of(execution)["sequel"] == {"message": who}, "the prompt is a message too"
    bob = api.key("operator", "Bob", email="bob@example.org")["headers"]
    api.call("POST", f"/executions/{execution}/message", {"message": "Stop."}, headers=bob, key=False)
    (message,) = api.told(execution)[-1]["argument"]["args"]
    assert (message["user_name"], message["user_email"]) == ("Bob", "bob@example.org")
    (shown,) = [x["data"] for x in api.call("GET", f"/executions/{execution}/events") if x["event_type"] == "message"]
    assert shown["user_name"] == "Bob"
    assert [x["user_name"] for x in api.call("GET", f"/executions/{execution}")["participants"]] == ["Bob"]


def test_a_scheduled_prompt_is_nobodys_message(api: Api) -> None:
    ada = api.key("admin", "Ada", email="ada@example.org")["headers"]
    about = {"name": "nightly", "trigger_type": "cron", "cron_schedule": "0 3 * * *", "prompt_template": "Look."}
    about |= {"entity_type": "agent", "entity_id": "ops"}
    job = api.call("POST", "/jobs", about, headers=ada, key=False)
    wanted = api.plane.scheduler.get(job["id"])
    assert wanted is not None and wanted.argument["sequel"] == {}


# -- where a conversation may be cut


def said(message_id: str, role: str, **fields: Any) -> m.Message:
    return {"role": role, "content": message_id, "message_id": message_id, "timestamp": "t", **fields}


CALL = {"id": "c1", "name": "shell", "arguments": "{}"}
TALK = [
    said("u1", "user"),
    said("a1", "assistant", tool_calls=[CALL]),
    said("t1", "tool", tool_call_id="c1", tool_name="shell", status="success"),
    said("a2", "assistant"),
    said("u2", "user"),
    said("a3", "assistant"),
]


@pytest.mark.parametrize(
    ("at", "length", "asked", "inside"),
    [
        ("u1", 0, "u1", False),
        ("a1", 0, "u1", False),  # the question is asked again
        ("t1", 0, "u1", False),  # a call and its results belong together
        ("a2", 3, "u1", True),
        ("u2", 4, "u2", False),
        ("a3", 4, "u2", False),
    ],
)
def test_a_conversation_is_cut_where_it_is_valid(at: str, length: int, asked: str, inside: bool) -> None:
    cut = cut_at(TALK, at)
    assert cut == Cut(length, next(x for x in TALK if x["message_id"] == asked), inside)


def test_a_place_that_is_not_stored_is_refused_and_a_call_without_a_result_gets_one() -> None:
    with pytest.raises(NoCut, match="stored at the end of each turn"):
        cut_at(TALK, "a9")
    found = closed([*TALK[:2], TALK[4]])
    assert [x["role"] for x in found] == ["user", "assistant", "tool", "user"]
    assert found[2]["tool_call_id"] == "c1" and found[2]["status"] == m.TOOL_UNKNOWN
    assert closed(TALK) == TALK
