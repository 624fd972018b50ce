"""Several writes in one request: all of them or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.control_plane import errors, write_batches, writes
from kubiya_worker.control_plane.client import ControlPlane as Client
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import names
from tests.support.control_plane import ControlPlane

TURN = {"turn_number": 1, "model": "demo", "started_at": "2026-11-28T12:00:00Z"}


def patch(path: str, optional: bool = False, **body: Any) -> dict[str, Any]:
    return {"method": "PATCH", "path": path, "body": body, "optional": optional}


def events(execution: str, *ids: str) -> dict[str, Any]:
    body = {"events": [{"event_id": i, "event_type": "message", "data": {"content": i}} for i in ids]}
    return {"method": "POST", "path": f"/executions/{execution}/events/batch", "body": body}


def log_of(plane: ControlPlane, execution: str) -> list[Any]:
    found = plane.call("GET", f"/executions/{execution}/events")
    return [event["data"].get("content") or event["data"].get("status") for event in found]


def test_writes_are_made_in_their_order(plane: ControlPlane) -> None:
    execution = plane.execute()
    path = f"/executions/{execution}"
    before = log_of(plane, execution)
    turn = {"execution_id": execution, "turn_id": "t1", "finish_reason": "stop", **TURN}
    requests = [
        patch(path, status="running"),
        events(execution, "a", "b"),
        {"method": "POST", "path": "/analytics/turns", "body": turn},
        patch("/agents/ops", status="running"),
    ]
    answers = plane.call("POST", "/batch", {"requests": requests})["answers"]
    assert [a.get("status") or a.get("accepted") or a.get("next_status") for a in answers] == [
        *("running", 2),
        *("completed", "running"),
    ]
    assert log_of(plane, execution) == [*before, "running", "a", "b"]
    again = plane.call("POST", "/batch", {"requests": requests})["answers"]
    assert again[1]["duplicates"] == 2, "a repeat changes nothing"
    assert log_of(plane, execution) == [*before, "running", "a", "b"]


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (patch("/executions/nobody", status="running"), 404),
        (patch("/agents/nobody", status="running"), 404),
        ({"method": "POST", "path": "/analytics/turns", "body": {}}, 422),
        ({"method": "POST", "path": "/agents", "body": {"name": "made-in-a-batch"}}, 422),
        ({"method": "POST", "path": "/batch", "body": {"requests": []}}, 422),
        ({"method": "PATCH", "path": "/agents/ops"}, 422),
        ("nonsense", 422),
    ],
)
def test_nothing_is_done_when_one_is_refused(plane: ControlPlane, bad: Any, status: int) -> None:
    execution = plane.execute()
    before = plane.call("GET", f"/executions/{execution}"), log_of(plane, execution)
    requests = [patch(f"/executions/{execution}", status="running"), events(execution, "a"), bad]
    plane.call("POST", "/batch", {"requests": requests}, status=status)
    assert (plane.call("GET", f"/executions/{execution}"), log_of(plane, execution)) == before
    plane.call("POST", "/batch", {"requests": requests[:2]})
    assert log_of(plane, execution) == [*before[1], "running", "a"], "its events are numbered as if nothing had been"


def test_what_may_be_missing_is_passed_over(plane: ControlPlane) -> None:
    execution = plane.execute()
    requests = [patch("/agents/nobody", optional=True, status="running"), events(execution, "a")]
    answers = plane.call("POST", "/batch", {"requests": requests})["answers"]
    assert answers[0] is None and answers[1]["accepted"] == 1


def test_a_batch_has_an_end(plane: ControlPlane) -> None:
    execution = plane.execute()
    plane.call("POST", "/batch", {"requests": [events(execution, "a")] * 21}, status=422)
    plane.call("POST", "/batch", {}, status=422)


def test_an_entry_can_depend_on_what_the_turn_came_to(plane: ControlPlane) -> None:
    execution = plane.execute()
    turn = {"method": "POST", "path": "/analytics/turns", "body": {"execution_id": execution, "turn_id": "t1", **TURN}}
    ended = [
        {
            "method": "PATCH",
            "path": f"/executions/{execution}",
            "body": {"status": status, "response": text},
            "if_status": status,
        }
        for status, text in (("waiting_for_input", "more?"), ("completed", "over"))
    ]
    answers = plane.call("POST", "/batch", {"requests": [turn, *ended]})["answers"]
    assert answers[0]["next_status"] == "completed"
    assert answers[1] is None
    assert answers[2]["response"] == "over"
    log = log_of(plane, execution)
    again = plane.call("POST", "/batch", {"requests": [turn, *ended]})["answers"]
    assert again[1] is None and again[2]["completed_at"] == answers[2]["completed_at"]
    assert log_of(plane, execution) == log, "the same end twice changes nothing"


def test_an_event_waits_for_what_has_to_come_before_it(plane: ControlPlane) -> None:
    execution = plane.execute()
    path = f"/executions/{execution}/events/batch"
    late = {"event_id": "c", "event_type": "message", "data": {"content": "c"}, "after": ["b"]}
    body = {"events": [*events(execution, "a")["body"]["events"], late]}
    plane.call("POST", path, body, status=425)
    plane.call("POST", path, {"events": [], "after": ["b"]}, status=425)
    assert log_of(plane, execution)[-1] == "a"
    plane.call("POST", path, events(execution, "b")["body"], status=202)
    assert plane.call("POST", path, body, status=202)["accepted"] == 1
    plane.call("POST", path, {"events": [], "after": ["b", "c"]}, status=202)
    assert log_of(plane, execution)[-3:] == ["a", "b", "c"]


def test_what_comes_before_is_a_list(plane: ControlPlane) -> None:
    path = f"/executions/{plane.execute()}/events/batch"
    plane.call("POST", path, {"events": [], "after": "b"}, status=422)
    event = {"event_type": "message", "data": {}, "after": [{"no": ["id"]}, None, 3]}
    plane.call("POST", path, {"events": [event]}, status=425)


def test_groups_are_done_or_refused_each_for_itself(plane: ControlPlane) -> None:
    one, two = plane.execute(), plane.execute()
    late = {"event_id": "l", "event_type": "message", "data": {}, "after": ["not there"]}
    early = events(two, "e")
    early["body"]["events"].append(late)
    groups = [
        [patch(f"/executions/{one}", status="running"), events(one, "a")],
        [events(two, "b"), patch("/executions/nobody", status="running")],
        [early],
        ["nonsense"],
        "nonsense",
        [events(two, "c")],
    ]
    told = plane.call("POST", "/batch", {"groups": groups})["groups"]
    assert [group.get("status") for group in told] == [None, 404, 425, 422, 422, None]
    assert told[1]["detail"] == "Execution 'nobody' not found"
    assert [answer.get("accepted") for answer in told[0]["answers"]] == [None, 1]
    assert log_of(plane, one)[-2:] == ["running", "a"]
    assert log_of(plane, two)[-2:] == ["e", "c"], "all of a group or none; alone, as much as the request alone would do"


def test_groups_have_an_end(plane: ControlPlane) -> None:
    plane.call("POST", "/batch", {"groups": [[]] * 51}, status=422)
    plane.call("POST", "/batch", {"groups": "many"}, status=422)
    assert plane.call("POST", "/batch", {"groups": []}) == {"groups": []}
    plane.call("POST", "/batch", {"groups": [[events("nobody", "a")]]})


def test_the_client_tells_each_group_what_became_of_it(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBIYA_API_LOG_FILE", str(tmp_path / "faults"))
    ids = [plane.execute() for _ in range(3)]
    client = Client(plane.url, plane.key, features=frozenset({names.FEATURE_BATCH, names.FEATURE_EVENTS_BATCH}))
    said = [[writes.events(i, [ev.event(f"{i}:x", ev.MESSAGE, {"content": "x"})])] for i in [*ids, "nobody"]]
    *made, refused = client.write_requests.groups(said)
    assert [one[0]["accepted"] for one in made if isinstance(one, list)] == [1, 1, 1]
    assert isinstance(refused, errors.Refused) and refused.status == 404 and "nobody" in str(refused)
    (told,) = map(json.loads, (tmp_path / "faults").read_text().splitlines())
    assert (told["status"], told["url"].rpartition("/api/v1")[2]) == (404, "/executions/nobody/events/batch")
    monkeypatch.setattr(write_batches, "REQUEST_BYTES", 1)  # what does not fit together goes one by one
    *again, refused = client.write_requests.groups(said)
    assert [one[0]["duplicates"] for one in again if isinstance(one, list)] == [1, 1, 1]
    assert isinstance(refused, errors.Refused)
    monkeypatch.undo()
    too_many = [said[0]] * 51  # a request that is refused as a whole is made again, group by group
    assert all(isinstance(one, list) for one in client.write_requests.groups(too_many))
    client.close()
    nowhere = Client("http://127.0.0.1:9", "kby_none")
    assert all(isinstance(one, errors.Unreachable) for one in nowhere.write_requests.groups(said))
    stranger = Client(plane.url, "kby_none")
    assert all(isinstance(one, errors.Unauthorized) for one in stranger.write_requests.groups(said))
