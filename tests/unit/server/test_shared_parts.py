"""Skills and MCP servers that definitions name: stored once, resolved for workers, kept while somebody names them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from kubiya_worker.server.shared_parts import SERVER, SKILL, named_in, whole, without
from tests.support.api import Api, Object

SKILL_FIELDS: Object = {
    **{"type": "shell", "description": "Looks at disks", "icon": "disk", "enabled": True},
    "configuration": {"allowed_commands": ["df"]},
}
PROGRAM: Object = {
    **{"command": "tickets-mcp", "args": ["--port", 1], "env": {"TOKEN": "{{.secret.TICKETS}}"}, "cwd": "/srv"},
    **{"envFile": "/etc/tickets.env", "type": "stdio", "enabled": True, "timeout": 20, "call_timeout": 60},
    **{"max_call_timeout": 120, "required": True, "shared": True, "tools": ["get_*"], "excludeTools": ["get_all"]},
    **{"confinement": "on", "read_paths": ["/srv"], "write_paths": ["/srv/out"], "grants": ["git"], "network": False},
    "description": "Tickets",
}
REMOTE: Object = {
    **{"url": "https://tickets.example.com/mcp", "headers": {"X-Team": "{{.secret.TEAM}}"}},
    "oauth": {
        **{"token_url": "https://login.example.com", "client_id": "a", "client_secret": "{{.secret.OAUTH}}"},
        **{"scope": "read", "audience": "tickets"},
    },
}


BOTH: Object = {"ref": "c", "url": "d"}


def name(start: str) -> str:
    return f"{start}-{uuid.uuid4().hex[:8]}"


def made(api: Api, path: str, fields: Object) -> str:
    return str(api.call("POST", path, {"name": name("part"), **fields})["name"])


def applied(api: Api, *documents: Object, status: int | None = None) -> Any:
    return api.call("POST", "/definitions/apply", {"documents": list(documents)}, status)


def test_a_skill_that_agents_name_reaches_the_worker_as_if_they_had_it(api: Api) -> None:
    skill = made(api, "/skills", SKILL_FIELDS)
    agent = api.agent(skills=[skill, {"type": "sleep"}])
    (resolved, own) = api.call("GET", f"/skills/associations/agents/{agent['id']}/skills/resolved")
    stored = api.call("GET", f"/skills/{skill}")
    assert {key: resolved[key] for key in SKILL_FIELDS} == SKILL_FIELDS
    assert (resolved["name"], resolved["id"], own["type"]) == (skill, stored["id"], "sleep")
    assert stored["used_by"] == [{"kind": "agent", "id": agent["id"], "name": agent["name"]}]
    context = api.call("GET", f"/executions/{api.execute(agent['id'])}/context")
    assert (
        context["skills"][0]["configuration"]
        == context["agent"]["skills"][0]["configuration"]
        == {"allowed_commands": ["df"]}
    )


def test_a_change_of_a_skill_holds_for_runs_that_are_going_on(api: Api) -> None:
    """A worker asks /authority at its next call, and knows the skill by its id."""
    skill = made(api, "/skills", SKILL_FIELDS)
    agent = api.agent(skills=[{"ref": skill}])["id"]
    path = f"/authority?kind=agent&entity={agent}"
    (before,) = api.call("GET", path)["skills"]
    api.call("PATCH", f"/skills/{skill}", {"configuration": {"allowed_commands": ["du"]}})
    (after,) = api.call("GET", path)["skills"]
    assert (after["id"], after["configuration"]) == (before["id"], {"allowed_commands": ["du"]})
    api.call("PATCH", f"/skills/{skill}", {"enabled": False})
    assert api.call("GET", path)["skills"] == []


@pytest.mark.parametrize("fields", [PROGRAM, REMOTE])
def test_a_server_that_is_named_is_handed_out_as_it_was_written(api: Api, fields: Object) -> None:
    server = made(api, "/mcp-servers", fields)
    assert {key: api.call("GET", f"/mcp-servers/{server}")[key] for key in fields} == fields
    environment = api.call(
        "POST", "/environments", {"name": name("e"), "execution_environment": {"mcp_servers": [server]}}
    )
    agent = api.agent(configuration={"mcp_servers": {"mine": {"ref": server}}}, environment_ids=[environment["id"]])
    found = api.call("GET", f"/execution-environment/agents/{agent['id']}/resolved/full")
    assert found["mcp_servers"] == {server: fields} and found["configuration"]["mcp_servers"] == {"mine": fields}
    assert api.call("GET", f"/agents/{agent['id']}")["configuration"]["mcp_servers"] == {"mine": fields}
    users = {(each["kind"], each["name"]) for each in api.call("GET", f"/mcp-servers/{server}")["used_by"]}
    assert users == {("agent", agent["name"]), ("environment", environment["name"])}


def test_a_worker_gets_the_secrets_of_what_its_agent_names(api: Api) -> None:
    server = made(api, "/mcp-servers", PROGRAM)
    skill = made(api, "/skills", {"type": "http", "configuration": {"headers": {"X-Key": "{{.secret.WEB}}"}}})
    for secret in ("TICKETS", "WEB", "OTHER"):
        api.call("PUT", f"/secrets/{secret}", {"value": f"value of {secret}"})
    agent = api.agent(configuration={"mcp_servers": [server]}, skills=[skill])["id"]
    worker = api.call("POST", "/worker-queues/default/start", {})["worker_id"]
    asked = {"worker_id": worker, "execution_id": api.execute(agent), "kind": "agent", "entity_id": agent}
    found = api.call("POST", "/secrets/resolve", {**asked, "names": ["TICKETS", "WEB", "OTHER"]})
    assert found["values"] == {"TICKETS": "value of TICKETS", "WEB": "value of WEB"} and "OTHER" in found["missing"]
    users = {each["name"]: {user["kind"] for user in each["used_by"]} for each in api.call("GET", "/secrets")}
    assert SERVER in users["TICKETS"] and SKILL in users["WEB"]


def test_a_credential_in_the_open_is_refused_with_its_place(api: Api) -> None:
    key = "ghp_" + "a1B2" * 9
    body = {"name": name("s"), "command": "x", "env": {"GITHUB_TOKEN": key}}
    assert [each["loc"] for each in api.call("POST", "/mcp-servers", body, 422)["detail"]] == [
        ["body", "env", "GITHUB_TOKEN"]
    ]
    body = {"name": name("s"), "type": "http", "configuration": {"token": key}}
    assert [each["loc"] for each in api.call("POST", "/skills", body, 422)["detail"]] == [
        ["body", "configuration", "token"]
    ]


def test_what_others_name_is_deleted_only_by_force_which_takes_it_out(api: Api) -> None:
    skill, server = made(api, "/skills", SKILL_FIELDS), made(api, "/mcp-servers", REMOTE)
    agent = api.agent(skills=[skill, {"type": "sleep"}], configuration={"mcp_servers": [server], "cwd": "/srv"})
    for path in (f"/skills/{skill}", f"/mcp-servers/{server}"):
        detail = api.call("DELETE", path, status=409)["detail"]
        assert f"is needed by agent {agent['name']}" in detail["message"]
        assert detail["needed_by"] == [{"kind": "agent", "id": agent["id"], "name": agent["name"]}]
        ended = api.call("DELETE", f"{path}?force=true")["ended"]
        assert [(each["name"], each["now"]) for each in ended] == [(agent["name"], "changed")]
    found = api.call("GET", f"/agents/{agent['id']}")
    assert [each["type"] for each in found["skills"]] == ["sleep"]
    assert found["configuration"] == {"mcp_servers": {}, "cwd": "/srv"}


def test_a_reference_to_nothing_is_refused_before_anything_changes(api: Api) -> None:
    wrong = {"skills": ["no-skill"], "configuration": {"mcp_servers": ["no-server"]}}
    detail = api.call("POST", "/agents", {"name": name("a"), **wrong}, 422)["detail"]
    assert [each["loc"] for each in detail] == [
        ["body", "skills", 0, "ref"],
        ["body", "configuration", "mcp_servers", "no-server"],
    ]
    agent = {"kind": "Agent", "name": name("a"), "spec": wrong}
    skill = {"kind": "Skill", "name": name("s"), "spec": {"type": "sleep"}}
    problems = applied(api, agent, skill, status=422)["detail"]
    assert [each["loc"][2:] for each in problems] == [
        [0, "spec", "skills", 0, "ref"],
        [0, "spec", "configuration", "mcp_servers", "no-server"],
    ]
    api.call("GET", f"/definitions/skill/{skill['name']}", status=404)


def test_documents_may_name_what_stands_after_them_and_come_back_as_names(api: Api) -> None:
    skill, server, agent = name("skill"), name("server"), name("agent")
    documents = [
        {
            **{"kind": "Agent", "name": agent},
            "spec": {"skills": [skill], "configuration": {"mcp_servers": [server]}},
        },
        {"kind": "MCPServer", "name": server, "spec": REMOTE},
        {"kind": "Skill", "name": skill, "spec": SKILL_FIELDS},
    ]
    assert {each["action"] for each in applied(api, *documents)["changes"]} == {"created"}
    assert {each["action"] for each in applied(api, *documents)["changes"]} == {"unchanged"}
    assert api.call("GET", f"/definitions/agent/{agent}")["spec"] == {
        "skills": [{"ref": skill}],
        "configuration": {"mcp_servers": {server: {"ref": server}}},
    }
    detail = api.call("DELETE", f"/definitions/mcp-server/{server}", status=409)["detail"]
    assert agent in detail["message"]


def test_a_skill_goes_back_to_a_version(api: Api) -> None:
    skill = {"kind": "Skill", "name": name("s"), "spec": {"type": "shell"}}
    applied(api, skill)
    applied(api, {**skill, "spec": {"type": "shell", "configuration": {"allowed_commands": ["df"]}}})
    place = f"/definitions/skill/{skill['name']}"
    assert [each["version"] for each in api.call("GET", f"{place}/history")["versions"]] == [2, 1]
    api.call("POST", f"{place}/rollback", {"version": 1})
    assert api.call("GET", place) == skill


@pytest.mark.parametrize(
    ("method", "path", "body", "text"),
    [
        ("POST", "/mcp-servers", {"name": "s"}, "a command or a url"),
        ("POST", "/mcp-servers", {"name": "s", "command": "a", "url": "http://b"}, "give one of them"),
        ("POST", "/mcp-servers", {"name": "s", "command": "a", "oauth": {"scope": "x"}}, "a server with a url"),
        ("POST", "/mcp-servers", {"name": "s", "comand": "a"}, "Did you mean command?"),
        ("POST", "/mcp-servers", {"name": "s", "url": "http://b", "disabled": True}, "Set enabled"),
        ("POST", "/agents", {"name": "a", "skills": [{"ref": "x", "type": 5}]}, "string"),
        ("POST", "/agents", {"name": "a", "configuration": {"mcp_servers": [5]}}, "has the name of each"),
        ("POST", "/agents", {"name": "a", "configuration": {"mcp_servers": {"b": BOTH}}}, "so nothing"),
        ("POST", "/jobs", {"name": "j", "trigger_type": "manual", "config": {"mcp_servers": ["x"]}}, "named by ref"),
    ],
)
def test_what_cannot_be_honoured_is_refused(api: Api, method: str, path: str, body: Object, text: str) -> None:
    assert text in str(api.call(method, path, body, 422)["detail"])


def test_what_a_reference_was_shown_with_can_be_sent_back_and_nothing_else(api: Api) -> None:
    skill = made(api, "/skills", SKILL_FIELDS)
    agent = api.agent(skills=[skill])
    shown = {key: value for key, value in agent["skills"][0].items() if key not in ("source", "inherited")}
    api.call("PATCH", f"/agents/{agent['id']}", {"skills": [{**shown, "enabled": False}]})
    assert api.call("GET", f"/skills/associations/agents/{agent['id']}/skills/resolved") == []
    detail = api.call("PATCH", f"/agents/{agent['id']}", {"skills": [{**shown, "configuration": {}}]}, 422)["detail"]
    assert detail[0]["loc"] == ["body", "skills", 0, "configuration"] and "change it there" in detail[0]["msg"]
    assert "there twice" in str(api.call("PATCH", f"/agents/{agent['id']}", {"skills": [skill, skill]}, 422))


def test_a_reference_to_nothing_stays_so_that_a_worker_refuses_it_by_name() -> None:
    definition: Object = {
        "skills": [{"name": "gone", "ref": "gone", "enabled": True}],
        "configuration": {"mcpServers": {"mine": {"ref": "gone"}}},
    }
    assert named_in(definition) == {(SKILL, "gone"), (SERVER, "gone")}
    found = whole(definition, lambda kind, name: None)
    assert found["skills"][0]["type"] == "gone" and found["configuration"] == definition["configuration"]
    assert without(definition, SERVER, "gone") == {"configuration": {"mcpServers": {}}}
    assert without(definition, SKILL, "other") == {}
