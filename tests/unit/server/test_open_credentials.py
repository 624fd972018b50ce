"""Credentials in a definition are refused with their place, and those of older definitions are moved to secrets."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from kubiya_worker.leak_check import leaks
from kubiya_worker.server import moving
from kubiya_worker.server.open_credentials import found_in
from tests.support import databases

if TYPE_CHECKING:
    from tests.support.api import Api

CANARY = "can4ry/Pa+s=w%rd9"
TOKEN = "ghp_c4n4ryc4n4ryc4n4ryc4n4ry"
# What is refused: a field of an environment, the place in it, and the name of the secret that is offered.
OPEN: dict[str, tuple[dict[str, Any], list[Any], str]] = {
    "variable": ({"env_vars": {"DB_PASSWORD": CANARY}}, ["env_vars", "DB_PASSWORD"], "DB_PASSWORD"),
    "shape": ({"env_vars": {"PLAIN": f"x {TOKEN}"}}, ["env_vars", "PLAIN"], "PLAIN"),
    "dsn": ({"env_vars": {"DSN": "postgres://app:c4nary-pw9@db/x"}}, ["env_vars", "DSN"], "DSN"),
    "env": (
        {"mcp_servers": {"s": {"command": "x", "env": {"API_KEY": CANARY}}}},
        ["mcp_servers", "s", "env", "API_KEY"],
        "S_API_KEY",
    ),
    "header": (
        {"mcp_servers": {"s": {"url": "https://x.example", "headers": {"Authorization": f"Bearer {CANARY}"}}}},
        ["mcp_servers", "s", "headers", "Authorization"],
        "S_AUTHORIZATION",
    ),
    "flag": (
        {"mcp_servers": {"s": {"command": "x", "args": ["--token", CANARY]}}},
        ["mcp_servers", "s", "args", 1],
        "S_TOKEN",
    ),
    "flag=": (
        {"mcp_servers": {"s": {"command": "x", "args": [f"--token={CANARY}"]}}},
        ["mcp_servers", "s", "args", 0],
        "S_TOKEN",
    ),
    "header argument": (
        {"mcp_servers": {"s": {"command": "x", "args": ["--header", f"X-Api-Key: {CANARY}"]}}},
        ["mcp_servers", "s", "args", 1],
        "S_X_API_KEY",
    ),
    "oauth": (
        {"mcp_servers": {"s": {"url": "https://x.example", "oauth": {"client_secret": CANARY}}}},
        ["mcp_servers", "s", "oauth", "client_secret"],
        "S_CLIENT_SECRET",
    ),
    "url": (
        {"mcp_servers": {"s": {"url": "https://x.example/?api_key=c4naryc4nary"}}},
        ["mcp_servers", "s", "url"],
        "S_URL",
    ),
}
BENIGN: dict[str, Any] = {
    "env_vars": {
        **{"STAGE": "production", "NAMESPACE": "kube-system", "MAX_TOKENS": 4096, "TOKEN_FILE": "/run/secrets/token"},
        **{"IMAGE": "app@sha256:0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0", "AUTH": "none"},
        **{"DSN": "postgres://app:{{.secret.DB}}@db/x", "API_TOKEN": "{{.secret.API}}", "DB_HOST": "db:5432"},
    },
    "mcp_servers": {
        "s": {
            "command": "npx",
            "args": ["-y", "@s/server@1.2.3", "--port", "8080"],
            "env": {"API_KEY": "${API_KEY}"},
        },
        "t": {
            "url": "https://x.example/mcp",
            "headers": {"Authorization": "Bearer {{.secret.T}}", "Accept": "a/b"},
        },
    },
}


def name_of() -> str:
    return f"n-{uuid.uuid4()}"


@pytest.mark.parametrize("case", OPEN)
@pytest.mark.parametrize("path", ["/agents", "/teams", "/environments"])
def test_a_credential_in_the_open_is_refused_with_its_place_and_what_to_do(api: Api, path: str, case: str) -> None:
    environment, place, secret = OPEN[case]
    answer = api.ask("POST", path, {"name": name_of(), "execution_environment": environment})
    assert answer.status_code == 422 and not leaks(answer.content, [CANARY, TOKEN, "c4nary-pw9", "c4naryc4nary"])
    (problem,) = answer.json()["detail"]
    assert problem["loc"] == ["body", "execution_environment", *place] and problem["type"] == "credential_in_the_open"
    assert f"kubiya secrets set {secret}" in problem["msg"]


def test_changes_configurations_skills_and_jobs_are_looked_at_too(api: Api) -> None:
    servers = {"s": {"command": "x", "env": {"API_KEY": CANARY}}}
    skill = {"type": "http", "configuration": {"allowed_hosts": ["x.example"], "headers": {"X-Token": CANARY}}}
    agent = api.agent()["id"]
    inside: list[dict[str, Any]] = [{"configuration": {key: servers}} for key in ("mcp_servers", "mcpServers")]
    for fields in (*inside, {"skills": [skill]}):
        api.call("PATCH", f"/agents/{agent}", fields, 422)
        api.call("POST", "/agents", {"name": name_of(), **fields}, 422)
    job = {
        "name": name_of(),
        "trigger_type": "manual",
        "entity_type": "agent",
        "entity_id": "ops",
        "prompt_template": "x",
    }
    api.call("POST", "/jobs", {**job, "config": {"mcp_servers": servers}}, 422)
    api.call("POST", "/jobs", {**job, "execution_environment": {"env_vars": {"MY_TOKEN": CANARY}}}, 422)


def test_ordinary_values_and_references_are_taken(api: Api) -> None:
    assert found_in({"execution_environment": BENIGN}) == []
    shell = {"type": "shell", "configuration": {"pass_environment": ["PGPASSFILE", "PGSERVICE"]}}
    assert found_in({"skills": [shell]}) == []
    api.agent(execution_environment=BENIGN)


def test_credentials_of_older_definitions_are_moved(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    environment = {"env_vars": {"DB_PASSWORD": CANARY, "DSN": "postgres://app:c4nary-pw9@db/x", "STAGE": "production"}}
    agent, plane = api.agent(), api.plane
    with plane.database.transaction():  # as a version before secrets has stored it
        data = {**api.stored("agents", agent["id"]), "execution_environment": environment}
        changed = {"data": json.dumps(data), "key": agent["id"]}
        plane.database.execute(text("update agents set data = :data where id = :key"), changed)
    assert moving.move_credentials(plane) == 2 and moving.move_credentials(plane) == 0
    shown = api.call("GET", f"/agents/{agent['id']}")["execution_environment"]["env_vars"]
    assert shown == {
        **{"DB_PASSWORD": "{{.secret.DB_PASSWORD}}", "DSN": "postgres://app:{{.secret.DSN}}@db/x"},
        "STAGE": "production",
    }
    assert plane.stores.secrets.value("local", "DB_PASSWORD") == (CANARY, None)
    assert "secrets.moved" in caplog.text and agent["name"] in caplog.text
    assert not leaks(databases.written(plane.database) + caplog.text.encode(), [CANARY, "c4nary-pw9"])


def test_credentials_of_a_definitions_older_versions_are_moved(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """Versions are kept when their definition has changed since, and also when it is gone."""
    plane, name = api.plane, name_of()
    servers = {"s": {"command": "x", "args": ["--token", CANARY], "env": {"STAGE": "production"}}}
    spec = {"execution_environment": {"env_vars": {"DSN": "postgres://app:c4nary-pw9@db/x"}, "mcp_servers": servers}}
    for given in (spec, {**spec, "description": "newer"}, None):  # as a version before secrets has stored them
        plane.stores.versions.add("local", "Agent", name, "applied", given, {"name": "Ann"})
    assert moving.move_credentials(plane) == 4 and moving.move_credentials(plane) == 0
    gone, newer, older = plane.stores.versions.list("local", "Agent", name)
    assert gone["spec"] is None and newer["spec"] == {**older["spec"], "description": "newer"}
    assert older["by"] == {"name": "Ann"} and older["action"] == "applied"
    (token,) = older["spec"]["execution_environment"]["mcp_servers"]["s"]["args"][1:]
    assert plane.stores.secrets.value("local", token.removeprefix("{{.secret.").removesuffix("}}")) == (CANARY, None)
    assert f"agent={name} version=1" in caplog.text
    assert not leaks(databases.written(plane.database) + caplog.text.encode(), [CANARY, "c4nary-pw9"])
