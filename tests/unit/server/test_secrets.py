"""Secrets of the control plane: set, listed, sealed, given to workers for executions, kept while they are used."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.leak_check import leaks
from tests.support import databases

if TYPE_CHECKING:
    from tests.support.api import Api

VALUE = "c4n/ary+V4lue=%9"


def name_of() -> str:
    return f"S_{uuid.uuid4().hex[:8].upper()}"


def worker(api: Api) -> str:
    return str(api.call("POST", "/worker-queues/default/start", {})["worker_id"])


def ask(api: Api, execution: str, names: list[str], **fields: Any) -> Any:
    entity = api.call("GET", f"/executions/{execution}")["entity_id"]
    about = {"worker_id": worker(api), "execution_id": execution, "kind": "agent", "entity_id": entity}
    return api.call("POST", "/secrets/resolve", {**about, "names": names, **fields})


def test_a_secret_is_set_and_no_reply_has_its_value(api: Api) -> None:
    name = name_of()
    answers = [api.ask("PUT", f"/secrets/{name}", {"value": VALUE}), api.ask("GET", "/secrets")]
    (shown,) = [one for one in answers[1].json() if one["name"] == name]
    assert shown["created_by"]["name"] == "local user" and shown["used_at"] is None and shown["used_by"] == []
    answers.append(api.ask("PUT", f"/secrets/{name}", {"value": VALUE * 2}))
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    answers.append(api.ask("PUT", f"/secrets/{name}", {"value": VALUE[:3]}))
    answers.append(api.ask("PUT", "/secrets/no-name", {"value": VALUE}))
    answers.append(api.ask("PUT", f"/secrets/{name}", {"value": VALUE, "source": "env:X"}))
    assert [answer.status_code for answer in answers[-3:]] == [422, 422, 422]
    assert not leaks(b"".join(answer.content for answer in answers), [VALUE])


def test_the_database_holds_no_value(api: Api) -> None:
    name = name_of()
    api.call("PUT", f"/secrets/{name}", {"value": VALUE})
    api.execute(execution_environment={"env_vars": {"MY_TOKEN": VALUE}})
    job = {"name": name, "trigger_type": "webhook", "entity_type": "agent", "entity_id": "ops"}
    made = api.call("POST", "/jobs", {**job, "prompt_template": "x", "webhook_secret": VALUE})
    stored = databases.written(api.plane.database)
    assert name.encode() in stored and not leaks(stored, [VALUE])
    hook = api.plane.stores.jobs.webhook(job_id=made["id"])
    assert hook is not None and api.plane.stores.jobs.webhook_secret(hook) == VALUE
    assert (api.folder.joinpath("secrets.key").stat().st_mode & 0o777) == 0o600


def test_a_value_cannot_be_moved_to_another_row(api: Api) -> None:
    one, other = name_of(), name_of()
    for name in (one, other):
        api.call("PUT", f"/secrets/{name}", {"value": f"{VALUE}-{name}"})
    sealed = api.plane.seal.close(VALUE, f"secret:local:{one}")
    with pytest.raises(ConfigurationError, match="changed by somebody else"):
        api.plane.seal.open(sealed, f"secret:local:{other}")


def test_a_worker_gets_what_the_definition_references_and_nothing_else(api: Api) -> None:
    used, unused, absent = name_of(), name_of(), name_of()
    for name in (used, unused):
        api.call("PUT", f"/secrets/{name}", {"value": f"{VALUE}-{name}"})
    servers = {"wiki": {"command": "wiki", "env": {"T": f"{{{{.secret.{used}}}}}", "A": f"{{{{.secret.{absent}}}}}"}}}
    execution = api.execute(api.agent(execution_environment={"mcp_servers": servers})["id"])
    told = ask(api, execution, [used, unused, absent])
    assert told["values"] == {used: f"{VALUE}-{used}"}
    assert "references" in told["missing"][unused] and "no secret" in told["missing"][absent]
    (shown,) = [one for one in api.call("GET", "/secrets") if one["name"] == used]
    assert shown["used_at"] is not None and [user["kind"] for user in shown["used_by"]] == ["agent"]
    other = api.agent(execution_environment={"env_vars": {"X": f"{{{{.secret.{unused}}}}}"}})["id"]
    assert ask(api, execution, [unused], entity_id=other)["values"] == {}  # it has no part in the execution
    team = api.call("POST", "/teams", {"name": name_of(), "configuration": {"member_ids": [other]}})["id"]
    body = {"prompt": "x", "worker_queue_id": "default"}
    of_team = api.call("POST", f"/teams/{team}/execute", body)["execution_id"]
    assert ask(api, of_team, [unused], entity_id=other)["values"]  # a member
    assert ask(api, of_team, [unused], entity_id=team, kind="team")["values"] == {}  # the team itself
    about = {"worker_id": "nobody", "execution_id": execution, "kind": "agent", "entity_id": other, "names": [used]}
    api.call("POST", "/secrets/resolve", about, status=404)
    api.call("POST", f"/executions/{execution}/cancel", {})
    api.call("PATCH", f"/executions/{execution}", {"status": "cancelled"})
    about["worker_id"] = worker(api)
    api.call("POST", "/secrets/resolve", about, status=409)


def test_a_person_gets_no_value_and_not_what_a_run_was_given(api: Api) -> None:
    name = name_of()
    api.call("PUT", f"/secrets/{name}", {"value": VALUE})
    agent = api.agent(execution_environment={"env_vars": {"T": f"{{{{.secret.{name}}}}}"}})["id"]
    execution = api.execute(agent, execution_environment={"env_vars": {"OWN_TOKEN": VALUE}})
    path = f"/execution-environment/agents/{agent}/resolved/full?execution_id={execution}"
    assert api.call("GET", path)["env_vars"]["OWN_TOKEN"] == VALUE  # the local user's key is also its worker's
    person = api.key("admin")["headers"]
    assert not leaks(api.ask("GET", path, headers=person).content, [VALUE])
    about = {"worker_id": worker(api), "execution_id": execution, "kind": "agent", "entity_id": agent, "names": [name]}
    answer = api.ask("POST", "/secrets/resolve", about, headers=person)
    assert answer.status_code == 403 and not leaks(answer.content, [VALUE])
    told = api.call("POST", "/secrets/resolve", about, headers=api.key("worker")["headers"])
    assert told["values"] == {name: VALUE}
    for role in ("viewer", "operator", "approver", "worker"):
        for method, body in (("PUT", {"value": VALUE}), ("DELETE", None)):
            api.call(method, f"/secrets/{name}", body, 403, headers=api.key(role)["headers"])


def test_a_listed_secret_is_a_variable_of_its_name(api: Api) -> None:
    name, own = name_of(), name_of()
    for each in (name, own):
        api.call("PUT", f"/secrets/{each}", {"value": f"{VALUE}-{each}"})
    agent = api.agent(execution_environment={"secrets": [name]})["id"]
    execution = api.execute(agent, execution_environment={"secrets": [own]})
    found = api.call("GET", f"/execution-environment/agents/{agent}/resolved/full?execution_id={execution}")
    assert found["env_vars"] == {each: f"{{{{.secret.{each}}}}}" for each in (name, own)}
    assert ask(api, execution, [name, own])["values"] == {each: f"{VALUE}-{each}" for each in (name, own)}
    api.call("POST", "/agents", {"name": name, "execution_environment": {"secrets": ["a b"]}}, status=422)


def test_a_secret_that_is_used_stays(api: Api) -> None:
    name = name_of()
    api.call("PUT", f"/secrets/{name}", {"value": VALUE})
    skill = {
        "type": "http",
        "configuration": {"allowed_hosts": ["x.example"], "headers": {"A": f"{{{{.secret.{name}}}}}"}},
    }
    agent = api.agent(skills=[skill])
    told = api.call("DELETE", f"/secrets/{name}", status=409)["detail"]
    assert agent["name"] in told and name in told
    api.call("PATCH", f"/agents/{agent['id']}", {"skills": []})
    execution = api.execute(execution_environment={"env_vars": {"T": f"{{{{.secret.{name}}}}}"}})
    api.call("DELETE", f"/secrets/{name}", status=409)
    api.call("PATCH", f"/executions/{execution}", {"status": "completed"})
    api.call("DELETE", f"/secrets/{name}")
    api.call("DELETE", f"/secrets/{name}", status=404)


def test_a_secret_can_be_kept_elsewhere(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kubiya_worker.secret_sources import Sources

    name = name_of()
    (tmp_path / "token").write_text(f"{VALUE}\n")
    environ = {"KUBIYA_SECRETS_DIR": str(tmp_path), "KUBIYA_SECRET_X": VALUE, "HOME_KEY": VALUE}
    monkeypatch.setattr(api.plane, "sources", Sources.allowed(environ))
    agent = api.agent(execution_environment={"secrets": [name]})["id"]
    for source in ("env:KUBIYA_SECRET_X", "file:token", f"file:{tmp_path}/token"):
        assert api.call("PUT", f"/secrets/{name}", {"source": source})["source"] == source
        assert ask(api, api.execute(agent), [name])["values"] == {name: VALUE}
    for source in ("env:HOME_KEY", "file:../x", "file:/etc/passwd", "vault:kv/app#x", "ssm:x", "env:"):
        api.call("PUT", f"/secrets/{name}", {"source": source}, status=422)
    api.call("PUT", f"/secrets/{name}", {"source": "file:gone"})
    assert "cannot be read" in ask(api, api.execute(agent), [name])["missing"][name]
