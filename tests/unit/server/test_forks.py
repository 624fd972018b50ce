"""An execution is run again from a step on: a new one with the same conversation up to it, and its origin by name."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from kubiya_worker.server.api.forks import about_files
from kubiya_worker.server.refusals import ApiError
from tests.support.api import Api, Object

CALL = {"id": "c1", "name": "shell", "arguments": '{"command": "df"}'}


def said(number: int, role: str, text: str, **fields: Any) -> Object:
    message_id = f"m{number}"
    return {"role": role, "content": text, "message_id": message_id, "timestamp": f"t{number}", **fields}


TALK = [
    said(1, "user", "Look.", user_name="Ada"),
    said(2, "assistant", "I look.", tool_calls=[CALL]),
    said(3, "tool", "91%", tool_call_id="c1", tool_name="shell", status="success"),
    said(4, "assistant", "It is full."),
    said(5, "user", "And now?"),
    said(6, "assistant", "Still."),
]
LOG = [
    ("run_started", {"run_id": "r"}),
    ("message", TALK[0]),
    ("message_chunk", {"role": "assistant", "content": "I look.", "message_id": "m2"}),
    ("message", {**TALK[1], "usage": {"total_tokens": 5}, "step": {"worker_id": "w"}}),
    ("tool_started", {"tool_execution_id": "c1", "tool_name": "shell", "message_id": "m2"}),
    ("tool_completed", {"tool_execution_id": "c1", "tool_name": "shell", "tool_output": "91%", "status": "success"}),
    ("message", TALK[3]),
    ("message", TALK[4]),
    ("message", TALK[5]),
]
TOOL, ANSWER, QUESTION = 6, 7, 8  # numbers of events


def talked(api: Api, **fields: Any) -> str:
    execution = api.execute(user_metadata={"tainted": True}, **fields)
    for number, (kind, data) in enumerate(LOG):
        event = {"event_type": kind, "data": data, "event_id": f"{kind}:{number}"}
        api.call("POST", f"/executions/{execution}/events", event)
    api.call("POST", f"/executions/{execution}/session", {"messages": TALK})
    api.call("PATCH", f"/executions/{execution}", {"status": "completed", "response": "Still."})
    return execution


def fork(api: Api, execution: str, status: int | None = None, **body: Any) -> Any:
    told = api.call("POST", f"/executions/{execution}/fork", body, status)
    return told if status else str(told["execution_id"])


def with_files(api: Api) -> str:
    execution = talked(api)
    for path, text in (("out/a.txt", "first"), ("b.txt", "second")):
        body = {"path": path, "content": base64.b64encode(text.encode()).decode()}
        api.call("POST", f"/executions/{execution}/files", body)
    api.call("POST", f"/executions/{execution}/files", {"path": "big", "size": 9, "refused": "it is too large"})
    return execution


def notices(api: Api, execution: str) -> str:
    events = api.call("GET", f"/executions/{execution}/events")
    return " ".join(each["data"]["message"] for each in events if each["event_type"] == "notice")


def test_a_fork_has_the_files_of_its_origin_and_says_what_is_missing(api: Api) -> None:
    origin = with_files(api)
    made = fork(api, origin, at=ANSWER)
    listed = api.call("GET", f"/executions/{made}/files")
    assert [(each["path"], each["size"]) for each in listed] == [("b.txt", 6), ("out/a.txt", 5)]
    told = notices(api, made)
    assert "it begins with 2 files of it, as they were stored last; 1 more is not stored" in told
    api.call("DELETE", f"/executions/{origin}")  # its own names of the contents go, and not those of the fork
    assert api.ask("GET", f"/executions/{made}/files/out%2Fa.txt").text == "first"
    assert "none of its files is stored here" in notices(api, fork(api, talked(api), at=ANSWER))


def test_a_worker_downloads_files_of_an_open_fork_only(api: Api) -> None:
    origin, worker = with_files(api), api.key("worker")["headers"]
    made = fork(api, origin, at=ANSWER)
    api.call("GET", f"/executions/{origin}/files/b.txt", status=403, headers=worker)
    assert api.ask("GET", f"/executions/{made}/files/b.txt", headers=worker).text == "second"
    api.call("PATCH", f"/executions/{made}", {"status": "completed"})
    api.call("GET", f"/executions/{made}/files/b.txt", status=403, headers=worker)


def test_a_fork_that_is_refused_leaves_no_files(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    origin, files = with_files(api), api.plane.run_files
    before = sorted(files._folder.iterdir())

    def stopped(*_: Any) -> None:
        raise ApiError(423, "stopped")

    monkeypatch.setattr("kubiya_worker.server.api.stop.check", stopped)
    fork(api, origin, 423, at=ANSWER)
    assert sorted(files._folder.iterdir()) == before


@pytest.mark.parametrize(
    ("copied", "left", "kept", "words"),
    [
        (0, 0, False, "this control plane keeps none"),
        (0, 3, True, "none of its 3 files is stored here"),
        (1, 0, True, "it begins with 1 file of it, as they were stored last"),
        (2, 2, True, "2 more are not stored"),
    ],
)
def test_readers_of_a_fork_are_told_of_its_files(copied: int, left: int, kept: bool, words: str) -> None:
    assert words in about_files(copied, left, kept=kept)


def kept(api: Api, execution: str) -> list[str]:
    answer = api.ask("GET", f"/executions/{execution}/session")
    return [x["message_id"] for x in answer.json()["messages"]] if answer.status_code == 200 else []


def test_a_fork_shares_the_conversation_up_to_its_step(api: Api) -> None:
    origin = talked(api, model_id="m-9")
    made = fork(api, origin, at=ANSWER)
    assert kept(api, made) == ["m1", "m2", "m3"]
    given = api.input_of(made)
    assert given["sequel"]["message"] == {"message_id": "m1", "timestamp": "t1", "user_name": "Ada"}
    assert (given["prompt"], given["model_id"], given["user_metadata"]) == ("Look.", "m-9", {"tainted": True})
    log = api.call("GET", f"/executions/{made}/events")
    kinds = [each["event_type"] for each in log]
    assert kinds == ["message", "message", "tool_started", "tool_completed", "notice"]
    assert [each["sequence"] for each in log] == [1, 2, 3, 4, 5]
    assert all(each["data"]["shared"] for each in log[:-1]) and origin in log[-1]["data"]["message"]
    assert "usage" not in log[1]["data"] and "step" not in log[1]["data"], "what it cost is the origin's"
    row = api.call("GET", f"/executions/{made}")
    about = {"source": "fork", "fork_of": origin, "fork_at": ANSWER}
    assert (row["status"], row["execution_metadata"], row["usage"]) == ("pending", about, {})
    (record,) = [each for each in api.call("GET", f"/audit?object={made}") if each["action"] == "execution.fork"]
    assert origin in str(record)

    # With another prompt: it follows what is kept of an answer, and takes the place of the question before one.
    changed = fork(api, origin, at=ANSWER, prompt="Only /var.")
    assert kept(api, changed) == ["m1", "m2", "m3"] and api.input_of(changed)["sequel"]["message"] == {}
    changed = fork(api, origin, at=QUESTION, prompt="And /srv?")
    assert kept(api, changed) == ["m1", "m2", "m3", "m4"] and api.input_of(changed)["prompt"] == "And /srv?"


@pytest.mark.parametrize("at", [2, 3, 4, 5, TOOL])
def test_a_tool_call_is_never_parted_from_its_result(api: Api, at: int) -> None:
    made = fork(api, talked(api), at=at)
    assert kept(api, made) == [] and api.input_of(made)["prompt"] == "Look."
    assert [each["event_type"] for each in api.call("GET", f"/executions/{made}/events")] == ["notice"]


def test_another_agent_model_and_queue_go_on(api: Api) -> None:
    origin, agent = talked(api), api.agent(system_prompt="Be brief.")
    queue = api.call("POST", "/environments/default/worker-queues", {"name": "elsewhere"})
    fields = {"agent": agent["name"], "model_id": "m-2", "worker_queue_id": "elsewhere"}
    made = fork(api, origin, message_id="m6", **fields)
    row, given = api.call("GET", f"/executions/{made}"), api.input_of(made)
    assert (row["entity_id"], row["queue_id"]) == (agent["id"], queue["id"])
    assert (given["model_id"], given["system_prompt"]) == ("m-2", "Be brief.")
    assert kept(api, made) == ["m1", "m2", "m3", "m4"]
    body = {"prompt": "Do it.", "worker_queue_id": "default", "entity": {"name": "once"}}
    dynamic = api.call("POST", "/dynamic-executions/execute", body)["execution_id"]
    api.call("POST", f"/executions/{dynamic}/session", {"messages": TALK})
    assert "its agent is stored nowhere" in fork(api, dynamic, 409, message_id="m6")["detail"]
    assert kept(api, fork(api, dynamic, message_id="m6", agent="ops")) == ["m1", "m2", "m3", "m4"]


def test_what_is_no_step_is_refused_by_name_and_a_repeated_request_starts_one(api: Api) -> None:
    origin = talked(api)
    assert "The event 1 (run_started) is no step" in str(fork(api, origin, 422, at=1))
    assert "There is no event 99" in str(fork(api, origin, 422, at=99))
    assert "Say the step by `at`" in str(fork(api, origin, 422))
    assert "Say the step by `at`" in str(fork(api, origin, 422, at=2, message_id="m1"))
    assert "does not hold that step yet" in fork(api, origin, 409, message_id="m99")["detail"]
    running = api.execute()
    api.call("POST", f"/executions/{running}/events", {"event_type": "message", "data": TALK[0], "event_id": "e"})
    assert "stored at the end of each turn" in fork(api, running, 409, at=1)["detail"]
    path, key = f"/executions/{origin}/fork", {"Idempotency-Key": "once"}
    headers = {"Authorization": f"Bearer {api.key('operator')['key']}", **key}
    both = [api.call("POST", path, {"at": ANSWER}, headers=headers, key=False)["execution_id"] for _ in range(2)]
    assert both[0] == both[1]
    viewer = api.key("viewer")["headers"]
    api.call("POST", path, {"at": ANSWER}, 403, headers=viewer, key=False)
