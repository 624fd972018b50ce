"""Executions, sessions, events, and jobs' runs (docs/protocol.md#a5)."""

from __future__ import annotations

import re
import time
import uuid

from temporalio.service import RPCError, RPCStatusCode

from tests.contract.checks.registry import checks
from tests.contract.control_planes import Object, PlaneUnderTest, said
from tests.support.stack import wait_until


@checks("patch.lower-case")
def statuses_in_lower_case(plane: PlaneUnderTest) -> None:
    execution_id = plane.row()
    assert plane.call("PATCH", f"/executions/{execution_id}", {"status": "RUNNING"})["status"] == "running"
    assert plane.get(execution_id)["status"] == "running"


@checks("patch.replaces-maps")
def maps_are_replaced(plane: PlaneUnderTest) -> None:
    execution_id = plane.row()
    for value in ({"a": 1}, {"b": 2}):
        plane.call("PATCH", f"/executions/{execution_id}", {"usage": value, "execution_metadata": value})
    row = plane.get(execution_id)
    assert row["usage"] == row["execution_metadata"] == {"b": 2}


@checks("patch.null-leaves")
def null_leaves_the_field(plane: PlaneUnderTest) -> None:
    execution_id = plane.row()
    plane.call("PATCH", f"/executions/{execution_id}", {"response": "kept", "error_message": "too"})
    plane.call("PATCH", f"/executions/{execution_id}", {"response": None, "error_message": None, "status": None})
    row = plane.get(execution_id)
    assert (row["response"], row["error_message"]) == ("kept", "too")


@checks("events.any-type")
def events_of_any_type(plane: PlaneUnderTest) -> None:
    execution_id = plane.row()
    for kind in ("message_chunk", "of_tomorrow"):
        plane.event(execution_id, kind, text="x")
    body = {"event_type": "notice", "data": {}}
    status = plane.status("POST", f"/executions/{uuid.uuid4()}/events", body)
    assert status == (202 if plane.published else 404)  # ours says when there is no such execution


@checks("session.404-first")
def no_session_yet(plane: PlaneUnderTest) -> None:
    assert plane.status("GET", f"/executions/{plane.row()}/session") == 404


@checks("session.success-false")
def sessions_that_cannot_be_stored(plane: PlaneUnderTest) -> None:
    execution_id = plane.row()
    path = f"/executions/{execution_id}/session"
    plane.call("POST", path, {"session_id": execution_id, "messages": [said("user", "kept", "m1")]}, 201)
    answer = said("assistant", "", "m2")
    for messages in ([{**answer, "content": None}], [{**answer, "content": ["x"]}], "text", ["text"]):
        told = plane.ask("POST", path, {"session_id": execution_id, "messages": messages})
        if plane.published:
            assert (told.status_code, told.json()["success"]) == (201, False), told.text
        else:  # ours answers with an error, so that nobody has to read `success`
            assert told.status_code == 422, told.text
        assert [m["content"] for m in plane.call("GET", path)["messages"]] == ["kept"]
    assert plane.raw("POST", path, "[]").status_code == 422


@checks("session.replaced")
def sessions_are_replaced(plane: PlaneUnderTest) -> None:
    execution_id = plane.row()
    path = f"/executions/{execution_id}/session"
    for count in (3, 2):
        messages = [said("user", f"text {n}", f"{execution_id}_user_{n}") for n in range(count)]
        told = plane.call("POST", path, {"session_id": execution_id, "messages": messages}, 201)
        assert (told["success"], told["persisted_messages"]) == (True, count)
    found = plane.call("GET", path)
    assert found["message_count"] == len(found["messages"]) == 2
    assert found["session_id"] == execution_id


@checks("message.id")
def follow_ups(plane: PlaneUnderTest) -> None:
    execution_id = plane.run()
    plane.call("PATCH", f"/executions/{execution_id}", {"status": "waiting_for_input"})
    for text in ("one", "two"):
        told = plane.call("POST", f"/executions/{execution_id}/message", {"message": text}, 202)
        assert told["success"] and told["execution_id"] == execution_id
    heard: list[Object] = []

    def both() -> bool:
        try:
            heard[:] = plane.state(execution_id)["metadata"]["heard"]
        except RPCError as error:  # a start is answered before Temporal has the workflow
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
        return len(heard) == 2

    wait_until(both, plane.patience, "the workflow hears both messages")
    assert [(m["role"], m["content"]) for m in heard] == [("user", "one"), ("user", "two")]
    ids = [m["message_id"] for m in heard]
    assert len(set(ids)) == 2 and all(re.fullmatch(rf"{execution_id}_\d{{16}}", i) for i in ids), ids
    assert plane.get(execution_id)["status"] == "waiting_for_input"  # the row is the worker's to change


@checks("pause.only-running")
def pause(plane: PlaneUnderTest) -> None:
    execution_id = plane.run()
    for word in ("pause", "resume"):
        told = plane.call("POST", f"/executions/{execution_id}/{word}")  # it is pending
        assert told["success"] is False and told["error"] and told["status"] == "pending", told
    plane.call("PATCH", f"/executions/{execution_id}", {"status": "running"})
    told = plane.call("POST", f"/executions/{execution_id}/pause")
    assert told["success"] is True and told["workflow_id"] == f"agent-execution-{execution_id}"
    assert plane.get(execution_id)["status"] == "paused"
    assert plane.call("POST", f"/executions/{execution_id}/resume")["success"] is True
    assert plane.get(execution_id)["status"] == "running"


@checks("job.create-twice")
def jobs_row_twice(plane: PlaneUnderTest) -> None:
    execution_id = str(uuid.uuid4())
    for _ in range(2):
        told = plane.call("POST", "/executions/job-executions", plane.job_body(execution_id), 201)
        assert (told["execution_id"], told["status"]) == (execution_id, "created")
    found = plane.call("GET", "/executions?limit=200")
    assert [e["id"] for e in found].count(execution_id) == 1


@checks("job.unknown")
def unknown_job(plane: PlaneUnderTest) -> None:
    body = plane.job_body(str(uuid.uuid4()), job_id=f"job_{uuid.uuid4()}")
    assert plane.status("POST", "/executions/job-executions", body) == 404


@checks("job.status")
def status_of_a_jobs_run(plane: PlaneUnderTest) -> None:
    job = plane.call("POST", "/jobs", _job(plane), 201)["id"]
    execution_id = str(uuid.uuid4())
    plane.call("POST", "/executions/job-executions", plane.job_body(execution_id, job_id=job), 201)
    for path, status in (
        (f"/executions/{execution_id}/job/{job}/status", "updated"),
        (f"/executions/{execution_id}/job/job_{uuid.uuid4()}/status", "not_found"),
        (f"/executions/{uuid.uuid4()}/job/{job}/status", "not_found"),
    ):
        told = plane.call("POST", path, {"status": "completed", "duration_ms": 12}, 202)
        assert told["status"] == status, (path, told)


def _job(plane: PlaneUnderTest) -> Object:
    about = {"trigger_type": "manual", "planning_mode": "predefined_agent", "prompt_template": "Look."}
    queue = {"executor_type": "specific_queue", "worker_queue_name": plane.queue_id}
    return {"name": f"j-{time.time_ns()}", **about, **queue, "entity_type": "agent", "entity_id": plane.any_agent()}
