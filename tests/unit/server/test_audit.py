"""Every route that changes something leaves a record: who, from where, what, before and after; secrets never."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import text

from kubiya_worker.protocol import audit as chain
from kubiya_worker.protocol import names
from kubiya_worker.server.api import batch
from kubiya_worker.server.app import RESOURCES
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.store import audit as store
from kubiya_worker.server.store.audit import Audit
from kubiya_worker.server.store.audit_records import AuditQuery
from kubiya_worker.server.temporal import Temporal
from kubiya_worker.server.temporal_access import TemporalAccess
from tests.support.api import Api, Object

STEPS: Final = "a step of an execution, which its event log keeps"
HOST: Final = "a worker's report about itself"
# Writing routes without a record, and why.
UNRECORDED: Final = {
    "POST /batch": "each request in it leaves its own record, or is a step",
    "PATCH /executions/{execution}": STEPS,
    "POST /executions/{execution}/events": STEPS,
    "POST /executions/{execution}/events/batch": STEPS,
    "POST /executions/{execution}/session": STEPS,
    "POST /executions/{execution}/files": STEPS,
    "POST /executions/{execution}/job/{job}/status": STEPS,
    "POST /analytics/turns": STEPS,
    "POST /analytics/tool-calls": STEPS,
    "POST /analytics/batch": STEPS,
    "POST /worker-queues/{queue}/start": HOST,
    "POST /workers/{worker}/heartbeat": HOST,
    "POST /workers/{worker}/disconnect": HOST,
    "POST /worker-queues/{queue}/workers/{worker}/update-lock": HOST,
    "DELETE /worker-queues/{queue}/workers/{worker}/update-lock": HOST,
    "POST /approval-rules/resolve": "it only reads",
    "POST /definitions/read": "it only reads",
    "POST /definitions/write": "it only writes text",
    "POST /secrets/resolve": "a worker asks often; the last use is kept at the secret",
    "DELETE /session": "it ends the caller's own session, and records it where there is one: test_sessions.py",
}
RULE: Final = {"scope_type": "tool", "scope_value": "x", "action": "deny"}
JOB: Final = {"trigger_type": "manual", "entity_type": "agent", "entity_id": "ops", "prompt_template": "Look."}
HOOK: Final = {"source": "json", "agent": "ops", "queue": "default", "proof": {"secret": "{{.secret.A}}"}}
RUN: Final = {"prompt": "Look.", "worker_queue_id": "default"}
FIRST: Final = "m-1"  # the message with which an example begins


def new(api: Api, path: str, **fields: Any) -> str:
    return str(api.call("POST", path, {"name": f"n{uuid.uuid4()}"[:30], **fields})["id"])


def run(api: Api, status: str = "running") -> str:
    execution_id = api.execute()
    api.call("PATCH", f"/executions/{execution_id}", {"status": status})
    return execution_id


def asked(api: Api, **fields: Any) -> str:
    body = {"execution_id": run(api), "tool_name": "save_file", "tool_args": {"path": "a"}, **fields}
    return str(api.call("POST", "/approvals", body)["id"])


def stopped(api: Api) -> str:
    api.call("POST", "/stop", {"reason": "a test"})
    return ""


def paused(api: Api) -> str:
    execution_id = run(api)
    api.call("POST", f"/executions/{execution_id}/pause")
    return execution_id


def beating(api: Api) -> str:
    worker: str = api.call("POST", "/worker-queues/default/start", {})["worker_id"]
    told = {"worker_metadata": {"wishes": ["drain", "restart"]}}
    api.call("POST", f"/workers/{worker}/heartbeat", told)
    return worker


def proven(api: Api) -> str:
    worker: str = api.call("POST", "/worker-queues/default/start", {})["worker_id"]
    told = {"worker_metadata": {"trials": [*names.TRIAL_KINDS, names.TRIAL_MODEL], "polling": True}}
    api.call("POST", f"/workers/{worker}/heartbeat", told)

    async def trial(*_: Any) -> Object:  # there is no Temporal here
        return {"ok": True}

    api.plane.temporal.trial = trial  # type: ignore[assignment, method-assign]
    return "ops"


def proven_model(api: Api) -> str:
    proven(api)
    return new(api, "/stored-models", model="x")


def draining(api: Api) -> str:
    worker = beating(api)
    api.call("POST", f"/workers/{worker}/drain", {})
    return worker


def member(api: Api) -> str:
    agent = new(api, "/agents")
    api.call("POST", f"/teams/triage/agents/{agent}")
    return agent


def secret(api: Api) -> str:
    api.call("PUT", "/secrets/TO_GO", {"value": "a value to seal"})
    return "TO_GO"


def ended(api: Api) -> str:
    execution = run(api, "completed")
    said = {"role": "user", "content": "Look.", "message_id": FIRST, "timestamp": "t"}
    api.call("POST", f"/executions/{execution}/session", {"messages": [said]})
    return execution


def applied(api: Api, *prompts: str) -> str:
    """Apply an agent once for each prompt, and return its name."""
    name = f"a{uuid.uuid4().hex[:9]}"
    for prompt in prompts or ("One.",):
        document = {"kind": "Agent", "name": name, "spec": {"system_prompt": prompt}}
        api.call("POST", "/definitions/apply", {"documents": [document]})
    return name


def scheduled(api: Api) -> Object:
    about = {"organization_id": "local", "trigger_type": "cron", "trigger_metadata": {}}
    return {"execution_id": str(uuid.uuid4()), "entity_type": "agent", "entity_id": "ops", "prompt": "Look.", **about}


# An address that nobody may reach, so that a test of it sends nothing.
NOWHERE = {"type": "ntfy", "url": "http://127.0.0.1:1024", "topic": "t"}
NOTIFICATION = {"channel": NOWHERE, "events": ["run_failed"]}
Make = Callable[[Api], Any]
# For each recorded route: what makes the object of its path, and the body.
EXAMPLES: Final[dict[str, tuple[Make, Any]]] = {
    "POST /agents": (lambda api: "", {"name": "recorded"}),
    "PATCH /agents/{entity}": (lambda api: new(api, "/agents"), {"description": "other"}),
    "DELETE /agents/{entity}": (lambda api: new(api, "/agents"), None),
    "POST /teams": (lambda api: "", {"name": "recorded"}),
    "PATCH /teams/{entity}": (lambda api: new(api, "/teams"), {"description": "other"}),
    "DELETE /teams/{entity}": (lambda api: new(api, "/teams"), None),
    "POST /teams/{team}/agents/{agent}": (lambda api: ("triage", new(api, "/agents")), None),
    "DELETE /teams/{team}/agents/{agent}": (lambda api: ("triage", member(api)), None),
    "POST /environments": (lambda api: "", {"name": "recorded"}),
    "PATCH /environments/{environment}": (lambda api: new(api, "/environments"), {"description": "other"}),
    "DELETE /environments/{environment}": (lambda api: new(api, "/environments"), None),
    "POST /environments/{environment}/worker-queues": (lambda api: "default", {"name": "recorded"}),
    "PATCH /worker-queues/{queue}": (
        lambda api: new(api, "/environments/default/worker-queues"),
        {"description": "other"},
    ),
    "DELETE /worker-queues/{queue}": (lambda api: new(api, "/environments/default/worker-queues"), None),
    "POST /approval-rules": (lambda api: "", {"name": "recorded", **RULE}),
    "PUT /approval-rules/{rule}": (lambda api: new(api, "/approval-rules", **RULE), {"enabled": False}),
    "DELETE /approval-rules/{rule}": (lambda api: new(api, "/approval-rules", **RULE), None),
    "POST /notifications": (lambda api: "", {"name": "recorded", **NOTIFICATION}),
    "PATCH /notifications/{notification}": (lambda api: new(api, "/notifications", **NOTIFICATION), {"enabled": False}),
    "DELETE /notifications/{notification}": (lambda api: new(api, "/notifications", **NOTIFICATION), None),
    "POST /notifications/{notification}/test": (lambda api: new(api, "/notifications", **NOTIFICATION), {}),
    "POST /notifications/{notification}/retry": (lambda api: new(api, "/notifications", **NOTIFICATION), {}),
    "POST /hooks": (lambda api: "", {"name": "recorded", **HOOK}),
    "PATCH /hooks/{hook}": (lambda api: new(api, "/hooks", **HOOK), {"description": "other"}),
    "DELETE /hooks/{hook}": (lambda api: new(api, "/hooks", **HOOK), None),
    "POST /mcp-servers": (lambda api: "", {"name": "recorded", "command": "x"}),
    "PATCH /mcp-servers/{server}": (lambda api: new(api, "/mcp-servers", command="x"), {"description": "other"}),
    "DELETE /mcp-servers/{server}": (lambda api: new(api, "/mcp-servers", command="x"), None),
    "POST /stored-models": (lambda api: "", {"name": "recorded", "model": "x"}),
    "PATCH /stored-models/{model}": (lambda api: new(api, "/stored-models", model="x"), {"description": "other"}),
    "DELETE /stored-models/{model}": (lambda api: new(api, "/stored-models", model="x"), None),
    "POST /stored-models/{model}/test": (proven_model, {}),
    "POST /skills": (lambda api: "", {"name": "recorded", "type": "shell"}),
    "PATCH /skills/{skill}": (lambda api: new(api, "/skills", type="shell"), {"description": "other"}),
    "DELETE /skills/{skill}": (lambda api: new(api, "/skills", type="shell"), None),
    "POST /hooks/{hook}/test": (lambda api: new(api, "/hooks", **HOOK), {"start": True}),
    "POST /jobs": (lambda api: "", {"name": "recorded", **JOB}),
    "PATCH /jobs/{job}": (lambda api: new(api, "/jobs", **JOB), {"description": "other"}),
    "DELETE /jobs/{job}": (lambda api: new(api, "/jobs", **JOB), None),
    "POST /jobs/{job}/trigger": (lambda api: new(api, "/jobs", **JOB), {}),
    "POST /jobs/{job}/enable": (lambda api: new(api, "/jobs", **JOB, enabled=False), None),
    "POST /jobs/{job}/disable": (lambda api: new(api, "/jobs", **JOB), None),
    "POST /workers/{worker}/drain": (beating, {"reason": "new kernel"}),
    "POST /workers/{worker}/restart": (beating, {}),
    "POST /workers/{worker}/undrain": (draining, {}),
    "POST /approvals": (lambda api: "", lambda api: {"execution_id": run(api), "tool_name": "save_file"}),
    "POST /approvals/{approval}/approve": (asked, {"comment": "fine"}),
    "POST /approvals/{approval}/reject": (asked, {"reason": "no"}),
    "POST /approvals/{approval}/expire": (asked, {}),
    "POST /agents/{entity}/execute": (lambda api: "ops", RUN),
    "POST /agents/{entity}/test": (proven, {}),
    "POST /teams/{entity}/test": (lambda api: proven(api) and "triage", {"mcp_server": "t"}),
    "POST /environments/{environment}/test": (lambda api: proven(api) and "default", {"mcp_server": "t"}),
    "POST /mcp-servers/{server}/test": (lambda api: proven(api) and new(api, "/mcp-servers", command="x"), {}),
    "POST /teams/{entity}/execute": (lambda api: "triage", RUN),
    "POST /dynamic-executions/execute": (lambda api: "", {**RUN, "entity": {"name": "d"}}),
    "POST /executions/create": (lambda api: "", scheduled),
    "POST /executions/job-executions": (lambda api: "", scheduled),
    "POST /executions/batch/terminate": (lambda api: "", lambda api: {"execution_ids": [run(api)], "reason": "r"}),
    "POST /executions/{execution}/message": (run, {"message": "More."}),
    "POST /executions/{execution}/pause": (run, None),
    "POST /executions/{execution}/resume": (paused, None),
    "POST /executions/{execution}/cancel": (run, None),
    "POST /executions/{execution}/mark-done": (run, None),
    "POST /executions/{execution}/terminate": (run, {"reason": "r"}),
    "POST /executions/{execution}/retry": (ended, None),
    "POST /executions/{execution}/fork": (ended, lambda api: {"message_id": FIRST}),
    "DELETE /executions/{execution}": (ended, None),
    "POST /keys": (lambda api: "", {"name": "Ann", "role": "viewer"}),
    "POST /session": (lambda api: "", None),
    "DELETE /sessions": (lambda api: "", None),
    "PATCH /keys/{key}": (lambda api: new(api, "/keys", role="viewer"), {"name": "other"}),
    "DELETE /keys/{key}": (lambda api: new(api, "/keys", role="viewer"), None),
    "POST /definitions/apply": (
        lambda api: "",
        {"documents": [{"kind": "Agent", "name": "applied", "spec": {"description": "Watches"}}]},
    ),
    "DELETE /definitions/{kind}/{name}": (lambda api: ("agent", applied(api)), None),
    "POST /definitions/{kind}/{name}/rollback": (lambda api: ("agent", applied(api, "One.", "Two.")), {"version": 1}),
    "PUT /secrets/{secret}": (lambda api: "RECORDED", {"value": "a value to seal"}),
    "DELETE /secrets/{secret}": (secret, None),
    "POST /stop": (lambda api: "", {"reason": "r"}),
    "DELETE /stop": (stopped, None),
}


def routes() -> list[Edge]:
    single = [route for resource in RESOURCES for route in resource.ROUTES]
    return [route for route in [*batch.routes(single), *single] if isinstance(route, Edge)]


def named(edge: Edge) -> str:
    return f"{edge.method} {edge.path.removeprefix('/api/v1')}"


WRITING: Final = {named(edge): edge for edge in routes() if edge.method != "GET"}
RECORDED: Final = sorted(name for name, edge in WRITING.items() if edge.audit)


def records(api: Api, **filters: Any) -> list[Object]:
    query = "&".join(f"{name}={value}" for name, value in {"limit": 1000, **filters}.items())
    found: list[Object] = api.call("GET", f"/audit?{query}")
    return found


def test_every_writing_route_is_recorded_or_says_why_not() -> None:
    assert len(WRITING) > 50
    silent = {name for name, edge in WRITING.items() if not edge.audit}
    assert silent == set(UNRECORDED), "declare `audit=` at the route, or say in UNRECORDED why it needs no record"
    assert set(RECORDED) == set(EXAMPLES), "give each recorded route an example"


@pytest.mark.parametrize("name", RECORDED)
def test_a_route_leaves_the_record_that_it_declares(api: Api, name: str) -> None:
    make, body = EXAMPLES[name]
    keys = make(api)
    path = name.partition(" ")[2]
    for key in keys if isinstance(keys, tuple) else (keys,):
        path = path.replace(path[path.index("{") : path.index("}") + 1], key) if "{" in path else path
    given = body(api) if callable(body) else body
    head = api.call("GET", "/audit/head")["seq"]
    api.call(name.partition(" ")[0], path, given, headers={"User-Agent": "kubiya-cli/1"})
    found = [record for record in records(api) if record["seq"] > head]
    api.call("DELETE", "/stop")
    assert WRITING[name].audit in [record["action"] for record in found], [r["action"] for r in found]
    for record in found:
        assert record["outcome"] == "done"
        assert record["request"] == f"{name.partition(' ')[0]} {WRITING[name].path}"
        assert record["from"]["client"] == "cli"
        assert record["from"]["address"]
        assert record["who"]["id"] == "local"
        assert record["who"]["key"]
        assert record["object"]["kind"] == record["action"].partition(".")[0]


def test_the_chain_of_all_this_holds(api: Api) -> None:
    text = api.ask("GET", "/audit/export").text
    head = chain.Head.parse(api.call("GET", "/audit/head")["head"])
    assert text.count("\n") == head.seq > 10
    assert list(chain.problems(text.splitlines(), [head])) == []
    rest = api.ask("GET", f"/audit/export?after={head.seq - 3}").text.splitlines()
    assert [json.loads(line)["seq"] for line in rest] == [head.seq - 2, head.seq - 1, head.seq]


def test_the_control_plane_checks_its_own_chain(tmp_path: Path) -> None:
    with Api(tmp_path) as api:
        for _ in range(5):
            api.agent()
        sound = api.call("GET", "/audit/verify")
        head = api.call("GET", "/audit/head")["head"]
        assert sound == {"records": int(head.partition(":")[0]), "head": head, "problems": [], "more": 0}
        database = api.plane.database
        with database.transaction():
            for trigger in ("audit_no_update", "audit_no_delete"):
                database.execute(text(f"drop trigger {trigger}{' on audit' if database.shared else ''}"))
            database.execute(text("update audit set record = replace(record, 'done', 'refused') where seq = 2"))
            database.execute(text("delete from audit where seq = 4"))
        found = [(each["first"], each["last"]) for each in api.call("GET", "/audit/verify")["problems"]]
        assert found == [(2, 2), (4, 4)]


def test_a_record_says_what_was_before_and_after(api: Api) -> None:
    agent = api.agent(description="old", model_id="demo")
    skills = [{"name": "s", "type": "shell", "configuration": {"allowed_commands": ["ls", "rm"]}}]
    api.call("PATCH", f"/agents/{agent['id']}", {"description": "new", "skills": skills})
    changed, made = records(api, object=agent["id"])
    assert made["action"] == "agent.create"
    assert made["after"]["description"] == "old"
    assert "before" not in made
    assert changed["before"]["description"] == "old"
    assert changed["after"]["description"] == "new"
    assert changed["after"]["skills.s.configuration.allowed_commands"] == ["ls", "rm"]
    assert changed["before"]["skills.shell.type"] == "shell"
    assert "model_id" not in changed["after"]  # it stayed
    api.call("DELETE", f"/agents/{agent['id']}")
    gone = records(api, object=agent["id"])[0]
    assert (gone["action"], gone["before"]["description"]) == ("agent.delete", "new")
    assert "after" not in gone


def test_what_nobody_changed_leaves_no_record(api: Api) -> None:
    agent = api.agent(description="same")
    api.call("PATCH", f"/agents/{agent['id']}", {"description": "same"})
    assert [r["action"] for r in records(api, object=agent["id"])] == ["agent.create"]


def test_a_secret_is_in_no_record(api: Api) -> None:
    canary = f"canary-{uuid.uuid4()}"
    server = {"command": "x", "args": [canary], "env": {"name": canary, "type": canary}, "url": f"https://h/{canary}"}
    places = {"env_vars": {"NAME": canary, "status": canary}, "mcp_servers": {"status": server}}
    skill = {"name": "m", "type": "custom", "configuration": {"env": {"name": canary}, "headers": {"status": canary}}}
    agent = api.agent(execution_environment=places, skills=[skill], system_prompt=canary, llm_config={"stop": [canary]})
    api.call("PATCH", f"/agents/{agent['id']}", {"execution_environment": {"env_vars": {"OTHER": canary}}})
    api.call("PATCH", "/environments/default", {"execution_environment": places})
    api.call("PATCH", "/environments/default", {"execution_environment": {}})
    rule = new(api, "/approval-rules", **RULE, description=f"see https://u:{canary}@host/")
    hook = {**JOB, "trigger_type": "webhook", "webhook_secret": canary * 2, "prompt_template": canary}
    job = new(api, "/jobs", **hook, execution_environment={"env_vars": {"name": canary}})
    api.call("PATCH", f"/jobs/{job}", {"webhook_secret": canary * 3})
    execution_id = api.execute(prompt=canary, execution_environment={"env_vars": {"A": canary}})
    api.call("POST", f"/executions/{execution_id}/message", {"message": canary})
    body = {"execution_id": execution_id, "tool_name": "t", "tool_args": {"x": canary}}
    key = api.call("POST", "/approvals", body)["id"]
    api.call("POST", f"/approvals/{key}/approve", {"arguments": {"x": canary + "2"}})
    api.ask("GET", "/agents", headers={"Authorization": f"Bearer {canary}"})
    api.ask("POST", "/agents", {}, headers={"Authorization": f"Bearer {canary}"})
    text = api.ask("GET", "/audit/export").text
    assert canary not in text
    for name in ("OTHER", "env_vars.NAME", "webhook_secret", rule):  # what was changed is told all the same
        assert name in text, name


def test_an_approval_says_who_answered_about_which_arguments_and_by_which_rule(api: Api) -> None:
    rule = api.call("POST", "/approval-rules", {"name": f"r{uuid.uuid4()}", **RULE, "action": "ask"})
    told = {"rule_id": rule["id"], "arguments_hash": "ab" * 32, "enforcement_context": {"rules_version": "v7"}}
    key = asked(api, **told)
    api.call("POST", f"/approvals/{key}/approve", {"comment": "go", "arguments": {"path": "b"}})
    answer, request = records(api, object=key)
    assert [request["action"], answer["action"]] == ["approval.create", "approval.approve"]
    for record in (request, answer):
        assert record["arguments_hash"] == "ab" * 32
        assert record["execution_id"]
        assert record["rule"] == {
            "id": rule["id"],
            "name": rule["name"],
            "changed_at": rule["updated_at"],
            "rules_version": "v7",
        }
    assert answer["before"] == {"status": "pending"} | {k: None for k in answer["before"] if k != "status"}
    assert answer["after"]["status"] == "approved"
    assert answer["after"]["comment"] == "go"
    assert len(answer["after"]["edited_arguments_hash"]) == 64


def test_what_a_rule_and_the_plane_decide_is_recorded_too(api: Api) -> None:
    first, second = asked(api, tool_name="doomed"), asked(api)
    api.call("POST", "/approval-rules", {"name": "doom", **RULE, "scope_value": "doomed"})
    assert records(api, object=first)[0]["action"] == "approval.reject"
    execution_id = api.call("GET", f"/approvals/{second}")["execution_id"]
    api.call("POST", f"/executions/{execution_id}/cancel")
    assert records(api, object=second)[0]["action"] == "approval.expire"
    row = api.plane.stores.executions.get("local", api.execute())
    assert row is not None
    api.plane.runs.change(row, {"status": "failed", "error_message": "Temporal refuses to start it"})
    found = records(api, object=row["id"])[0]
    assert (found["action"], found["who"]["id"]) == ("execution.fail", "control-plane")
    assert "from" not in found


def test_a_stop_names_each_execution_that_it_pauses(api: Api) -> None:
    execution_id = run(api)
    api.call("POST", "/stop", {"reason": "a key has leaked"})
    api.call("DELETE", "/stop")
    assert [r["action"] for r in records(api, object=execution_id)][:2] == ["execution.resume", "execution.pause"]
    lifted, stop = records(api, object="stop")[:2]
    assert [stop["action"], lifted["action"]] == ["stop.set", "stop.lift"]
    assert stop["after"]["reason"] == lifted["before"]["reason"] == "a key has leaked"


def test_steps_of_an_execution_leave_none_and_a_decision_on_a_call_leaves_one(api: Api) -> None:
    execution_id = api.execute()
    rule = api.call("POST", "/approval-rules", {"name": "lists", "scope_type": "all", "action": "allow"}, 201)["id"]
    head = api.call("GET", "/audit/head")["seq"]
    api.call("PATCH", "/agents/ops", {"status": "running"})
    told = {"reason": "no rm", "rules_version": "v3", "rules_age_seconds": 1.5, "arguments_hash": "a" * 64}
    denied = {"decision": "denied", "allow": False, "rule_id": "r9", **told}
    allowed = {"decision": "allowed", "allow": True, "rule_id": rule, **told}
    events = [
        {"event_id": f"{kind}:{call}", "event_type": kind, "timestamp": "2026-11-29T01:02:03+00:00", "data": data}
        for call, enforcement in (("c1", denied), ("c2", allowed), ("c3", None))
        for kind in ("tool_started", "tool_completed")
        for data in [{"tool_name": "shell", "tool_execution_id": call, "tool_arguments": {"command": "never here"}}]
        if data.update({"enforcement": enforcement} if enforcement else {}) is None
    ]
    for _ in range(2):  # a worker that is not sure sends them again
        api.call("POST", f"/executions/{execution_id}/events/batch", {"events": events})
    api.call("PATCH", f"/executions/{execution_id}", {"status": "completed"})
    api.plane.stores.events.records_allowed = False  # of `--no-audit-allowed`
    left_out = {"event_type": "tool_started", "data": {"tool_execution_id": "c4", "enforcement": allowed}}
    api.call("POST", f"/executions/{execution_id}/events/batch", {"events": [left_out]})
    api.plane.stores.events.records_allowed = True
    allow, deny = [r for r in records(api) if r["seq"] > head]
    assert [r["object"] for r in (deny, allow)] == [{"kind": "call", "id": c, "name": "shell"} for c in ("c1", "c2")]
    assert (deny["action"], allow["action"]) == ("call.deny", "call.allow")
    for record in (deny, allow):
        assert (record["execution_id"], record["detail"], record["arguments_hash"]) == (execution_id, "no rm", "a" * 64)
        assert record["decided_at"] == "2026-11-29T01:02:03+00:00" and "never here" not in json.dumps(record)
    now = {"rules_version": "v3", "rules_age_seconds": 1.5}
    assert deny["rule"] == {"id": "r9", **now}
    assert allow["rule"].pop("changed_at") and allow["rule"] == {"id": rule, "name": "lists", **now}
    api.call("DELETE", f"/approval-rules/{rule}")


def test_records_outlive_what_they_are_about(api: Api) -> None:
    execution_id = ended(api)
    api.call("DELETE", f"/executions/{execution_id}")
    assert [r["action"] for r in records(api, object=execution_id)] == ["execution.delete", "execution.start"]
    assert records(api, object=execution_id)[0]["before"]["status"] == "completed"


def test_a_change_that_is_undone_has_no_record(api: Api) -> None:
    api.agent(name="taken-name")
    head = api.call("GET", "/audit/head")["seq"]
    api.call("POST", "/agents", {"name": "taken-name"}, 409)
    with pytest.raises(RuntimeError), api.plane.database.transaction():
        api.plane.stores.agents.create("local", "undone", {"skills": []})
        raise RuntimeError("the disk is full, say")
    (record,) = [r for r in records(api) if r["seq"] > head]
    assert (record["action"], record["outcome"], record["status"]) == ("agent.create", "refused", 409)
    api.agent(name="after-that")
    assert records(api)[0]["object"]["name"] == "after-that"


def test_a_refused_answer_says_who_tried(api: Api) -> None:
    key = asked(api)
    api.call("POST", f"/approvals/{key}/reject", {"reason": "no"})
    api.call("POST", f"/approvals/{key}/approve", {}, 409)
    record = records(api, object=key)[0]
    assert (record["action"], record["outcome"], record["status"]) == ("approval.approve", "refused", 409)
    assert "was rejected already" in record["detail"]
    assert record["who"]["id"] == "local"


def test_a_start_that_a_stop_refuses_is_recorded(api: Api) -> None:
    api.call("POST", "/stop", {"reason": "leak"})
    api.call("POST", "/agents/ops/execute", RUN, 423)
    api.call("DELETE", "/stop")
    assert records(api, outcome="refused", action="execution.start")[0]["status"] == 423


def test_a_bad_key_is_recorded_by_its_id_and_from_where(api: Api) -> None:
    api.call("POST", "/agents", {"name": "x"}, 401, headers={"Authorization": "Bearer wrong", "User-Agent": "curl/8"})
    record = records(api, outcome="refused")[0]
    assert (record["action"], record["status"], record["from"]["client"]) == ("agent.create", 401, "other")
    assert len(record["who"]["key"]) == 12
    assert "wrong" not in json.dumps(record)


def test_a_role_that_may_not_is_recorded_with_its_person(api: Api) -> None:
    key = api.call("POST", "/keys", {"name": "Vic", "email": "Vic@example.org", "role": "viewer"})
    headers = {"Authorization": f"Bearer {key['key']}"}
    api.call("POST", "/agents", {"name": "x"}, 403, headers=headers)
    api.call("GET", "/audit", None, 403, headers=headers)
    inner = {"requests": [{"method": "PATCH", "path": "/executions/e", "body": {"status": "failed"}}]}
    api.call("POST", "/batch", inner, 403, headers=headers)
    batched, read, written = records(api, person="vic@example.org", outcome="refused")
    assert [r["action"] for r in (written, read, batched)] == ["agent.create", "access.call", "access.call"]
    assert batched["request"] == "POST /api/v1/batch"
    assert "needs admin" in written["detail"]
    assert written["who"] == {
        "id": "vic@example.org",
        "name": "Vic",
        "email": "Vic@example.org",
        "role": "viewer",
        "key": key["id"],
    }
    made = records(api, object=key["id"])[0]
    assert (made["action"], made["after"]["role"]) == ("key.create", "viewer")
    assert key["key"] not in json.dumps(made)


def test_refusals_cannot_fill_the_disk(tmp_path: Path) -> None:
    plane = Plane(tmp_path / "cp.db", Temporal(TemporalAccess("127.0.0.1:1")))
    seconds = 0.0
    audit = Audit(plane.database, lambda: seconds)
    for _ in range(store.MOST_REFUSED + 40):
        audit.refuse("local", "agent.create", {}, 403, "no")
    assert audit.head("local").seq == store.MOST_REFUSED
    seconds = store.MINUTE
    audit.refuse("local", "agent.create", {}, 403, "no")
    assert audit.search("local", AuditQuery())[0]["left_out_before"] == 40
    plane.database.close()


def test_records_are_found_by_what_they_say(api: Api) -> None:
    agent = api.agent(name=f"found-{uuid.uuid4()}")
    api.call("PATCH", f"/agents/{agent['id']}", {"description": "x"})
    api.call("POST", "/agents", {"name": agent["name"]}, 409)
    done = [r["seq"] for r in records(api, object=agent["name"])]
    assert len(done) == 2
    assert [r["seq"] for r in records(api, object=agent["id"], action="update")] == done[:1]
    assert [r["seq"] for r in records(api, object=agent["id"], action="agent")] == done
    assert [r["seq"] for r in records(api, object=agent["id"], action="agent.create")] == done[1:]
    assert records(api, object=agent["id"], action="a%") == []
    assert {r["outcome"] for r in records(api, outcome="refused")} == {"refused"}
    assert [r["seq"] for r in records(api, limit=2, before=done[0])] == [done[0] - 1, done[0] - 2]
    person = records(api, object=agent["id"])[0]["who"]
    for key in ("id", "name", "email", "key"):
        assert records(api, object=agent["id"], person=person[key].upper()), key
    assert records(api, person="nobody") == []
    at = datetime.fromisoformat(records(api, object=agent["id"])[1]["at"])
    text = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert [r["seq"] for r in records(api, object=agent["id"], since=text)] == done
    assert records(api, object=agent["id"], until=text) == []
    later = (at + timedelta(hours=1)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert records(api, since=later) == []
    api.call("GET", "/audit?since=yesterday", None, 422)
