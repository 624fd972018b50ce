"""A3: an approval by somebody whom the rule does not name is refused, for each role and each kind of rule."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from kubiya_worker.server.approvers import Approvers, approvers
from kubiya_worker.server.person import ROLES, Person
from tests.support.api import Api

Object = dict[str, Any]
RULES: dict[str, Object | None] = {
    "none": None,
    "nobody": {},
    "email": {"approver_type": "user_emails", "approver_value": "Ann@Example.org, bob@example.org"},
    "group": {"approver_type": "group", "approver_value": ["sre"]},
    "role": {"approver_type": "role", "approver_value": "operator"},
    "approvers": {"approver_type": "role", "approver_value": ["approver"]},
    "separate": {"separate_approver": True},
    "email and separate": {
        "approver_type": "user_emails",
        "approver_value": ["ann@example.org", "bob@example.org"],
        "separate_approver": True,
    },
}
# By rule: the persons who may answer, as role:name. Cat asked for the work in all of them, and Bob told it something.
MAY = {
    "none": {f"{role}:{name}" for role in ("approver", "admin") for name in ("ann", "bob", "cat", "dan")},
    "nobody": {f"{role}:{name}" for role in ("approver", "admin") for name in ("ann", "bob", "cat", "dan")},
    "email": {f"{role}:{name}" for role in ("operator", "approver", "admin") for name in ("ann", "bob")},
    "group": {f"{role}:dan" for role in ("operator", "approver", "admin")},
    "role": {f"operator:{name}" for name in ("ann", "bob", "cat", "dan")},
    "approvers": {f"approver:{name}" for name in ("ann", "bob", "cat", "dan")},
    "separate": {f"{role}:{name}" for role in ("approver", "admin") for name in ("ann", "dan")},
    "email and separate": {f"{role}:ann" for role in ("operator", "approver", "admin")},
}
NAMES = {"ann": (), "bob": (), "cat": ("other",), "dan": ("sre", "other")}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(tmp_path_factory.mktemp("approvers")) as made:
        yield made


@pytest.fixture(scope="module")
def keys(api: Api) -> dict[str, Object]:
    """One key for each role and each person, by role:name."""
    return {
        f"{role}:{name}": api.key(role, name, email=f"{name}@example.org", groups=list(groups))["headers"]
        for role in ROLES
        for name, groups in NAMES.items()
    }


def asked(api: Api, keys: dict[str, Object], rule: str | None, by: str = "operator:cat") -> tuple[str, str]:
    """Start an execution as Cat, let Bob say something to it, and return it with a request for approval."""
    body = {"prompt": "Look.", "worker_queue_id": "default"}
    execution = str(api.call("POST", "/agents/ops/execute", body, headers=keys[by])["execution_id"])
    api.call("POST", f"/executions/{execution}/message", {"message": "Hurry."}, headers=keys["operator:bob"])
    about = {"execution_id": execution, "tool_name": "shell", **({"rule_id": rule} if rule else {})}
    return execution, str(api.call("POST", "/approvals", about, 201)["id"])


def new_rule(api: Api, name: str, **fields: Any) -> str:
    made = api.call("POST", "/approval-rules", {"name": name, "scope_type": "all", **fields}, 201)
    return str(made["id"])


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_only_those_whom_the_rule_names_may_answer(api: Api, keys: dict[str, Object], kind: str, verb: str) -> None:
    """The rule's fields are approver_type and approver_value."""
    fields = RULES[kind]
    rule = new_rule(api, f"{kind} {verb}", **fields) if fields is not None else None
    answered, wrong = set(), []
    for who, headers in keys.items():
        execution, approval = asked(api, keys, rule)
        told = api.ask("POST", f"/approvals/{approval}/{verb}", {"reason": "r"}, headers=headers)
        signals = [t["argument"]["name"] for t in api.told(execution) if t["action"] == "signal"]
        shown = api.call("GET", f"/approvals/{approval}")
        if told.status_code == 200:
            answered.add(who)
            assert "resolve_approval" in signals and shown["approved_by_name"] == who.partition(":")[2]
        elif told.status_code != 403 or "resolve_approval" in signals or shown["status"] != "pending":
            wrong.append((who, told.status_code, signals, shown["status"]))
        else:
            mine = api.call("GET", f"/approvals/{approval}", headers=headers)
            assert mine["you_may_answer"] is False and mine["approvers"]["text"]
    assert not wrong
    assert answered == MAY[kind]


def test_a_refusal_and_the_list_say_who_may_answer(api: Api, keys: dict[str, Object]) -> None:
    rule = new_rule(api, "said", approver_type="group", approver_value="sre,dba")
    _, approval = asked(api, keys, rule)
    told = api.call("POST", f"/approvals/{approval}/approve", {}, 403, headers=keys["admin:ann"])["detail"]
    assert told == (
        "ann (ann@example.org) may not answer this. It may be answered by members of the groups sre and dba"
    )
    listed = {a["id"]: a for a in api.call("GET", "/approvals?status=pending&limit=500", headers=keys["viewer:ann"])}
    assert listed[approval]["approvers"]["groups"] == ["sre", "dba"]
    waiting = {a["id"]: a for a in api.call("GET", "/approvals/pending", headers=keys["operator:dan"])}
    assert waiting[approval]["you_may_answer"] is True


def test_nobody_approves_what_they_asked_for(api: Api, keys: dict[str, Object]) -> None:
    """`separate_approver`: also not with another key of the same person, and not what a child execution asks for."""
    rule = new_rule(api, "four eyes", separate_approver=True)
    parent, approval = asked(api, keys, rule)
    told = api.call("POST", f"/approvals/{approval}/approve", {}, 403, headers=keys["admin:cat"])["detail"]
    assert "cat (cat@example.org) asked for this work" in told
    body = {"prompt": "Look.", "worker_queue_id": "default", "parent_execution_id": parent}
    child = api.call("POST", "/agents/ops/execute", body, headers=keys["worker:ann"])["execution_id"]
    request = {"execution_id": child, "tool_name": "shell", "rule_id": rule}
    second = api.call("POST", "/approvals", request, 201)["id"]
    api.call("POST", f"/approvals/{second}/approve", {}, 403, headers=keys["admin:cat"])
    api.call("POST", f"/approvals/{second}/approve", {}, 403, headers=keys["admin:ann"])  # the worker's key is hers
    api.call("POST", f"/approvals/{second}/approve", {}, 200, headers=keys["approver:dan"])


def test_a_jobs_run_was_asked_for_by_who_changed_the_job_last(api: Api, keys: dict[str, Object]) -> None:
    rule = new_rule(api, "jobs", separate_approver=True)
    job = {"name": "nightly", "trigger_type": "cron", "cron_schedule": "0 3 * * *", "entity_type": "agent"}
    job |= {"entity_id": "ops", "prompt_template": "Look.", "executor_type": "auto"}
    made = api.call("POST", "/jobs", job, 201, headers=keys["operator:ann"])
    api.call("PATCH", f"/jobs/{made['id']}", {"prompt_template": "Look well."}, headers=keys["operator:cat"])
    run: Object = {"execution_id": "run-1", "organization_id": "local", "entity_type": "agent", "prompt": "Look well."}
    run |= {"entity_id": "ops", "trigger_type": "cron", "trigger_metadata": {}, "job_id": made["id"]}
    api.call("POST", "/executions/create", run, 201, headers=keys["worker:dan"])
    request = {"execution_id": "run-1", "tool_name": "shell", "rule_id": rule}
    approval = api.call("POST", "/approvals", request, 201, headers=keys["worker:dan"])["id"]
    api.call("POST", f"/approvals/{approval}/approve", {}, 403, headers=keys["admin:cat"])
    api.call("POST", f"/approvals/{approval}/approve", {}, 200, headers=keys["admin:ann"])


def test_what_certain_persons_start_needs_no_approval(api: Api, keys: dict[str, Object]) -> None:
    """`auto_approve_roles` are roles or groups of the person who started the execution."""
    rule = new_rule(api, "trusted", auto_approve_roles=["admin", "sre"])
    for by, free in (("admin:ann", True), ("operator:dan", True), ("operator:cat", False)):
        execution, approval = asked(api, keys, rule, by)
        shown = api.call("GET", f"/approvals/{approval}")
        sent = [t["argument"] for t in api.told(execution) if t["action"] == "signal"]
        answers = [one["args"][0] for one in sent if one["name"] == "resolve_approval"]
        assert (shown["status"], len(answers)) == (("approved", 1) if free else ("pending", 0)), by
        if free:
            assert answers[0]["decision"] == "approved" and "trusted" in answers[0]["approver"]["name"]
            events = [e["event_type"] for e in api.call("GET", f"/executions/{execution}/events")]
            assert events.index("approval_requested") < events.index("approval_resolved")


@pytest.mark.parametrize("context", [{"several_judges": True}, {"question": True}])
def test_such_a_rule_does_not_answer_for_other_judges(api: Api, keys: dict[str, Object], context: Object) -> None:
    rule = new_rule(api, f"trusted-{next(iter(context))}", auto_approve_roles=["admin"])
    execution, _ = asked(api, keys, None, "admin:ann")
    about = {"execution_id": execution, "tool_name": "shell", "rule_id": rule, "enforcement_context": context}
    assert api.call("POST", "/approvals", about, 201)["status"] == "pending"


def test_the_rule_of_now_counts_and_a_deleted_one_stays_as_strict(api: Api, keys: dict[str, Object]) -> None:
    rule = new_rule(api, "moves", approver_type="user_emails", approver_value="ann@example.org")
    _, approval = asked(api, keys, rule)
    api.call("PUT", f"/approval-rules/{rule}", {"approver_value": "dan@example.org"})
    api.call("POST", f"/approvals/{approval}/approve", {}, 403, headers=keys["admin:ann"])
    _, second = asked(api, keys, rule)
    known = api.plane.stores.rules.find("local", rule)
    assert known is not None
    api.plane.stores.rules.delete(known)  # the route refuses it while a request waits
    api.call("POST", f"/approvals/{second}/approve", {}, 403, headers=keys["admin:bob"])
    api.call("POST", f"/approvals/{second}/approve", {}, 200, headers=keys["approver:dan"])


def test_a_rule_of_the_workers_host_names_its_approvers_in_the_request(api: Api, keys: dict[str, Object]) -> None:
    execution = api.execute()
    cases: list[tuple[Object, str]] = [
        ({"approver_emails": ["ann@example.org"]}, "approver:ann"),
        ({"enforcement_context": {"approver_group_name": "sre"}}, "operator:dan"),
    ]
    for about, may in cases:
        request = {"execution_id": execution, "tool_name": "shell", **about}
        approval = api.call("POST", "/approvals", request, 201)["id"]
        api.call("POST", f"/approvals/{approval}/approve", {}, 403, headers=keys["admin:bob"])
        api.call("POST", f"/approvals/{approval}/approve", {}, 200, headers=keys[may])


def test_an_agents_question_may_be_answered_by_who_may_start_it(api: Api, keys: dict[str, Object]) -> None:
    request = {"execution_id": api.execute(), "tool_name": "ask", "enforcement_context": {"question": True}}
    approval = api.call("POST", "/approvals", request, 201)["id"]
    api.call("POST", f"/approvals/{approval}/approve", {"answer": "blue"}, 403, headers=keys["viewer:ann"])
    api.call("POST", f"/approvals/{approval}/approve", {"answer": "blue"}, 200, headers=keys["operator:cat"])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"approver_value": "ann@example.org"}, "approver_type"),
        ({"approver_type": "group"}, "approver_value"),
        ({"approver_type": "team", "approver_value": "sre"}, "approver_type"),
        ({"approver_type": "user_emails", "approver_value": "ann"}, "approver_value"),
        ({"approver_type": "role", "approver_value": "viewer"}, "approver_value"),
        ({"approver_type": "role", "approver_value": "boss"}, "approver_value"),
        ({"separate_approver": True, "auto_approve_roles": ["admin"]}, "separate_approver"),
        ({"action": "deny", "separate_approver": True}, "action"),
        ({"action": "allow", "approver_type": "group", "approver_value": "sre"}, "action"),
    ],
)
def test_approvers_that_could_not_be_honoured_are_refused(api: Api, fields: Object, field: str) -> None:
    body = {"name": "refused", "scope_type": "all", **fields}
    told = api.call("POST", "/approval-rules", body, 422)["detail"]
    assert [problem["loc"] for problem in told] == [["body", field]]


def test_a_rule_can_name_nobody_again_and_not_mix_up_kinds(api: Api) -> None:
    rule = new_rule(api, "changes", approver_type="group", approver_value="sre")
    api.call("PUT", f"/approval-rules/{rule}", {"approver_type": "user_emails"}, 422)
    told = api.call("PUT", f"/approval-rules/{rule}", {"approver_value": ""})
    assert (told["approver_type"], told["approver_value"]) == (None, None)


@pytest.mark.parametrize(("role", "groups"), list(itertools.product(ROLES, [(), ("a",), ("a", "b")])))
def test_an_empty_list_of_approvers_lets_nobody(role: str, groups: tuple[str, ...]) -> None:
    person = Person("p", "p", "", role, groups)
    assert Approvers().refusal(person)
    unnamed = {"approver_type": "group", "approver_value": [""]}
    assert approvers({}, unnamed, []).refusal(person)
