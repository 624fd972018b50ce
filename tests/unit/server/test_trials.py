"""Tests of an agent's model and MCP servers: who may ask, which worker makes them, and which secrets it gets."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any
from urllib.parse import quote

import pytest

from kubiya_worker.server import trial_tokens
from kubiya_worker.server.sealing import KeyInMemory, Seal
from kubiya_worker.server.temporal import NotDone, TemporalDown
from tests.support.api import Api, Object

Asked = list[tuple[str, Object]]


def queue_with_worker(api: Api, **told: Any) -> tuple[str, str]:
    name = f"q-{uuid.uuid4().hex[:6]}"
    api.call("POST", "/environments/default/worker-queues", {"name": name})
    worker: str = api.call("POST", f"/worker-queues/{name}/start", {})["worker_id"]
    metadata = {"polling": True, "trials": True, **told}
    api.call("POST", f"/workers/{worker}/heartbeat", {"worker_metadata": metadata})
    return name, worker


@pytest.fixture
def asked(api: Api, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Return what Temporal is asked, which answers that all works; tests/integration has real workers."""
    found: Asked = []

    async def trial(workflow_id: str, queue_id: str, argument: Object) -> Object:
        found.append((queue_id, argument))
        return {"ok": True, "error": None}

    monkeypatch.setattr(api.plane.temporal, "trial", trial)
    return found


def test_a_test_runs_on_the_queue_that_is_asked_for_and_is_recorded(api: Api, asked: Asked) -> None:
    name, _ = queue_with_worker(api)
    answer = api.call("POST", "/agents/ops/test", {"mcp_server": "tickets", "queue": name})
    assert answer == {"queue": name, "host": None, "ok": True, "error": None}
    (queue_id, argument) = asked[0]
    assert queue_id == api.call("GET", f"/worker-queues/{name}")["id"]
    assert argument["server"] == "tickets"
    record = api.call("GET", "/audit?limit=1")[0]
    assert (record["action"], record["detail"]) == ("agent.test", "MCP server tickets")
    api.call("POST", "/agents/ops/test", {})
    assert asked[1][1]["server"] == ""


def test_a_stored_model_is_tested_where_workers_get_it(api: Api, asked: Asked) -> None:
    older, _ = queue_with_worker(api)
    here, _ = queue_with_worker(api, trials=["agent", "model"])
    other, _ = queue_with_worker(api, trials=["agent", "model"])
    made = f"m-{uuid.uuid4().hex[:6]}"
    api.call("POST", "/stored-models", {"name": made, "model": "x", "queues": [older, here]})
    path = f"/stored-models/{made}/test"
    assert api.call("POST", path, {})["queue"] == here
    assert api.call("POST", path, {"queue": here})["ok"]
    ((_, argument), _) = asked
    assert (argument["model"], argument["agent_id"]) == (made, "")
    record = api.call("GET", "/audit?limit=1")[0]
    assert (record["action"], record["object"]["name"]) == ("model.test", made)
    assert "none of the queue" in api.call("POST", path, {"queue": older}, 409)["detail"]
    assert "do not get the model" in api.call("POST", path, {"queue": other}, 422)["detail"][0]["msg"]


def test_without_a_worker_that_can_nothing_is_asked(api: Api, asked: Asked) -> None:
    older, _ = queue_with_worker(api, trials=None)
    drained, _ = queue_with_worker(api, polling=False)
    for name in (older, drained):
        assert "none of the queue" in api.call("POST", "/agents/ops/test", {"queue": name}, 409)["detail"]
    api.call("POST", "/agents/nobody/test", {}, 404)
    assert asked == []


def test_viewers_approvers_and_workers_may_not(api: Api, asked: Asked) -> None:
    name, _ = queue_with_worker(api)
    for role in ("viewer", "approver", "worker"):
        api.call("POST", "/agents/ops/test", {"queue": name}, 403, headers=api.key(role)["headers"])
    limited = api.key("operator", queues=["default"])["headers"]
    api.call("POST", "/agents/ops/test", {"queue": name}, 404, headers=limited)
    api.call("POST", "/stop", {"reason": "a test"})
    try:
        api.call("POST", "/agents/ops/test", {"queue": name}, 423)
    finally:
        api.call("DELETE", "/stop")
    assert asked == []
    api.call("POST", "/agents/ops/test", {"queue": name}, 200, headers=api.key("operator")["headers"])


@pytest.mark.parametrize("error", [NotDone("it took too long"), TemporalDown("Temporal is away")])
def test_a_test_that_nobody_made_says_why(api: Api, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _ = queue_with_worker(api)

    async def trial(*_: Any) -> Object:
        raise error

    monkeypatch.setattr(api.plane.temporal, "trial", trial)
    told = api.call("POST", "/agents/ops/test", {"queue": name}, 503)["detail"]
    assert told == f"The test was not made: {error}"


def test_a_worker_gets_the_secrets_of_the_agent_that_it_tests_and_no_others(api: Api, asked: Asked) -> None:
    name, worker = queue_with_worker(api)
    own, foreign = (f"S_{uuid.uuid4().hex[:8].upper()}" for _ in range(2))
    for secret in (own, foreign):
        api.call("PUT", f"/secrets/{secret}", {"value": f"value of {secret}"})
    servers = {"t": {"url": "https://t.test", "headers": {"Authorization": f"Bearer {{{{.secret.{own}}}}}"}}}
    made = api.call("POST", "/agents", {"name": f"a-{uuid.uuid4().hex[:6]}", "configuration": {"mcp_servers": servers}})
    api.call("POST", f"/agents/{made['id']}/test", {"mcp_server": "t", "queue": name})
    token = asked[0][1]["trial_id"]
    about = {"worker_id": worker, "execution_id": token, "kind": "agent", "entity_id": made["id"]}
    headers = api.key("worker")["headers"]
    told = api.call("POST", "/secrets/resolve", {**about, "names": [own, foreign]}, headers=headers)
    assert told["values"] == {own: f"value of {own}"} and set(told["missing"]) == {foreign}
    # The token is for this agent only; one that is made up, and one of another organization, are no tokens.
    other = api.call(
        "POST", "/agents", {"name": f"b-{uuid.uuid4().hex[:6]}", "configuration": {"mcp_servers": servers}}
    )
    told = api.call("POST", "/secrets/resolve", {**about, "entity_id": other["id"], "names": [own]}, headers=headers)
    assert told["values"] == {}
    for wrong in (
        token[:-4] + "AAA=",
        "trial:",
        "trial:x",
        trial_tokens.make(api.plane.seal, "other", "agent", made["id"]),
    ):
        api.call("POST", "/secrets/resolve", {**about, "execution_id": wrong, "names": [own]}, 404, headers=headers)
    person = api.key("operator")["headers"]
    api.call("POST", "/secrets/resolve", {**about, "names": [own]}, 403, headers=person)


def test_a_worker_gets_settings_and_secrets_of_a_server_and_an_environment_for_their_test_alone(
    api: Api, asked: Asked
) -> None:
    name, worker = queue_with_worker(api, trials=["agent", "team", "environment", "mcp-server"])
    secret, other = (f"S_{uuid.uuid4().hex[:8].upper()}" for _ in range(2))
    for each in (secret, other):
        api.call("PUT", f"/secrets/{each}", {"value": f"value of {each}"})
    stored = api.call(
        "POST",
        "/mcp-servers",
        {"name": f"s-{uuid.uuid4().hex[:6]}", "command": "x", "env": {"T": f"{{{{.secret.{secret}}}}}"}},
    )
    shared = {"mcp_servers": {"own": {"ref": stored["name"]}}, "env_vars": {"REGION": "eu"}}
    environment = api.call(
        "POST", "/environments", {"name": f"e-{uuid.uuid4().hex[:6]}", "execution_environment": shared}
    )
    headers = api.key("worker")["headers"]
    wanted = {
        "env_vars": {},
        "mcp_servers": {stored["name"]: {"command": "x", "env": {"T": f"{{{{.secret.{secret}}}}}"}}},
    }
    for kind, one, body, found in (
        ("mcp-server", stored, {}, wanted),
        ("environment", environment, {"mcp_server": "own"}, {"env_vars": {"REGION": "eu"}}),
    ):
        api.call("POST", f"/{kind}s/{one['name']}/test", {**body, "queue": name})
        argument = asked.pop()[1]
        assert (argument["kind"], argument["agent_id"]) == (kind, one["id"])
        path = f"/execution-environment/{kind}s/{one['id']}/resolved/full?execution_id="
        told = api.call("GET", path + quote(argument["trial_id"], safe=""), headers=headers)
        assert found.items() <= told.items() and secret in json.dumps(told["mcp_servers"])
        about = {"worker_id": worker, "execution_id": argument["trial_id"], "kind": kind, "entity_id": one["id"]}
        told = api.call("POST", "/secrets/resolve", {**about, "names": [secret, other]}, headers=headers)
        assert told["values"] == {secret: f"value of {secret}"} and set(told["missing"]) == {other}
        # Without this test a worker's key reads neither.
        foreign = trial_tokens.make(api.plane.seal, "default", kind, "another")
        for token in ("", "trial:x", quote(foreign, safe="")):
            api.call("GET", path + token, status=404, headers=headers)


def test_only_a_worker_of_this_version_tests_more_than_agents(api: Api, asked: Asked) -> None:
    older, _ = queue_with_worker(api)
    server = api.call("POST", "/mcp-servers", {"name": f"s-{uuid.uuid4().hex[:6]}", "url": "https://t.test"})
    told = api.call("POST", f"/mcp-servers/{server['name']}/test", {"queue": older}, 409)["detail"]
    assert "or upgrade it" in told and asked == []
    newer, _ = queue_with_worker(api, trials=["agent", "team", "environment", "mcp-server"], hostname="build-7")
    api.call("POST", "/teams/triage/test", {"mcp_server": "t", "queue": newer})
    api.call("POST", "/teams/triage/test", {"queue": newer}, 422)
    assert {**asked.pop()[1], "trial_id": "", "agent_id": ""} == {
        "trial_id": "",
        "agent_id": "",
        "server": "t",
        "kind": "team",
    }
    api.call("POST", f"/mcp-servers/{server['name']}/test", {"queue": newer})
    assert asked.pop()[0] == api.call("GET", f"/worker-queues/{newer}")["id"]
    limited = api.key("operator", queues=[newer])["headers"]
    api.call("POST", f"/mcp-servers/{server['name']}/test", {"queue": newer}, 403, headers=limited)


def test_the_answer_says_which_worker_made_the_test(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    name, worker = queue_with_worker(api, hostname="build-7")

    async def trial(*_: Any) -> Object:
        return {"ok": True, "worker_id": worker}

    monkeypatch.setattr(api.plane.temporal, "trial", trial)
    told = api.call("POST", "/agents/ops/test", {"queue": name})
    assert told == {"queue": name, "host": "build-7", "ok": True, "worker_id": worker}


def test_a_token_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    seal = Seal(KeyInMemory())
    token = trial_tokens.make(seal, "org", "agent", "a1")
    assert trial_tokens.subject_of(seal, "org", token) == ("agent", "a1")
    assert trial_tokens.subject_of(seal, "other", token) is None
    assert trial_tokens.subject_of(Seal(KeyInMemory()), "org", token) is None
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + trial_tokens.VALID + 1)
    assert trial_tokens.subject_of(seal, "org", token) is None
