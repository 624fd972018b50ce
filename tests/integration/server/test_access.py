"""X5: keys are kept as hashes, and every route wants one and shows each organization only what is its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.routing import Route

from kubiya_worker.server.app import RESOURCES
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges.base import fields_of
from tests.support import databases
from tests.support.control_plane import ControlPlane

PUBLIC = {"/health", "/api/health", "/api/health/detailed", "/api/ready", "/metrics"}
WITHOUT_KEY = {"/auth/oidc", "/auth/oidc/callback", "/api/v1/session/providers"}  # signing in
# Answers from messages, which a token proves, and Slack's signature.
PROVEN = {"/answers/{token}", "/answers/mattermost", "/answers/slack"}
# Routes whose path names nothing, and which answer another organization with what is that one's own.
OWN = {
    "/auth/validate",
    "/client/config",
    "/models",
    "/models/default",
    "/models/{model:path}",
    "/runtimes",
    "/agents",
    "/hooks",
    "/mcp-servers",
    "/skills",
    "/stored-models",
    "/teams",
    "/environments",
    "/worker-queues",
    "/workers",
    "/approvals",
    "/approvals/pending",
    "/approval-rules",
    "/authority",
    "/stop",
    "/approval-rules/resolve",
    "/executions",
    "/jobs",
    "/notifications",
    "/keys",
    "/audit",
    "/audit/head",
    "/audit/verify",
    "/audit/export",
    "/definitions",
    "/definitions/apply",
    "/definitions/read",  # a text of the caller's own, and nothing that is stored
    "/definitions/write",  # documents of the caller's own, and nothing that is stored
    "/secrets",
    "/secrets/{secret}",
}
NOBODYS = {"/definitions/schema"}  # what the software says to everyone, the same for each organization


JOB = {"name": "j", "trigger_type": "webhook", "entity_type": "agent", "prompt_template": "secret prompt"}


def routes() -> Iterator[tuple[str, str]]:
    for resource in RESOURCES:
        for route in resource.ROUTES:
            assert isinstance(route, Route)
            for method in sorted((route.methods or set()) - {"HEAD"}):
                yield method, route.path


@pytest.fixture(scope="module")
def things(plane: ControlPlane) -> dict[str, str]:
    """One of each, of the first organization: ids by the name that routes have for them."""
    made = plane.call("POST", "/agents", {"name": "a", "skills": [{"name": "s", "type": "shell"}]}, 201)
    agent, skill = made["id"], made["skills"][0]["id"]
    team = plane.call("POST", "/teams", {"name": "t", "configuration": {"member_ids": [agent]}}, 201)["id"]
    environment = plane.call("POST", "/environments", {"name": "e"}, 201)["id"]
    queue = plane.call("POST", f"/environments/{environment}/worker-queues", {"name": "qq"}, 201)["id"]
    worker = plane.call("POST", f"/worker-queues/{queue}/start", {})["worker_id"]
    execution = plane.execute("secret prompt")
    approval = plane.call("POST", "/approvals", {"execution_id": execution, "tool_name": "shell"}, 201)["id"]
    rule = plane.call("POST", "/approval-rules", {"name": "r", "scope_type": "all"}, 201)["id"]
    key = plane.call("POST", "/keys", {"name": "secret person", "role": "viewer"}, 201)["id"]
    job = plane.call("POST", "/jobs", {**JOB, "entity_id": agent}, 201)
    channel = {"type": "ntfy", "url": "https://ntfy.example.org", "topic": "secret-topic"}
    about = {"name": "n", "channel": channel, "events": ["run_failed"]}
    notification = plane.call("POST", "/notifications", about, 201)["id"]
    about_hook = {"source": "json", "agent": agent, "proof": {"secret": "{{.secret.A_SECRET}}"}}
    hook = plane.call("POST", "/hooks", {"name": "a-hook", **about_hook}, 201)["id"]
    server = plane.call("POST", "/mcp-servers", {"name": "m", "url": "https://secret.example.org"}, 201)["id"]
    plane.call("POST", f"/executions/{execution}/session", {"messages": [{"role": "user", "content": "hi"}]}, 201)
    file = {"path": job["webhook_url_path"].rpartition("/")[2], "content": "c2VjcmV0IHByb21wdA=="}
    plane.call("POST", f"/executions/{execution}/files", file, 201)
    return {
        **{
            "agent": agent,
            "team": team,
            "environment": environment,
            "queue": queue,
            "worker": worker,
            "job": job["id"],
        },
        "path": job["webhook_url_path"].rpartition("/")[2],
        **{
            "execution": execution,
            "approval": approval,
            "rule": rule,
            "notification": notification,
            "hook": hook,
            "server": server,
            "key": key,
            "entity": agent,
            "model": "demo",
            "skill": skill,
            "secret": "A_SECRET",
        },
        **{"kind": "agent", "name": agent, "token": "unknown"},
    }


def path_of(path: str, things: dict[str, str]) -> str:
    if "/teams/{entity}" in path:
        things = {**things, "entity": things["team"]}
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda m: things[m[1]], path)


def body_of(method: str, path: str, things: dict[str, str]) -> dict[str, Any]:
    """A body that the route takes, so that the answer is about whose the thing is."""
    values = {
        "name": "mine",
        "prompt": "p",
        "message": "m",
        "reason": "r",
        "status": "active" if path.endswith(("queue}", "queues", "/teams", "/teams/{entity}")) else "running",
        "tool_name": "shell",
        "scope_type": "all",
        "entity_type": "agent",
        "entity_id": things["agent"],
        "trigger_type": "manual",
        "prompt_template": "p",
        "entity": {"entity_type": "agent", "system_prompt": "p"},
        "worker_queue_id": things["queue"],
        "execution_id": things["execution"],
        "execution_ids": [things["execution"]],
        "messages": [],
        "event_type": "message",
        "events": [{"event_type": "message", "data": {}}],
        "data": {},
        "turn_number": 1,
        "model": "demo",
        "started_at": "2026-11-28T12:00:00Z",
        "documents": [{"kind": "Agent", "name": "a"}] if path.endswith("/definitions/write") else [],
        "text": "kind: Agent\nname: a\n",  # the name of an agent of the first organization
        "version": 1,
        "organization_id": "other",
        "trigger_metadata": {},
        "role": "viewer" if path.endswith("/keys") else "user",
        "value": "a-value-of-mine",
        "worker_id": "somebody",
        "kind": "agent",
        "names": ["A"],
        "mcp_server": "t",
    }
    if path.endswith("/v1/hooks"):
        values |= {"source": "json", "proof": {"secret": "{{.secret.A}}"}, "agent": "mine", "events": ["run_failed"]}
    elif "/hooks/" in path:
        del values["events"]
    if path.endswith("/files"):
        values |= {"path": "a", "content": "YQ=="}
    if path.endswith("/notifications"):
        values |= {
            "events": ["run_failed"],
            "channel": {"type": "ntfy", "url": "https://ntfy.example.org", "topic": "t"},
        }
    elif "/notifications/" in path:
        del values["events"]
    if "/mcp-servers" in path:
        values |= {"command": "mine"}
    if "/skills" in path:
        values |= {"type": "sleep"}
    edges = (route for resource in RESOURCES for route in resource.ROUTES if isinstance(route, Edge))
    body = next((edge.models.body for edge in edges if (edge.method, edge.path) == (method, path)), None)
    taken = {name for name, refused in fields_of(body).items() if refused is None} if body is not None else set()
    return {name: value for name, value in values.items() if name in taken}


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"UserKey": "wrong"}])
def test_no_route_answers_without_a_key(plane: ControlPlane, things: dict[str, str], headers: dict[str, str]) -> None:
    wrong = []
    for method, path in routes():
        answer = plane.ask(
            method,
            "/" + path_of(path, things),
            body_of(method, path, things),
            headers={"Authorization": None, **headers},
        )
        if path in PUBLIC:
            assert answer.status_code in (200, 503), (path, answer.text)
        elif path in PROVEN:
            assert answer.status_code == (401 if path == "/answers/slack" else 404), path
        elif path in WITHOUT_KEY:
            assert answer.text in ('{"detail":"Not Found"}', '{"oidc":null}')
        elif answer.status_code != 401:
            wrong.append((method, path, answer.status_code))
        else:
            assert set(answer.json()["detail"]) == {"error", "message", "hint"}
            assert answer.json()["detail"]["error"] == "Unauthorized"
    assert not wrong


def test_no_route_shows_or_changes_another_organizations_things(plane: ControlPlane, things: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {plane.key_of('other')}"}
    log = plane.call("GET", f"/executions/{things['execution']}/events")
    before = snapshot(plane, things)
    wrong = []
    for method, path in routes():
        if path in PUBLIC | WITHOUT_KEY | PROVEN:
            continue
        answer = plane.ask(method, "/" + path_of(path, things), body_of(method, path, things), headers=headers)
        bare = path.removeprefix("/api/v1")
        if bare == "/executions/batch/terminate":
            assert answer.json()["terminated"] == 0
        elif bare == "/executions/{execution}/job/{job}/status":
            assert (answer.status_code, answer.json()["status"]) == (202, "not_found")  # as published
        elif bare == "/workers/{worker}/heartbeat":
            assert answer.status_code == 204  # always, as published; the snapshot says that nothing was taken
        elif bare in ("/session", "/sessions"):
            shown = [thing for thing in things.values() if len(thing) > 9 and thing in answer.text]
            assert answer.status_code == 200 and not shown
        elif bare in ("/jobs/webhook/{path}", "/hooks/{name}"):
            assert answer.status_code == 401  # a key is not what it wants
        elif bare in NOBODYS:
            assert answer.status_code == 200 and answer.json() == plane.call(method, bare), path
            assert not [s for s in (*things.values(), "secret prompt") if len(s) > 9 and s in answer.text], path
        elif bare in OWN:
            assert answer.status_code in (200, 201, 204, 404), (method, path, answer.text)
            shown = [s for s in (*things.values(), "secret prompt") if len(s) > 9 and s in answer.text]
            if shown and answer.status_code != 404:  # a 404 says the id that was asked for
                wrong.append((method, path, answer.status_code, answer.text))
        elif answer.status_code not in (404, 409):
            wrong.append((method, path, answer.status_code, answer.text))
    assert not wrong
    assert snapshot(plane, things) == before
    assert plane.call("GET", f"/executions/{things['execution']}/events") == log


def snapshot(plane: ControlPlane, things: dict[str, str]) -> dict[str, Any]:
    places = {
        "agent": "/agents/{}",
        "team": "/teams/{}",
        "environment": "/environments/{}",
        "execution": "/executions/{}",
        "job": "/jobs/{}",
        "notification": "/notifications/{}",
        "approval": "/approvals/{}",
        "queue": "/worker-queues/{}/workers",
    }
    found = {name: plane.call("GET", place.format(things[name])) for name, place in places.items()}
    found["rules"] = plane.call("GET", "/approval-rules")
    found["session"] = plane.call("GET", f"/executions/{things['execution']}/session")
    return found


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer {}"},
        {"Authorization": "bearer {}"},
        {"Authorization": "UserKey {}"},
        {"Authorization": "Baerer {}"},
        {"Authorization": "{}"},
        {"Authorization": None, "UserKey": "{}"},
        {"Authorization": "Bearer {}", "UserKey": "wrong"},
    ],
)
def test_a_key_is_taken_in_every_form_that_clients_use(plane: ControlPlane, headers: dict[str, str | None]) -> None:
    given = {name: value and value.format(plane.key) for name, value in headers.items()}
    assert plane.call("GET", "/auth/validate", headers=given)["slug"] == "local"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer wrong", "UserKey": "{}"},  # Authorization wins
        {"Authorization": "Basic {}"},
        {"Authorization": "Bearer {} {}"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer {}x"},
    ],
)
def test_what_is_no_key_is_refused(plane: ControlPlane, headers: dict[str, str]) -> None:
    given = {name: value.replace("{}", plane.key) for name, value in headers.items()}
    plane.call("GET", "/auth/validate", status=401, headers=given)


def test_keys_are_nowhere_in_the_database(plane: ControlPlane) -> None:
    with databases.opened(plane.database) as database:
        hashes = [row[0] for row in database.execute("select hash from api_keys")]
    assert hashes and all(re.fullmatch("[0-9a-f]{64}", value) for value in hashes)
    for path in plane.folder.glob("cp.db*"):
        assert plane.key.encode() not in path.read_bytes(), path
    assert (plane.folder / "key").stat().st_mode & 0o777 == 0o600
    assert plane.process is not None and not any(plane.key in line for line in plane.process.lines)
