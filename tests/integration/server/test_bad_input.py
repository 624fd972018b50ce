"""The server answers each bad request with a clear error, and never with a 500."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubiya_worker.server.edges.manifests import KINDS
from tests.integration.server.test_access import path_of, routes
from tests.support.control_plane import ControlPlane
from tests.support.databases import sqlite_only
from tests.support.small_disk import small_disk
from tests.support.stack import Process, free_port

FIELDS = [
    "name",
    "prompt",
    "message",
    "reason",
    "role",
    "status",
    "tool_name",
    "scope_type",
    "scope_value",
    "entity_type",
    "entity_id",
    "execution_id",
    "id",
    "events",
    "data",
    "event_type",
    "event_id",
    "messages",
    "metadata",
    "turns",
    "tool_calls",
    "skills",
    "configuration",
    "execution_environment",
    "environment_ids",
    "tags",
    "settings",
    "max_workers",
    "heartbeat_interval",
    "timeout_minutes",
    "priority",
    "action",
    "limit",
    "member_ids",
    "worker_queue_id",
    "user_metadata",
    "execution_metadata",
    "usage",
    "response",
    "error_message",
    "finish_reason",
    "turn_id",
    "logs",
    "system_info",
    "worker_metadata",
    "tasks_processed",
    "lock_duration_seconds",
    "execution_ids",
    "arguments",
    "approver_email",
    "llm_config",
    "model_id",
    "risk_level",
    "category",
    "message_id",
    "trigger_type",
    "cron_schedule",
    "cron_timezone",
    "prompt_template",
    "config",
    "parameters",
    "webhook_secret",
    "documents",
    "kind",
    "spec",
    "version",
    "value",
    "source",
    "names",
    "entity",
    "email",
    "groups",
    "queues",
    "agents",
    "expires_in_days",
]
TEXT = st.one_of(
    st.sampled_from(
        [
            "",
            "default",
            "running",
            "completed",
            "user",
            "agent",
            "shell",
            "\x00",
            "\r\n",
            "\ud800",
            "😀",
            "9" * 40,
            "cron",
            "* * * * *",
        ]
    ),
    st.text(max_size=20),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 10**30, 1.5, -1e308, 2**63]),
    TEXT,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.sampled_from(FIELDS), TEXT), inner, max_size=4)
    ),
    max_leaves=8,
)
BODIES = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=8)
QUERIES = st.dictionaries(
    st.sampled_from(
        [
            "limit",
            "skip",
            "offset",
            "after",
            "status",
            "status_filter",
            "execution_type",
            "last_event_id",
            "deployment_type",
            "force",
            "kind",
            "entity",
            "since",
            "until",
            "outcome",
            "before",
        ]
    ),
    st.one_of(st.sampled_from(["-1", "0", "99999999999999999999", "1e9", "all", "x", "٣", " 7 "]), st.text(max_size=8)),
    max_size=3,
)
DOCUMENTS = st.fixed_dictionaries({"kind": st.one_of(st.sampled_from(KINDS), TEXT), "name": TEXT})
ROUTES = sorted(set(routes()))
PAGE_OF_ANSWERS = "/answers/{token}"  # a person's browser asks it: it says in a page what is wrong
LEAVES = {"..", "%2F"}  # with these in a path, the request is one for another path


@pytest.fixture(scope="module")
def things(plane: ControlPlane) -> dict[str, str]:
    made = plane.call("POST", "/agents", {"name": "fuzzed", "skills": [{"name": "s", "type": "shell"}]}, 201)
    agent, skill = made["id"], made["skills"][0]["id"]
    team = plane.call("POST", "/teams", {"name": "fuzzed"}, 201)["id"]
    queue = plane.call("POST", "/environments/default/worker-queues", {"name": "fuzzed"}, 201)["id"]
    worker = plane.call("POST", f"/worker-queues/{queue}/start", {})["worker_id"]
    execution = plane.execute()
    approval = plane.call("POST", "/approvals", {"execution_id": execution, "tool_name": "shell"}, 201)["id"]
    rule = plane.call("POST", "/approval-rules", {"name": "fuzzed", "scope_type": "all"}, 201)["id"]
    key = plane.call("POST", "/keys", {"name": "fuzzed", "role": "viewer"}, 201)["id"]
    job = {"name": "fuzzed", "trigger_type": "webhook", "entity_type": "agent", "prompt_template": "{{a}}"}
    job = plane.call("POST", "/jobs", {**job, "entity_id": agent}, 201)
    about_hook = {"source": "json", "agent": agent, "proof": {"secret": "{{.secret.A_SECRET}}"}}
    server = plane.call("POST", "/mcp-servers", {"name": "bad-input", "command": "x"}, 201)["id"]
    hook = plane.call("POST", "/hooks", {"name": "a-hook", **about_hook}, 201)["id"]
    channel = {"type": "ntfy", "url": "https://ntfy.example.org", "topic": "t"}
    about = {"name": "fuzzed", "channel": channel, "events": ["run_failed"]}
    notification = plane.call("POST", "/notifications", about, 201)["id"]
    return {
        **{"agent": agent, "team": team, "environment": "default", "queue": queue, "worker": worker, "job": job["id"]},
        "path": job["webhook_url_path"].rpartition("/")[2],
        **{
            "execution": execution,
            "approval": approval,
            "rule": rule,
            "key": key,
            "server": server,
            "hook": hook,
            "notification": notification,
            "token": "unknown",
            "entity": agent,
            "model": "demo",
            "skill": skill,
            "secret": "A_SECRET",
            "kind": "agent",
            "name": agent,
        },
    }


@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(
    route=st.sampled_from(ROUTES),
    body=BODIES,
    query=QUERIES,
    document=DOCUMENTS,
    key=st.one_of(st.none(), st.sampled_from(["nowhere", "%00", "..", "%ff", "a" * 300, "%2F"])),
)
def test_no_request_is_answered_with_a_500(
    plane: ControlPlane,
    things: dict[str, str],
    route: tuple[str, str],
    body: Any,
    query: dict[str, str],
    document: dict[str, str],
    key: str | None,
) -> None:
    method, path = route
    if path.endswith(("/stream", "{execution}/details", "/ready", "/detailed")):
        return  # a stream does not end; the others ask Temporal, which is not there
    if method == "DELETE":
        key = key or "nowhere"  # the things are for all examples
    if path.endswith("/definitions/apply"):
        body = {"documents": [{**document, "spec": body}]}
    where = path_of(path, things if key is None else dict.fromkeys(things, key))
    raw = json.dumps(body, ensure_ascii=True).encode()
    answer = plane.http.request(
        method,
        plane.url + where,
        params=query,
        data=raw if method in ("POST", "PATCH", "PUT") else None,
        timeout=60,
    )
    assert answer.status_code < 500, (method, where, body, answer.status_code, answer.text)
    if path == PAGE_OF_ANSWERS and key not in LEAVES:
        assert answer.headers["content-type"].startswith("text/html") and "<h1>" in answer.text, (method, where)
    elif answer.status_code >= 400:
        assert answer.json()["detail"], (method, where, answer.text)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"{", "JSON decode error"),
        (b"[]", "Input should be an object"),
        (b'"text"', "Input should be an object"),
        (b'{"name": "\xff\xfe"}', "not UTF-8"),
        (b'{"name": "\xed\xa0\x80"}', "not UTF-8"),
        (b'{"name": NaN}', "is not JSON"),
        (b'{"name": 1e999}', "too large"),
        (b'{"name": ' + b"[" * 500 + b"]" * 500 + b"}", "nested"),
        (b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "body"),
        (b'{"name": ' + b"1" * 5000 + b"}", "JSON decode error"),
        (b"{}", "Field required"),
        (b'{"name": 5}', "valid string"),
        (b'{"name": "  "}', "must not be empty"),
        (b'{"name": "x", "skills": [{}]}', "a skill is an object with a type"),
        (b'{"name": "x", "skills": [{"type": {}}]}', "valid string"),
        (b'{"name": "x", "execution_environment": {"env_vars": []}, "skills": {}}', "valid list"),
        (b'{"name": "x", "execution_environment": {"env_vars": [1]}}', "valid dictionary"),
    ],
)
def test_a_body_that_cannot_be_taken_is_told_what_is_wrong(plane: ControlPlane, raw: bytes, says: str) -> None:
    answer = plane.http.post(f"{plane.url}/api/v1/agents", data=raw, timeout=30)
    assert answer.status_code == 422, answer.text
    assert all(set(problem) == {"loc", "msg", "type"} for problem in answer.json()["detail"])
    assert says in answer.text


def test_half_a_surrogate_pair_is_taken_and_given_back_as_text(plane: ControlPlane) -> None:
    raw = b'{"name": "cut \\ud83d emoji", "skills": []}'
    made = plane.http.post(f"{plane.url}/api/v1/agents", data=raw, timeout=30)
    assert made.status_code == 201 and "cut" in made.json()["name"]


def test_a_prompt_of_5_mb_is_refused_with_what_to_do(plane: ControlPlane) -> None:
    answer = plane.ask("POST", "/agents/ops/execute", {"prompt": "x" * 5_000_000, "worker_queue_id": "default"})
    assert answer.status_code == 413
    assert "5,000,000 bytes" in answer.json()["detail"] and "Put long material into a file" in answer.json()["detail"]
    answer = plane.ask("POST", "/agents/ops/execute", {"prompt": "x" * 20_000_000})
    assert answer.status_code == 413 and "8,388,608 bytes" in answer.json()["detail"]


def test_what_temporal_would_never_take_is_refused_before_it_is_stored(plane: ControlPlane) -> None:
    body = {"prompt": "p", "worker_queue_id": "default", "system_prompt": "s" * 1_600_000}
    answer = plane.ask("POST", "/agents/ops/execute", body)
    assert answer.status_code == 413 and "for Temporal" in answer.json()["detail"]
    assert all(row["system_prompt"] is None for row in plane.call("GET", "/executions?limit=500"))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/agents/nobody/execute", 422),
        ("POST", "/teams/nobody/agents/nobody", 404),
        ("GET", "/executions/nothing", 404),
        ("GET", "/executions/nothing/stream", 404),
        ("GET", "/worker-queues/nothing", 404),
        ("GET", "/workers/nothing/health", 404),
        ("GET", "/nowhere", 404),
        ("PUT", "/agents", 405),
        ("GET", "/executions?limit=many", 422),
        ("GET", "/worker-queues/default/install-script?deployment_type=vax", 400),
    ],
)
def test_errors_have_the_shapes_that_clients_know(plane: ControlPlane, method: str, path: str, status: int) -> None:
    answer = plane.ask(method, path, {} if method != "GET" else None)
    assert answer.status_code == status, answer.text
    detail = answer.json()["detail"]
    assert isinstance(detail, list) if status == 422 else isinstance(detail, str)


def test_a_name_that_is_taken_is_a_conflict(plane: ControlPlane) -> None:
    plane.call("POST", "/agents", {"name": "twin", "skills": []}, 201)
    assert "'twin' is taken" in plane.call("POST", "/agents", {"name": "twin"}, 409)["detail"]


def test_huge_limits_are_cut_to_what_is_served(plane: ControlPlane) -> None:
    assert len(plane.call("GET", f"/executions?limit={10**18}&skip=0")) <= 500
    assert plane.call("GET", f"/executions?skip={10**18}") == []


@sqlite_only("several servers may use one PostgreSQL database")
def test_a_second_server_on_the_same_database_says_so_and_ends(plane: ControlPlane) -> None:
    argv = [*plane.argv()]
    argv[argv.index("--port") + 1] = str(free_port())
    second = Process(argv, {"HOME": str(plane.folder)}, plane.folder)
    assert second.wait(60) == 69
    assert len(second.lines) == 1 and "Another control plane uses the database" in second.lines[0]
    assert "--database" in second.lines[0]
    second.kill()


def test_a_file_that_holds_no_key_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("-----BEGIN PRIVATE KEY-----\n")
    plane = ControlPlane(tmp_path)
    process = Process(plane.argv(), {"HOME": str(tmp_path)}, tmp_path)
    assert process.wait(60) == 78
    assert len(process.lines) == 1 and "does not hold an API key" in process.lines[0]
    assert (tmp_path / "key").read_text().startswith("-----BEGIN")
    process.kill()
    plane.http.close()


def test_a_full_disk_is_said_and_what_was_acknowledged_is_kept(tmp_path: Path) -> None:
    """The disk is a small tmpfs; when it has room again, the same server goes on."""
    with small_disk(tmp_path / "disk", "3m") as disk, ControlPlane(tmp_path, database=disk / "cp.db") as plane:
        execution, taken, failed = plane.execute(), 0, None
        while failed is None and taken < 400:
            event = {"event_id": f"e{taken}", "event_type": "message", "data": {"content": "x" * 20_000}}
            answer = plane.ask("POST", f"/executions/{execution}/events", event)
            taken, failed = (taken + 1, None) if answer.status_code == 202 else (taken, answer)
        assert failed is not None and failed.status_code == 503, failed
        assert "Check the disk" in failed.json()["detail"]
        assert plane.ask("GET", "//health").status_code == 200
        subprocess.run(["mount", "-o", "remount,size=30m", str(disk)], check=True)
        last = {"event_id": "last", "event_type": "message", "data": {}}
        plane.call("POST", f"/executions/{execution}/events", last, 202)
        log = plane.call("GET", f"/executions/{execution}/events?limit=1000")
        assert [event["sequence"] for event in log] == list(range(1, taken + 2))
