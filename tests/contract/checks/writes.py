"""These checks hold for every write: keys, types, ids, values (docs/protocol.md#a1, #a11)."""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.contract.checks.registry import checks
from tests.contract.control_planes import Object, PlaneUnderTest

# A write, a body that is taken, and by field the values that are of a wrong type.
WRONG: dict[str, dict[str, list[Any]]] = {
    "patch": {
        "status": [1, ["running"]],
        "started_at": [5],
        "completed_at": [{}],
        "response": [{"text": "x"}],
        "error_message": [["x"]],
        "usage": ["none", [1]],
        "execution_metadata": ["none"],
    },
    "event": {"event_type": [1], "data": ["text", [1]], "timestamp": [5]},
    "turn": {
        "turn_number": ["one", {}],
        "model": [5],
        "started_at": [5],
        "turn_id": [7],
        "finish_reason": [1],
        "response_preview": [{}],
        "duration_ms": ["long"],
        "input_tokens": ["many", [1]],
        "total_cost": ["much"],
        "tools_called_names": ["shell", [1]],
        "metrics": ["none"],
    },
    "tool_call": {
        "tool_name": [5],
        "started_at": [5],
        "turn_id": [7],
        "tool_use_id": [7],
        "duration_ms": ["long"],
        "success": ["perhaps", {}],
        "metadata": ["none"],
    },
    "approval": {
        "execution_id": [5],
        "tool_name": [5, {}],
        "tool_args": ["rm", [1]],
        "risk_level": [3],
        "enforcement_context": ["none"],
        "approver_emails": ["ops@acme.example", [1]],
        "timeout_minutes": ["long", 0],
    },
    "heartbeat": {
        "status": [5],
        "tasks_processed": ["some"],
        "current_task_id": [5],
        "worker_metadata": ["none"],
        "logs": ["text", [5]],
    },
    "disconnect": {"reason": [5], "exit_code": ["one"], "error_message": [5]},
    "job_status": {"status": [5], "duration_ms": ["long"], "error_message": [5]},
}
REQUIRED: dict[str, list[str]] = {
    "event": ["event_type", "data"],
    "turn": ["execution_id", "turn_number", "model", "started_at"],
    "tool_call": ["execution_id", "tool_name", "started_at"],
    "approval": ["execution_id", "tool_name"],
    "job_status": ["status"],
    "job": ["execution_id", "organization_id", "entity_type", "prompt", "trigger_type", "trigger_metadata"],
    "batch": ["execution_id"],
}
# Fields with a default, which null is not.
DEFAULTED: dict[str, list[str]] = {
    "turn": ["input_tokens", "output_tokens", "total_tokens", "tools_called_count", "total_cost", "model_weight"],
    "approval": ["timeout_minutes"],
    "heartbeat": ["tasks_processed", "status", "worker_metadata"],
}
WHOLE: dict[str, list[str]] = {
    "turn": ["turn_number", "input_tokens", "duration_ms"],
    "tool_call": ["duration_ms"],
    "approval": ["timeout_minutes"],
    "heartbeat": ["tasks_processed"],
    "disconnect": ["exit_code"],
    "job_status": ["duration_ms"],
}


def write(plane: PlaneUnderTest, name: str) -> tuple[str, str, Object]:
    """Method, path and a body that is taken."""
    execution_id, worker_id = plane.row(), str(uuid.uuid4())
    job = plane.job_body(str(uuid.uuid4()))
    writes: dict[str, tuple[str, str, Object]] = {
        "patch": ("PATCH", f"/executions/{execution_id}", {"status": "running"}),
        "event": ("POST", f"/executions/{execution_id}/events", {"event_type": "notice", "data": {"message": "x"}}),
        "turn": ("POST", "/analytics/turns", plane.turn(execution_id)),
        "tool_call": ("POST", "/analytics/tool-calls", plane.tool_call(execution_id)),
        "approval": ("POST", "/approvals", {"execution_id": execution_id, "tool_name": "shell"}),
        "heartbeat": ("POST", f"/workers/{worker_id}/heartbeat", {"status": "active"}),
        "disconnect": ("POST", f"/workers/{_worker(plane)}/disconnect", {"reason": "shutdown"}),
        "job_status": ("POST", f"/executions/{execution_id}/job/{uuid.uuid4()}/status", {"status": "completed"}),
        "job": ("POST", "/executions/job-executions", job),
        "batch": ("POST", "/analytics/batch", {"execution_id": execution_id}),
    }
    return writes[name]


def _worker(plane: PlaneUnderTest) -> str:
    return str(plane.call("POST", f"/worker-queues/{plane.queue_id}/start", {})["worker_id"])


@checks("auth.unknown-key")
def unknown_key(plane: PlaneUnderTest) -> None:
    execution_id = plane.row()
    for headers in ({}, {"Authorization": "Bearer nobody"}):
        answer = plane.ask("GET", f"/executions/{execution_id}", headers=headers)
        assert answer.status_code == 401, (headers, answer.status_code)
        assert set(answer.json()["detail"]) >= {"error", "message", "hint"}


@checks("auth.every-form")
def every_form_of_key(plane: PlaneUnderTest) -> None:
    execution_id = plane.row()
    forms: list[dict[str, str]] = [
        {"Authorization": f"{scheme}{plane.key}"} for scheme in ("Bearer ", "UserKey ", "Baerer ", "")
    ]
    for headers in [*forms, {"UserKey": plane.key}]:
        answer = plane.ask("GET", f"/executions/{execution_id}", headers=headers)
        assert answer.status_code == 200, (headers, answer.status_code)


@checks("types.422")
def wrong_types(plane: PlaneUnderTest) -> None:
    for name, fields in WRONG.items():
        method, path, body = write(plane, name)
        for field, values in fields.items():
            for value in values:
                plane.refused(method, path, {**body, field: value})
    for method, path, _ in (write(plane, "patch"), write(plane, "turn"), write(plane, "event")):
        for text in ("[1]", '"text"', "{"):
            assert plane.raw(method, path, text).status_code == 422, (path, text)


@checks("types.required")
def required_fields(plane: PlaneUnderTest) -> None:
    for name, fields in REQUIRED.items():
        method, path, body = write(plane, name)
        for field in fields:
            plane.refused(method, path, {k: v for k, v in body.items() if k != field})


@checks("types.null-is-not-absent")
def null_is_not_absent(plane: PlaneUnderTest) -> None:
    for name, fields in DEFAULTED.items():
        method, path, body = write(plane, name)
        for field in fields:
            plane.refused(method, path, {**body, field: None})


@checks("types.fraction")
def fractions(plane: PlaneUnderTest) -> None:
    for name, fields in WHOLE.items():
        method, path, body = write(plane, name)
        for field in fields:
            plane.refused(method, path, {**body, field: 1.5})
            assert plane.status(method, path, {**body, field: 2.0}) < 300, (name, field)


@checks("types.unknown-fields")
def unknown_fields(plane: PlaneUnderTest) -> None:
    for name in (*WRONG, "job", "batch"):
        method, path, body = write(plane, name)
        answer = plane.ask(method, path, {**body, "of_tomorrow": {"any": ["thing"]}})
        assert answer.status_code < 300, (name, answer.status_code, answer.text)


@checks("ids.unknown")
def unknown_ids(plane: PlaneUnderTest) -> None:
    nobody = str(uuid.uuid4())
    for method, path, body in (
        ("GET", f"/executions/{nobody}", None),
        ("PATCH", f"/executions/{nobody}", {"status": "running"}),
        ("GET", f"/approvals/{nobody}", None),
        ("GET", f"/agents/{nobody}", None),
        ("GET", f"/teams/{nobody}", None),
        ("PATCH", f"/agents/{nobody}", {"status": "running"}),
        ("POST", f"/worker-queues/{nobody}/start", {}),
        ("GET", f"/skills/associations/agents/{nobody}/skills/resolved", None),
        ("GET", f"/execution-environment/agents/{nobody}/resolved/full", None),
    ):
        assert plane.status(method, path, body) == 404, path


@checks("ids.no-uuid")
def ids_that_are_no_uuid(plane: PlaneUnderTest) -> None:
    for method, path, body in (
        ("GET", "/executions/not-a-uuid", None),
        ("PATCH", "/executions/not-a-uuid", {"status": "running"}),
        ("GET", "/approvals/not-a-uuid", None),
        ("POST", "/worker-queues/not-a-uuid/start", {}),
        ("POST", "/workers/not-a-uuid/disconnect", {}),
        ("POST", "/analytics/turns", plane.turn("not-a-uuid")),
    ):
        status = plane.status(method, path, body)
        # Ours finds queues and agents by their names as well, and says plainly that there is none.
        assert status == (500 if plane.published else 404), (path, status)


@checks("values.time")
def times(plane: PlaneUnderTest) -> None:
    for name, field in (
        ("patch", "started_at"),
        ("patch", "completed_at"),
        ("turn", "started_at"),
        ("tool_call", "started_at"),
    ):
        method, path, body = write(plane, name)
        status = plane.status(method, path, {**body, field: "yesterday"})
        # Ours names the field instead of failing.
        assert status == (500 if plane.published else 422), (name, field, status)
        assert plane.status(method, path, {**body, field: "2026-11-28T12:00:00Z"}) < 300


@checks("values.nul")
def nul_and_half_surrogates(plane: PlaneUnderTest) -> None:
    method, path, _ = write(plane, "patch")
    for text in ("a\\u0000b", "a\\ud83d b"):
        answer = plane.raw(method, path, f'{{"response": "{text}"}}')
        if plane.published:
            assert answer.status_code == 500, answer.text
        else:  # ours takes them; what comes back can be written as UTF-8
            assert answer.status_code == 200, answer.text
            plane.ask("GET", path).json()["response"].encode()
    method, path, body = write(plane, "turn")
    text = json.dumps(body)[:-1] + ', "response_preview": "\\u0000"}'
    assert plane.raw(method, path, text).status_code == (500 if plane.published else 201)


@checks("values.int-range")
def counts_of_32_bits(plane: PlaneUnderTest) -> None:
    method, path, body = write(plane, "turn")
    assert plane.status(method, path, {**body, "input_tokens": 2**31 - 1}) == 201
    status = plane.status(method, path, {**body, "input_tokens": 2**31})
    assert status == (500 if plane.published else 201), status
