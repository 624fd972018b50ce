"""Documents {kind, name, spec} are applied as a whole, told back, pruned and rolled back."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from kubiya_worker import definition_text
from kubiya_worker.definition_text import PlacedDocument
from kubiya_worker.server.edges.manifests import KINDS
from kubiya_worker.server.store.definitions import ACTIONS
from tests.support.api import Api, Object

SPECS: dict[str, Object] = {
    "Skill": {"type": "shell", "description": "Disks", "configuration": {"allowed_commands": ["df"]}},
    "MCPServer": {"url": "https://tickets.example.com/mcp", "headers": {"X-Team": "night"}, "timeout": 20},
    "Environment": {
        **{"display_name": "Staging", "description": "For tests", "tags": ["a"]},
        "execution_environment": {"env_vars": {"REGION": "eu"}},
    },
    "Queue": {
        "display_name": "Builds",
        "max_workers": 2,
        "heartbeat_interval": 60,
        "tags": ["x"],
        "worker_type": "local",
    },
    "Model": {
        **{"description": "Small", "queues": ["default"], "model": "openai/gpt-4o-mini"},
        **{"api_base": "http://127.0.0.1:9/v1", "api_key": "os.environ/KUBIYA_MODEL_KEY_SMALL"},
        **{"extra_body": {"num_ctx": 4096}, "compatibility": {"stream": False}},
    },
    "Agent": {
        **{"description": "Watches", "system_prompt": "Watch.", "capabilities": ["logs"], "model_id": "demo"},
        "skills": [
            {"type": "shell", "configuration": {"allowed_commands": ["df"]}},
            {"name": "f", "type": "file_system"},
        ],
        **{"configuration": {"budgets": {"max_steps": 5}}, "llm_config": {"temperature": 0.5}},
    },
    "Team": {"description": "At night", "configuration": {"member_ids": ["ops"], "mode": "coordinate"}},
    "Rule": {"scope_type": "tool", "scope_value": "shell", "action": "deny", "priority": 3, "require_reason": True},
    "Notification": {
        **{"description": "At night", "enabled": False, "events": ["run_failed"], "filters": {"agents": ["ops"]}},
        "channel": {"type": "ntfy", "url": "https://ntfy.example.org", "topic": "night"},
    },
    "Job": {
        **{"agent": "ops", "prompt_template": "Look.", "trigger_type": "cron", "cron_schedule": "0 6 * * *"},
        **{"cron_timezone": "Europe/Berlin", "worker_queue_name": "default", "config": {"budgets": {"max_steps": 3}}},
    },
    "Hook": {
        **{"source": "github", "team": "triage", "queue": "default", "prompt": "Look at {{title}}.", "priority": 2},
        **{"proof": {"secret": "{{.secret.GITHUB}}"}, "events": ["issues.opened"], "match": {"repository": "acme/*"}},
        "reply": {"kind": "github", "token": "{{.secret.GITHUB_TOKEN}}"},
    },
}


def applied(api: Api, *documents: Object, **fields: Any) -> list[Object]:
    made: list[Object] = api.call("POST", "/definitions/apply", {"documents": list(documents), **fields})["changes"]
    return made


def document(kind: str, name: str = "", **spec: Any) -> Object:
    return {"kind": kind, "name": name or f"n{uuid.uuid4().hex[:9]}", "spec": spec or SPECS[kind]}


def actions(changes: list[Object]) -> list[str]:
    return [f"{each['kind']} {each['action']}" for each in changes]


def refused(api: Api, *documents: Object) -> list[tuple[list[Any], str]]:
    detail = api.call("POST", "/definitions/apply", {"documents": list(documents)}, 422)["detail"]
    return [(each["loc"][2:], each["msg"]) for each in detail]


@pytest.mark.parametrize("kind", SPECS)
def test_what_is_applied_is_told_back_and_applied_again_changes_nothing(api: Api, kind: str) -> None:
    one = document(kind)
    assert actions(applied(api, one)) == [f"{kind} created"]
    assert api.call("GET", f"/definitions/{kind}/{one['name']}") == one
    assert one in api.call("GET", "/definitions")["documents"]
    assert one in api.call("GET", f"/definitions?kind={kind.lower()}s")["documents"]
    assert actions(applied(api, one)) == [f"{kind} unchanged"]
    assert len(api.call("GET", f"/definitions/{kind}/{one['name']}/history")["versions"]) == 1


@pytest.mark.parametrize("kind", SPECS)
def test_a_field_that_is_left_out_gets_its_default_back(api: Api, kind: str) -> None:
    needed: dict[str, Object] = {"Rule": {"scope_type": "all"}, "Job": {"agent": "ops", "prompt_template": "Look."}}
    needed |= {"Skill": {"type": "shell"}, "MCPServer": {"command": "tickets-mcp"}, "Model": {"model": "x"}}
    needed["Notification"] = {name: SPECS["Notification"][name] for name in ("channel", "events")}
    needed["Hook"] = {"source": "json", "agent": "ops", "proof": {"secret": "{{.secret.A}}"}}
    least = needed.get(kind, {})
    one = document(kind)
    applied(api, one)
    (change,) = applied(api, {**one, "spec": least})
    assert change["action"] == "changed"
    assert api.call("GET", f"/definitions/{kind}/{one['name']}") == {**one, "spec": least}


def test_documents_may_come_in_any_order(api: Api) -> None:
    mark = uuid.uuid4().hex[:6]
    names = {kind: f"{kind.lower()}-{mark}" for kind in SPECS}
    documents = [
        {"kind": "Job", "name": names["Job"], "spec": {**SPECS["Job"], "agent": names["Agent"]}},
        {"kind": "Team", "name": names["Team"], "spec": {"configuration": {"member_ids": [names["Agent"]]}}},
        {"kind": "Queue", "name": names["Queue"], "spec": {"environment": names["Environment"]}},
        document("Agent", names["Agent"], environment_ids=[names["Environment"]]),
        document("Environment", names["Environment"]),
    ]
    assert {each["action"] for each in applied(api, *documents)} == {"created"}
    assert {each["action"] for each in applied(api, *documents)} == {"unchanged"}
    stored = {each["name"]: each["spec"] for each in api.call("GET", "/definitions")["documents"]}
    assert stored[names["Team"]]["configuration"]["member_ids"] == [names["Agent"]]
    assert stored[names["Agent"]]["environment_ids"] == [names["Environment"]]
    assert stored[names["Queue"]]["environment"] == names["Environment"]


def test_a_dry_run_tells_the_changes_and_makes_none(api: Api) -> None:
    one = document("Agent")
    (change,) = applied(api, one, dry_run=True)
    assert change["action"] == "created" and change["differences"]
    api.call("GET", f"/definitions/agent/{one['name']}", status=404)
    applied(api, one)
    (change,) = applied(api, {**one, "spec": {**SPECS["Agent"], "model_id": "other"}}, dry_run=True)
    assert change["differences"] == [{"path": "spec.model_id", "before": "demo", "after": "other"}]
    assert api.call("GET", f"/definitions/agent/{one['name']}") == one


def test_a_fault_in_one_document_changes_nothing_and_each_fault_has_its_place(api: Api) -> None:
    good = document("Agent")
    wrong = document("Agent", "wrong", system_promt="x", status="idle")
    assert refused(api, good, wrong, document("Rule", "r", action="maybe")) == [
        ([1, "spec", "status"], "not supported yet: status. It is state, and no part of a definition"),
        ([1, "spec", "system_promt"], "Unknown field 'system_promt'. Did you mean system_prompt?"),
        ([2, "spec", "scope_type"], "Field required"),
        ([2, "spec", "action"], "action is one of ask, allow, deny"),
    ]
    api.call("GET", f"/definitions/agent/{good['name']}", status=404)


def test_a_reference_to_nothing_is_refused_before_anything_changes(api: Api) -> None:
    good = document("Agent")
    found = refused(
        api,
        good,
        document("Team", "t", configuration={"member_ids": ["nobody"]}),
        document("Job", "j", agent="nobody", prompt_template="x"),
        document("Job", "k", prompt_template="x"),
        document("Queue", "q1", environment="nowhere"),
        document("Agent", "a", environment_ids=["nowhere"]),
        document("Job", "l", agent="ops", prompt_template="x", worker_queue_name="nowhere"),
    )
    assert sorted(found, key=lambda each: each[0][0]) == [
        ([1, "spec", "configuration", "member_ids"], "member_ids: there is no agent 'nobody'"),
        ([2, "spec", "agent"], "There is no agent 'nobody'"),
        ([3, "spec", "agent"], "A job is for one agent or one team: set agent or team, to its name"),
        ([4, "spec", "environment"], "There is no environment 'nowhere'"),
        ([5, "spec", "environment_ids"], "There is no environment 'nowhere'"),
        ([6], "Worker queue 'nowhere' not found"),
    ]
    api.call("GET", f"/definitions/agent/{good['name']}", status=404)


def test_a_document_that_is_there_twice_or_of_no_kind_is_refused(api: Api) -> None:
    one = document("Agent")
    assert refused(api, one, one) == [([1, "name"], f"The Agent {one['name']!r} is there twice")]
    ((place, text),) = refused(api, {"kind": "Agnt", "name": "x", "spec": {}})
    assert place == [0, "kind"] and "one of Secret, Skill, MCPServer, Environment" in text
    ((place, text),) = refused(api, {"kind": "Agent", "name": " ", "spec": {}})
    assert place == [0, "name"]


def test_prune_deletes_what_the_same_source_does_not_name_any_more(api: Api) -> None:
    mine, gone, other = document("Agent"), document("Rule"), document("Agent")
    applied(api, mine, gone, source="mine")
    applied(api, other, source="other")
    assert actions(applied(api, mine, source="mine")) == ["Agent unchanged"]
    assert actions(applied(api, mine, source="mine", prune=True)) == ["Agent unchanged", "Rule deleted"]
    api.call("GET", f"/definitions/rule/{gone['name']}", status=404)
    assert api.call("GET", f"/definitions/agent/{other['name']}") == other


def test_a_skill_keeps_its_id_when_something_else_changes(api: Api) -> None:
    one = document("Agent")
    applied(api, one)
    before = api.call("GET", f"/agents/{one['name']}")["skills"]
    applied(api, {**one, "spec": {**SPECS["Agent"], "description": "Other"}})
    assert [skill["id"] for skill in api.call("GET", f"/agents/{one['name']}")["skills"]] == [s["id"] for s in before]


def test_a_new_webhook_tells_its_address_and_secret_once(api: Api) -> None:
    one = document("Job", agent="ops", prompt_template="Look.", trigger_type="webhook")
    (change,) = applied(api, one, dry_run=True)
    assert "webhook_secret" not in change
    (change,) = applied(api, one)
    assert change["webhook_url"] and change["webhook_secret"]
    (change,) = applied(api, one)
    assert change["action"] == "unchanged" and "webhook_secret" not in change


def test_versions_say_who_and_what_and_can_come_back(api: Api) -> None:
    one = document("Agent", system_prompt="First.")
    place = f"/definitions/agents/{one['name']}"
    applied(api, one)
    api.call("PATCH", f"/agents/{one['name']}", {"system_prompt": "By hand."})
    versions = api.call("GET", f"{place}/history")["versions"]
    assert [(each["version"], each["action"]) for each in versions] == [(None, "edited elsewhere"), (1, "created")]
    applied(api, {**one, "spec": {"system_prompt": "Second."}})
    versions = api.call("GET", f"{place}/history")["versions"]
    assert [(each["version"], each["action"]) for each in versions] == [
        *((3, "changed"), (2, "edited elsewhere"), (1, "created")),
    ]
    assert versions[0]["by"]["name"] and not versions[1]["by"]
    assert versions[0]["differences"] == [{"path": "spec.system_prompt", "before": "By hand.", "after": "Second."}]
    change = api.call("POST", f"{place}/rollback", {"version": 1})
    assert change["action"] == "changed"
    assert api.call("GET", f"/agents/{one['name']}")["system_prompt"] == "First."


def test_what_was_deleted_comes_back_by_its_version(api: Api) -> None:
    one = document("Rule")
    place = f"/definitions/rule/{one['name']}"
    applied(api, one)
    assert api.call("DELETE", place)["action"] == "deleted"
    api.call("GET", place, status=404)
    assert "was deleted" in api.call("POST", f"{place}/rollback", {"version": 2}, 400)["detail"]
    assert "there are: 2, 1" in api.call("POST", f"{place}/rollback", {"version": 9}, 404)["detail"]
    assert api.call("POST", f"{place}/rollback", {"version": 1})["action"] == "created"
    assert api.call("GET", place) == one


def test_a_kind_that_does_not_exist_is_named(api: Api) -> None:
    assert "there are Secret, Skill" in api.call("GET", "/definitions?kind=pod", status=404)["detail"]


def test_a_document_holds_only_where_its_base_is_stored(api: Api) -> None:
    agent = {"kind": "Agent", "name": "based", "spec": {"description": "one"}}
    api.call("POST", "/definitions/apply", {"documents": [agent], "source": "of the base"})
    two = {**agent, "spec": {"description": "two"}, "base": agent["spec"]}
    (change,) = api.call("POST", "/definitions/apply", {"documents": [two]})["changes"]
    assert change["action"] == "changed"
    (problem,) = api.call("POST", "/definitions/apply", {"documents": [two]}, 422)["detail"]
    assert problem["loc"] == ["body", "documents", 0] and "was changed in spec.description" in problem["msg"]
    # An edited one stays in its set: the set's next documents without it delete it.
    pruned = api.call("POST", "/definitions/apply", {"documents": [], "source": "of the base", "prune": True})[
        "changes"
    ]
    assert [(each["name"], each["action"]) for each in pruned] == [("based", "deleted")]


def test_documents_are_written_as_yaml_and_read_again_with_their_lines(api: Api) -> None:
    documents = [document("Agent", "reader", system_prompt="One.\nTwo.", skills=[{"type": "shell"}]), document("Queue")]
    text = api.call("POST", "/definitions/write", {"documents": documents})["text"]
    assert "system_prompt: |-\n" in text
    found = api.call("POST", "/definitions/read", {"text": text})["documents"]
    assert [{k: each[k] for k in ("kind", "name", "spec")} for each in found] == documents
    line = found[0]["lines"]["spec.skills.0.type"]
    assert text.splitlines()[line - 1].strip() == "- type: shell"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("kind: Agent\nname: [", 2),
        ("kind: Agent\nname: a\nspeck: {}", 3),
        ("kind: Agent\nname: 2026-01-01", 2),
        ("\0", 1),
        ('kind: Agent\nname: a\nspec: {a: !!int ""}', 1),
        ("kind: Agent\nname: a\nspec: {a: !!bool x}", 1),
        ("kind: Agent\nname: a\nspec: {a: !!timestamp x}", 1),
        ("kind: Agent\nname: a\nspec:\n  a: .inf", 4),
        ("kind: Agent\nname: a\nspec:\n  a: -.inf", 4),
        ("kind: Agent\nname: a\nspec:\n  a: .nan", 4),
        (f"kind: Agent\nname: a\nspec:\n  a: 0x{'f' * 5000}", 4),
        (f"kind: Agent\nname: a\nspec:\n  a: &a {'x' * 50_000}\n  b: [{','.join(['*a'] * 500)}]", 4),  # a repeated text
        (f"kind: Agent\nname: a\nspec:\n  {'x' * 1000}: [{','.join('1' * 20_000)}]", 4),  # a repeated path
        (
            "---\n".join(
                f"kind: A\nname: a\nspec:\n  a: &a {'x' * 9000}\n  b: [{','.join(['*a'] * 500)}]\n" for _ in "abcd"
            ),
            22,
        ),
    ],
)
def test_a_text_that_is_no_document_is_refused_with_its_line(api: Api, text: str, line: int) -> None:
    (fault,) = api.call("POST", "/definitions/read", {"text": text}, 422)["detail"]
    assert fault["loc"] == ["body", "text", line] and fault["msg"]


@pytest.mark.parametrize(
    ("draft", "place"),
    [
        ({"kind": "Agent"}, ["name"]),
        ({"name": "a"}, ["kind"]),
        ({"kind": 5, "name": "a"}, ["kind"]),
        ({"kind": "Agent", "name": None}, ["name"]),
        ({"kind": "Agent", "name": "a", "spec": []}, ["spec"]),
        ({"kind": "Agent", "name": "a", "speck": {}}, ["speck"]),
        (5, []),
    ],
)
def test_what_has_not_the_form_of_a_document_is_not_written(api: Api, draft: Any, place: list[str]) -> None:
    (fault,) = api.call("POST", "/definitions/write", {"documents": [draft]}, 422)["detail"]
    assert fault["loc"] == ["body", "documents", 0, *place]


def test_a_draft_is_written_before_its_name_is_chosen(api: Api) -> None:
    drafts = [{"kind": "Agent", "name": "", "spec": {"no such field": 1}}]
    text = api.call("POST", "/definitions/write", {"documents": drafts})["text"]
    assert text == "kind: Agent\nname: ''\nspec:\n  no such field: 1\n"


def test_the_schema_lists_the_kinds_and_the_words_of_a_choice(api: Api) -> None:
    schema = api.call("GET", "/definitions/schema")
    kinds = {each["title"]: each["properties"]["spec"]["properties"] for each in schema["oneOf"]}
    assert tuple(kinds) == KINDS
    assert "risk_level" in kinds["Rule"]["scope_type"]["enum"]
    assert kinds["Rule"]["action"]["anyOf"][0]["enum"] == list(ACTIONS)


def test_others_are_answered_while_a_long_text_is_read(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, others, documents = asyncio.Event(), threading.Event(), definition_text.documents
    loops: list[asyncio.AbstractEventLoop] = []

    def long(file: str, text: str) -> Iterator[PlacedDocument]:
        loops[0].call_soon_threadsafe(begun.set)
        assert others.wait(60)
        yield from documents(file, text)

    monkeypatch.setattr(definition_text, "documents", long)
    answers: list[int] = []

    async def both() -> None:
        loops.append(asyncio.get_running_loop())
        reading = asyncio.create_task(api.send("POST", "/definitions/read", {"text": "kind: Agent\nname: a\n"}))
        await begun.wait()
        answers.append((await api.send("GET", "/agents")).status_code)
        others.set()
        answers.append((await reading).status_code)

    api.run(both())
    assert answers == [200, 200]
