"""A change of an execution is in its row and its log, ends its open requests, and is told to those who follow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.server.run_workflows import labels_of
from kubiya_worker.server.runs import Runs
from kubiya_worker.server.store.executions import Execution
from tests.support.api import Api


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with Api(tmp_path) as running:
        yield running


@pytest.fixture
def runs(api: Api) -> Runs:
    return api.plane.runs


def begun(api: Api, status: str = "running") -> Execution:
    """Return an execution with this status."""
    execution = stored(api, api.execute())
    changed = api.plane.runs.change(execution, {"status": status}, by_worker=True)
    assert changed["status"] == status
    return changed


def stored(api: Api, execution_id: str) -> Execution:
    execution = api.plane.stores.execution_of(execution_id)
    assert execution is not None
    return execution


def log(api: Api, execution_id: str, after: int = 0) -> list[tuple[str, dict[str, Any]]]:
    """Return (type, data) of each event of an execution."""
    events = api.plane.stores.events.after(execution_id, after)
    return [(event.event_type, json.loads(event.data)) for event in events]


@pytest.mark.parametrize(
    ("before", "changes", "by_worker", "status", "types"),
    [
        ("running", {"status": "completed"}, True, "completed", ["status", "done"]),
        ("running", {"status": "FAILED"}, True, "failed", ["status", "done"]),
        ("running", {"status": "waiting_for_input"}, True, "waiting_for_input", ["status"]),
        ("running", {"status": "running"}, True, "running", []),
        ("running", {"response": "so far"}, True, "running", []),
        ("running", {"status": "paused"}, False, "paused", ["status"]),
        ("completed", {"status": "running"}, True, "completed", []),  # what comes late changes nothing
        ("completed", {"status": "failed"}, False, "completed", []),
        ("completed", {"response": "late"}, True, "completed", []),
        ("paused", {"status": "running"}, True, "paused", []),  # a worker goes on when a person resumes it
        ("paused", {"status": "running"}, False, "running", ["status"]),
        ("paused", {"status": "completed"}, True, "completed", ["status", "done"]),
    ],
)
def test_a_change_of_the_status_is_in_the_row_and_in_the_log(
    api: Api, runs: Runs, before: str, changes: dict[str, Any], by_worker: bool, status: str, types: list[str]
) -> None:
    paused = before == "paused"
    execution = begun(api, "running" if paused else before)
    if paused:
        execution = runs.change(execution, {"status": "paused"})
    last = api.plane.stores.events.last(execution["id"])
    runs.change(execution, changes, by_worker=by_worker)
    row = stored(api, execution["id"])
    assert row["status"] == status
    assert bool(row.get("completed_at")) == (status in ("completed", "failed"))
    assert [kind for kind, _ in log(api, execution["id"], last)] == types


def test_what_a_worker_says_meanwhile_is_what_a_resume_restores(api: Api, runs: Runs) -> None:
    execution = runs.change(begun(api), {"status": "paused", "status_before_pause": "running"})
    runs.change(execution, {"status": "waiting_for_input"}, by_worker=True)
    row = stored(api, execution["id"])
    assert (row["status"], row["status_before_pause"]) == ("paused", "waiting_for_input")


def test_the_last_event_has_the_outcome(api: Api, runs: Runs) -> None:
    lacking = [{"part": "mcp_server", "name": "docs"}]
    changes = {
        "status": "failed",
        "response": "half",
        "usage": {"total_tokens": 3},
        "error_message": "gone",
        "execution_metadata": {"degraded": lacking},
    }
    execution = runs.change(begun(api), changes, by_worker=True)
    kind, data = log(api, execution["id"])[-1]
    assert kind == "done"
    assert data == {
        "status": "failed",
        "execution_id": execution["id"],
        "response": "half",
        "usage": {"total_tokens": 3},
        "error": "gone",
        "metadata": {"degraded": lacking},
    }


def test_the_end_of_a_run_ends_its_open_requests_before_its_own_events(api: Api, runs: Runs) -> None:
    execution = begun(api)
    about = {"execution_id": execution["id"], "tool_name": "shell", "tool_args": {}}
    approval = api.call("POST", "/approvals", about, 201)
    last = api.plane.stores.events.last(execution["id"])
    runs.change(execution, {"status": "completed"}, by_worker=True)
    (kind, data), *others = log(api, execution["id"], last)
    assert (kind, data["approval_id"], data["status"]) == ("approval_resolved", approval["id"], "expired")
    assert data["rejection_reason"] == "The execution is completed"
    assert [kind for kind, _ in others] == ["status", "done"]


def test_a_cancelled_run_withdraws_its_start_and_says_why(api: Api, runs: Runs) -> None:
    execution = stored(api, api.execute())
    runs.cancel(execution, "Not needed")
    assert [told["action"] for told in api.told(execution["id"])] == ["cancel"]
    row = stored(api, execution["id"])
    assert (row["status"], row["error_message"]) == ("cancelled", "Not needed")
    (kind, note), *others = log(api, execution["id"])[-3:]
    assert (kind, note["role"], note["content"]) == ("message", "system", "Not needed")
    assert [kind for kind, _ in others] == ["status", "done"]


def test_a_start_that_temporal_refuses_fails_the_run(api: Api, runs: Runs) -> None:
    execution = stored(api, api.execute())
    runs.fail_start(execution["id"], "no such namespace")
    assert stored(api, execution["id"])["error_message"] == "Temporal refuses to start it: no such namespace"
    runs.fail_start("deleted-meanwhile", "no such namespace")


@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        ({}, {"KubiyaAgent": "ops", "KubiyaQueue": "q"}),
        ({"execution_type": "team", "runner_name": ""}, {"KubiyaTeam": "ops"}),
        (
            {"user_email": "a@b.c", "user_name": "Ann"},
            {"KubiyaAgent": "ops", "KubiyaQueue": "q", "KubiyaPerson": "a@b.c"},
        ),
        ({"user_name": "Ann", "requested_by": "k"}, {"KubiyaAgent": "ops", "KubiyaQueue": "q", "KubiyaPerson": "Ann"}),
        ({"requested_by": "k"}, {"KubiyaAgent": "ops", "KubiyaQueue": "q", "KubiyaPerson": "k"}),
    ],
)
def test_the_search_attributes_of_a_run(fields: dict[str, str], labels: dict[str, str]) -> None:
    execution = {"execution_type": "agent", "entity_name": "ops", "runner_name": "q", "organization_id": "o"}
    always = {"KubiyaOrganization": "o", "KubiyaStatus": "pending"}
    assert labels_of({**execution, "status": "pending", **fields}) == {**always, **labels}


def test_a_status_that_comes_late_brings_nothing_else_with_it(api: Api, runs: Runs) -> None:
    execution = runs.change(begun(api), {"status": "completed", "response": "done"}, by_worker=True)
    runs.change(execution, {"status": "failed", "response": "late"}, by_worker=True)
    assert stored(api, execution["id"])["response"] == "done"


def test_who_follows_a_log_is_woken_by_its_events(api: Api, runs: Runs) -> None:
    execution_id = api.execute()

    watcher = api.plane.watchers.join(execution_id)
    event = {"event_id": "n1", "event_type": "notice", "data": {}}
    assert runs.publish(execution_id, [event]) == 1
    assert watcher.is_set()
    assert runs.publish(execution_id, [event]) == 0, "an event is stored once"
