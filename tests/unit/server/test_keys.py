"""C: keys belong to persons, are shown once, are limited, end, and may do what their role may."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from kubiya_worker.server import auth
from kubiya_worker.server.access import ANY, NEEDS, OPEN, READ, RUN, need_of
from kubiya_worker.server.app import create_app
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.person import ADMIN, APPROVER, OPERATOR, ROLES, VIEWER, WORKER
from tests.support.api import Api
from tests.support.databases import sqlite_only

Object = dict[str, Any]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with Api(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(tmp_path_factory.mktemp("roles")) as made:
        yield made


# -- keys


def test_a_key_is_its_persons_and_shown_once(api: Api) -> None:
    made = api.key("approver", "Ann", email="Ann@Example.org", groups=["sre"])
    assert re.fullmatch(r"kby_[\w-]{43}", made["key"])
    told = api.call("GET", "/auth/validate", headers=made["headers"])
    assert (told["user_name"], told["user_email"], told["role"]) == ("Ann", "Ann@Example.org", "approver")
    assert (told["user_id"], told["groups"]) == ("ann@example.org", ["sre"])
    assert told["key"]["id"] == made["id"] and told["key"]["scopes"] == ["*"]
    listed = api.call("GET", "/keys")
    (row,) = [key for key in listed if key["id"] == made["id"]]
    assert (row["name"], row["email"], row["role"], row["groups"]) == ("Ann", "Ann@Example.org", "approver", ["sre"])
    assert row["created_by"]["name"] == "local user" and row["status"] == "active"
    assert made["key"] not in str(listed) and "key" not in row


def test_a_revoked_key_is_refused_at_the_next_request_also_in_a_batch(api: Api) -> None:
    made = api.key("operator")
    api.call("GET", "/agents", headers=made["headers"])
    told = api.call("DELETE", f"/keys/{made['id']}")
    assert told["status"] == "revoked" and told["revoked_at"]
    api.call("GET", "/agents", status=401, headers=made["headers"])
    api.call("POST", "/batch", {"requests": []}, 401, headers=made["headers"])
    assert [key["status"] for key in api.call("GET", "/keys") if key["id"] == made["id"]] == ["revoked"]
    api.call("DELETE", "/keys/000000000000", status=404)


def test_a_valid_key_is_looked_up_once_until_a_key_changes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made, asked = api.key("operator"), list[str]()
    execute = api.plane.database.execute

    def counted(statement: Any, values: Any = None) -> Any:
        asked.extend([values["hash"]] if statement is auth._FIND else [])
        return execute(statement, values)

    monkeypatch.setattr(api.plane.database, "execute", counted)
    for _ in range(5):
        api.call("GET", "/agents", headers=made["headers"])
    assert len(asked) == 1
    other = api.key("viewer")
    api.call("PATCH", f"/keys/{other['id']}", {"name": "Bob"})
    asked.clear()
    for _ in range(5):
        api.call("GET", "/agents", headers=made["headers"])
    assert asked == [auth.hashed(made["key"])]
    for _ in range(5):
        api.call("GET", "/agents", status=401, headers={"Authorization": "Bearer nobodys"})
    assert asked.count(auth.hashed("nobodys")) >= 5, "one that is not valid is looked up each time"


def test_limits_of_a_key_hold_for_its_next_request(api: Api) -> None:
    made = api.key("operator")
    api.call("GET", "/stop", headers=made["headers"])
    api.call("GET", "/hooks", headers=made["headers"])
    api.call("PATCH", f"/keys/{made['id']}", {"queues": ["default"]})
    api.call("GET", "/hooks", status=403, headers=made["headers"])


def test_a_change_that_failed_leaves_nothing_in_memory(api: Api) -> None:
    made, keys = api.key("operator"), api.plane.stores.keys
    with pytest.raises(ZeroDivisionError), api.plane.database.transaction():
        keys.change("local", made["id"], {"name": "Somebody else"})
        caller = keys.caller(made["key"])
        assert caller is not None and caller.person.name == "Somebody else"
        raise ZeroDivisionError
    caller = keys.caller(made["key"])
    assert caller is not None and caller.person.name == made["name"]


def test_a_key_that_another_server_revokes_ends_within_two_seconds_without_a_word_of_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, other = api.key("operator"), auth.Keys(api.plane.database)
    there, later = time.monotonic, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: there() + later)
    api.call("GET", "/agents", headers=made["headers"])
    other.revoke("local", made["id"])
    later = auth.FRESH + 0.001
    assert later < 5
    api.call("GET", "/agents", status=401, headers=made["headers"])


def test_a_key_ends_at_its_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = api.key("viewer", expires_in_days=0.5)
    assert made["expires_at"] and made["status"] == "active"
    api.call("GET", "/agents", headers=made["headers"])
    there = time.time
    monkeypatch.setattr(time, "time", lambda: there() + 43_201)
    api.call("GET", "/agents", status=401, headers=made["headers"])
    assert [key["status"] for key in api.call("GET", "/keys") if key["id"] == made["id"]] == ["expired"]


@sqlite_only("it counts the rows that were written")
def test_the_last_use_is_kept_and_costs_no_write_per_request(api: Api) -> None:
    made = api.key("viewer")
    changes = api.plane.database.connection.exec_driver_sql("select total_changes()").scalar()
    for _ in range(5):
        api.call("GET", "/agents", headers=made["headers"])
    assert api.plane.database.connection.exec_driver_sql("select total_changes()").scalar() == changes
    (row,) = [key for key in api.call("GET", "/keys") if key["id"] == made["id"]]
    assert row["last_used_at"]
    api.plane.stores.keys.store_uses()
    again = auth.Keys(api.plane.database).find("local", made["id"])
    assert again is not None and again["last_used_at"] == row["last_used_at"]


def test_the_last_key_of_an_admin_cannot_be_revoked(api: Api) -> None:
    mine = api.call("GET", "/auth/validate")["key"]["id"]
    limited = api.key("admin", queues=["default"])
    assert "last key of an admin" in api.call("DELETE", f"/keys/{mine}", status=409)["detail"]
    other = api.key("admin")
    api.call("DELETE", f"/keys/{mine}", headers=other["headers"])
    api.call("GET", "/agents", status=401)
    api.call("DELETE", f"/keys/{limited['id']}", headers=other["headers"])


def test_a_key_that_is_changed_stays_the_same_key(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = api.key("operator", "Ann", email="ann@example.org", groups=["sre"], queues=["default"])
    place, agent = f"/keys/{made['id']}", api.agent()
    body = {"name": "Ann B", "groups": ["dba"], "agents": [agent["name"]], "expires_in_days": 1}
    told = api.call("PATCH", place, body)
    assert (told["id"], told["name"], told["groups"], told["email"]) == (
        made["id"],
        "Ann B",
        ["dba"],
        "ann@example.org",
    )
    assert told["scopes"]["agents"] == [agent["id"]] and told["scopes"]["queues"] == made["scopes"]["queues"]
    api.call("GET", "/agents/ops", status=404, headers=made["headers"])  # the next request has the new limits
    told = api.call("PATCH", place, {"agents": None, "queues": None})
    assert told["scopes"] == {"queues": None, "agents": None} and told["expires_at"] and told["groups"] == ["dba"]
    api.call("GET", "/agents/ops", headers=made["headers"])
    later = time.time() + 2 * 86_400
    monkeypatch.setattr("kubiya_worker.server.auth.time.time", lambda: later)
    api.call("GET", "/agents/ops", status=401, headers=made["headers"])
    assert api.call("PATCH", place, {"expires_in_days": None})["status"] == "active"
    api.call("GET", "/agents/ops", headers=made["headers"])


def test_a_change_of_a_key_needs_what_making_one_needs(api: Api) -> None:
    made, admin = api.key("viewer"), api.key("admin", queues=["default"])
    for other in (made, admin):
        api.call("PATCH", f"/keys/{made['id']}", {"name": "x"}, 403, headers=other["headers"])
    for field in ("role", "email"):
        assert "another key" in str(api.call("PATCH", f"/keys/{made['id']}", {field: "admin"}, 422)["detail"])
    api.call("PATCH", f"/keys/{made['id']}", {"queues": ["nowhere"]}, 404)
    api.call("DELETE", f"/keys/{made['id']}")
    assert "was revoked" in api.call("PATCH", f"/keys/{made['id']}", {"name": "x"}, 409)["detail"]
    mine = api.call("GET", "/auth/validate")["key"]["id"]
    assert "local user" in api.call("PATCH", f"/keys/{mine}", {"name": "x"}, 409)["detail"]
    root = api.key("admin")
    api.call("DELETE", f"/keys/{mine}", headers=root["headers"])
    for body in ({"queues": ["default"]}, {"expires_in_days": 1}):
        told = api.call("PATCH", f"/keys/{root['id']}", body, 409, headers=root["headers"])
        assert "last key of an admin" in told["detail"]
    assert api.call("PATCH", f"/keys/{root['id']}", {"name": "Root"}, headers=root["headers"])["name"] == "Root"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"role": "owner"}, "role"),
        ({"email": "ann"}, "email"),
        ({"groups": ["admin"]}, "groups"),
        ({"groups": ["a,b"]}, "groups"),
        ({"queues": []}, "queues"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"scope": ["q"]}, "scope"),
    ],
)
def test_a_key_that_could_not_be_honoured_is_refused(api: Api, fields: Object, field: str) -> None:
    told = api.call("POST", "/keys", {"name": "Ann", "role": "viewer", **fields}, 422)["detail"]
    assert [problem["loc"][:2] for problem in told] == [["body", field]]


def test_a_key_for_something_that_is_not_there_is_refused(api: Api) -> None:
    api.call("POST", "/keys", {"name": "Ann", "role": "viewer", "queues": ["nowhere"]}, 404)
    api.call("POST", "/keys", {"name": "Ann", "role": "viewer", "agents": ["nobody"]}, 404)


# -- limits


def test_a_limited_key_reaches_only_its_queues_and_agents(api: Api) -> None:
    (environment,) = api.call("GET", "/environments")
    queue = api.call("POST", f"/environments/{environment['id']}/worker-queues", {"name": "far"}, 201)["id"]
    near = api.execute("ops", worker_queue_id="default")
    far = api.execute("ops", worker_queue_id="far")
    other = api.execute(api.agent()["id"])
    of = {
        key: api.call("POST", "/approvals", {"execution_id": key, "tool_name": "t"}, 201)["id"] for key in (near, far)
    }
    job = {"name": "j", "trigger_type": "manual", "entity_type": "agent", "entity_id": "ops", "prompt_template": "p"}
    bound = api.call("POST", "/jobs", {**job, "executor_type": "specific_queue", "worker_queue_name": "far"}, 201)
    worker = api.call("POST", "/worker-queues/far/start", {})["worker_id"]

    mine = api.key("operator", queues=["default"], agents=["ops"])["headers"]
    assert [row["id"] for row in api.call("GET", "/executions", headers=mine)] == [near]
    assert [row["name"] for row in api.call("GET", "/worker-queues", headers=mine)] == ["default"]
    assert [row["name"] for row in api.call("GET", "/agents", headers=mine)] == ["ops"]
    assert api.call("GET", "/teams", headers=mine) == api.call("GET", "/workers", headers=mine) == []
    assert [row["id"] for row in api.call("GET", "/approvals", headers=mine)] == [of[near]]
    assert [row["id"] for row in api.call("GET", "/approvals/pending", headers=mine)] == [of[near]]
    assert api.call("GET", "/jobs", headers=mine) == []
    for key in (far, other):
        api.call("GET", f"/executions/{key}", status=404, headers=mine)
        api.call("GET", f"/executions/{key}/stream", status=404, headers=mine)
        api.call("GET", f"/executions/{key}/events", status=404, headers=mine)
        api.call("POST", f"/executions/{key}/message", {"message": "m"}, 404, headers=mine)
        told = api.call("POST", "/executions/batch/terminate", {"execution_ids": [key], "reason": "r"}, headers=mine)
        assert told["terminated"] == 0
    api.call("GET", f"/executions/{near}", headers=mine)
    api.call("POST", "/agents/ops/execute", {"prompt": "p", "worker_queue_id": queue}, 404, headers=mine)
    api.call("POST", "/teams/triage/execute", {"prompt": "p"}, 404, headers=mine)
    api.call("GET", f"/jobs/{bound['id']}", status=404, headers=mine)
    api.call("POST", f"/approvals/{of[far]}/approve", {}, 404, headers=mine)
    api.call("POST", "/jobs", {**job, "name": "k", "entity_id": "triage", "entity_type": "team"}, 404, headers=mine)
    assert api.call("GET", "/auth/validate", headers=mine)["key"]["scopes"] != ["*"]

    work = api.key("worker", queues=["default"])["headers"]
    api.call("POST", "/worker-queues/far/start", {}, 404, headers=work)
    api.call("POST", f"/workers/{worker}/heartbeat", {"status": "gone"}, headers=work)
    assert api.call("GET", "/worker-queues/far/workers")[0]["status"] == "active"
    api.call("POST", f"/workers/{worker}/disconnect", {}, 404, headers=work)
    event = {"event_type": "message", "data": {}}
    api.call("POST", f"/executions/{far}/events", event, 404, headers=work)
    api.call("POST", f"/executions/{near}/events", event, headers=work)
    write = {"method": "PATCH", "path": f"/executions/{far}", "body": {"status": "failed"}}
    api.call("POST", "/batch", {"requests": [write]}, 404, headers=work)


def test_a_limited_admin_changes_nothing_that_concerns_all(api: Api) -> None:
    mine = api.key("admin", agents=["ops"])["headers"]
    whole = [key for key, need in NEEDS.items() if need.whole]
    assert {"POST /keys", "POST /approval-rules", "POST /stop", "POST /agents"} <= set(whole)
    for key in whole:
        method, path = key.split()
        told = api.call(method, re.sub(r"\{\w+\}", "default", path), {} if method != "GET" else None, 403, headers=mine)
        assert "whole organization" in told["detail"], key
    api.call("PATCH", "/agents/ops", {"description": "mine"}, headers=mine)


def test_a_team_of_a_limited_key_gets_no_member_that_the_key_does_not_reach(api: Api) -> None:
    mine = api.key("admin", agents=["triage", "ops"])["headers"]
    team: Object = api.call("GET", "/teams/triage")
    ids = team["configuration"]["member_ids"]
    body: Object = {"configuration": {**team["configuration"], "member_ids": [*ids, "ops"]}}
    api.call("PATCH", "/teams/triage", body, headers=mine)
    other = api.agent()["id"]
    body["configuration"]["member_ids"] = [*ids, other]
    api.call("PATCH", "/teams/triage", body, 404, headers=mine)
    api.call("POST", f"/teams/triage/agents/{other}", {}, 404, headers=mine)


# -- roles


def routes(api: Api) -> list[Route]:
    return [route for route in create_app(api.plane).routes if isinstance(route, Route)]


def test_every_route_says_which_role_it_needs(shared: Api) -> None:
    edges = [route for route in routes(shared) if isinstance(route, Edge)]
    assert len(edges) > 90 and all(edge.need.roles and edge.need.roles <= set(ROLES) for edge in edges)
    assert {route.path for route in routes(shared) if not isinstance(route, Edge)} == OPEN
    assert {f"{edge.method} {edge.path.removeprefix('/api/v1')}" for edge in edges} == set(NEEDS)
    with pytest.raises(LookupError, match="no line in the table"):
        need_of("POST", "/api/v1/new-thing")


@pytest.mark.parametrize("role", ROLES)
def test_each_role_is_refused_what_it_may_not(shared: Api, role: str) -> None:
    """The answer to a refused request is 403 before anything is looked up; to another one it is anything but that."""
    headers = shared.key(role, f"all of {role}")["headers"]
    wrong = []
    for key, need in NEEDS.items():
        method, path = key.split()
        body: Object | None = None if method in ("GET", "DELETE") else {}
        told = shared.ask(method, re.sub(r"\{\w+(:\w+)?\}", "nowhere", path), body, headers=headers)
        refused = told.status_code == 403 and "this needs" in told.text
        if refused == (role in need.roles):
            wrong.append((role, key, told.status_code, told.text))
    assert not wrong


def test_no_role_but_admin_writes_definitions_and_only_a_worker_writes_results() -> None:
    writes = {key: need.roles for key, need in NEEDS.items() if not key.startswith("GET ")}
    assert not [key for key, roles in writes.items() if VIEWER in roles and key not in READS_BY_POST]
    assert all(READ.roles <= need.roles or WORKER in need.roles or ADMIN in need.roles for need in NEEDS.values())
    assert {VIEWER, OPERATOR, APPROVER, ADMIN} == READ.roles and ADMIN in RUN.roles and WORKER in ANY.roles
    managed = [key for key in writes if re.match(r"\w+ /(approval-rules|environments|keys|teams/\{team)", key)]
    assert managed and all(writes[key] <= {ADMIN} for key in managed if key not in READS_BY_POST)


READS_BY_POST = {
    *("POST /approval-rules/resolve", "POST /batch", "POST /definitions/read", "POST /definitions/write"),
    "POST /environments/{environment}/test",  # a try, which changes nothing
    *("POST /session", "DELETE /session", "DELETE /sessions"),  # one's own
}


def test_a_batch_asks_the_role_of_each_request(api: Api) -> None:
    execution = api.execute()
    write = {"method": "PATCH", "path": f"/executions/{execution}", "body": {"status": "completed"}}
    for role in (VIEWER, OPERATOR, APPROVER):
        headers = api.key(role)["headers"]
        assert "this needs" in api.call("POST", "/batch", {"requests": [write]}, 403, headers=headers)["detail"]
        told = api.call("POST", "/batch", {"groups": [[write]]}, headers=headers)
        assert told["groups"][0]["status"] == 403
    assert api.call("GET", f"/executions/{execution}")["status"] == "pending"
    api.call("POST", "/batch", {"requests": [write]}, headers=api.key(WORKER)["headers"])
    assert api.call("GET", f"/executions/{execution}")["status"] == "completed"


def test_a_workers_key_changes_no_definition(api: Api) -> None:
    headers = api.key(WORKER)["headers"]
    assert "status" in api.call("PATCH", "/agents/ops", {"system_prompt": "x"}, 403, headers=headers)["detail"]
    api.call("PATCH", "/agents/ops", {"status": "running"}, headers=headers)
    api.call("DELETE", "/worker-queues/default", status=403, headers=headers)
