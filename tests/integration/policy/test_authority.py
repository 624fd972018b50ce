"""Rules, skills and a stop hold for executions that run or wait already, within five seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.activities.authority import FRESH
from tests.support.demo_scripts import script
from tests.support.stack import Stack, wait_until

FILES = {"name": "files", "type": "file_system", "configuration": {}}
SLEEP = {"name": "nap", "type": "sleep"}
NAP = {"tools": [{"name": "sleep", "arguments": {"seconds": 3}}]}
LIST = {"tools": [{"name": "list_files", "arguments": {}}]}
# A model call of some three seconds, longer than an answer of the control plane counts, which then asks for the tool.
LONG = {**LIST, "text": "Let me think about what is in here.", "delay_ms": 400}
BOUND = 5.0  # seconds (A2)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, shared_temporal: str) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), temporal=shared_temporal) as running:
        running.worker()
        yield running


def agent_of(stack: Stack) -> str:
    return stack.agent(f"agent-{uuid.uuid4().hex[:8]}", skills=[FILES, SLEEP])


def start(stack: Stack, *steps: dict[str, Any]) -> tuple[str, str]:
    """Start a run with these steps, and return its id and the agent's."""
    agent = agent_of(stack)
    return stack.execute(script(*steps, {"text": "Done."}), agent=agent), agent


def key_of(stack: Stack, role: str, name: str, *groups: str) -> dict[str, str]:
    """Make a key for a person, and return the headers of their requests."""
    body = {"name": name, "role": role, "email": f"{name}@example.org", "groups": list(groups)}
    return {"Authorization": f"Bearer {stack.call('POST', '/keys', body)['key']}"}


def ask_as(stack: Stack, headers: dict[str, str], path: str, body: dict[str, Any]) -> tuple[int, Any]:
    answer = stack.http.post(f"{stack.url}/api/v1{path}", json=body, headers=headers, timeout=30)
    return answer.status_code, answer.json()


def rule(stack: Stack, action: str, **fields: Any) -> str:
    body = {"name": f"rule-{uuid.uuid4().hex[:8]}", "scope_type": "tool", "scope_value": "list_files"}
    return str(stack.call("POST", "/approval-rules", {**body, "action": action, **fields})["id"])


def outcomes(stack: Stack, execution: str, tool: str = "list_files") -> list[dict[str, Any]]:
    """Return how the calls of a tool ended, those of a team's members included."""
    row = stack.wait(execution)
    assert (row["status"], row["response"]) == ("completed", "Done.")
    done = [e["data"] for e in stack.events(execution) if e["event"].endswith("tool_completed")]
    return [dict(each) for each in done if each["tool_name"] == tool]


def outcome(stack: Stack, execution: str, tool: str = "list_files") -> dict[str, Any]:
    return outcomes(stack, execution, tool)[0]


def test_a_new_deny_rule_reaches_the_next_call_of_a_running_execution(stack: Stack) -> None:
    execution, _ = start(stack, NAP, LIST)
    stack.first(execution, "tool_started")
    made = rule(stack, "deny")
    try:
        done = outcome(stack, execution)
        assert done["outcome"] == "denied" and done["enforcement"]["rule_id"] == made
        assert done["enforcement"]["rules_version"] and done["enforcement"]["rules_age_seconds"] <= BOUND
    finally:
        stack.call("DELETE", f"/approval-rules/{made}")


def test_what_a_worker_decides_by_rules_is_on_record(stack: Stack) -> None:
    allowing = rule(stack, "allow")
    denying = rule(stack, "deny", scope_value="sleep")
    try:
        execution, _ = start(stack, LIST, NAP)
        assert outcome(stack, execution)["outcome"] == "success"
        deny, allow = stack.call("GET", f"/audit?object={execution}&action=call")
        for record, action, by in ((allow, "call.allow", allowing), (deny, "call.deny", denying)):
            assert (record["action"], record["rule"]["id"]) == (action, by)
            assert record["rule"]["rules_version"] and record["rule"]["rules_age_seconds"] <= BOUND
            assert len(record["arguments_hash"]) == 64 and record["from"]["client"] == "worker"
    finally:
        for each in (allowing, denying):
            stack.call("DELETE", f"/approval-rules/{each}")


def test_a_new_deny_rule_ends_a_call_that_waits_for_its_yes(stack: Stack) -> None:
    asking = rule(stack, "ask", priority=1)
    execution, _ = start(stack, LIST)
    asked = stack.first(execution, "approval_requested")
    at = time.monotonic()
    denying = rule(stack, "deny", priority=2)
    try:
        done = outcome(stack, execution)
        assert time.monotonic() - at < BOUND
        assert done["outcome"] == "denied"
        request = stack.call("GET", f"/approvals/{asked['approval_id']}")
        assert request["status"] == "rejected" and request["approved_by_name"].startswith("the rule rule-")
        assert "denies it since" in request["rejection_reason"]
    finally:
        for each in (asking, denying):
            stack.call("DELETE", f"/approval-rules/{each}")


def test_a_deny_rule_about_arguments_reaches_a_call_that_is_approved_after_it(stack: Stack) -> None:
    asking = rule(stack, "ask", priority=1)
    execution, _ = start(stack, LIST)
    asked = stack.first(execution, "approval_requested")
    denying = rule(stack, "deny", priority=2, argument_pattern=".")
    at = time.monotonic()
    try:
        wait_until(lambda: time.monotonic() - at > FRESH, BOUND, "the answer of before is too old")
        stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
        done = outcome(stack, execution)
        assert done["outcome"] == "denied" and done["enforcement"]["rule_id"] == denying
    finally:
        for each in (asking, denying):
            stack.call("DELETE", f"/approval-rules/{each}")


def test_a_deny_rule_below_the_rule_that_asks_leaves_the_question_open(stack: Stack) -> None:
    asking = rule(stack, "ask", priority=5)
    execution, _ = start(stack, LIST)
    asked = stack.first(execution, "approval_requested")
    denying = rule(stack, "deny", priority=2)
    try:
        assert stack.call("GET", f"/approvals/{asked['approval_id']}")["status"] == "pending"
        stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
        assert outcome(stack, execution)["outcome"] == "success"
    finally:
        for each in (asking, denying):
            stack.call("DELETE", f"/approval-rules/{each}")


def test_a_rule_that_was_taken_back_asks_nobody(stack: Stack) -> None:
    made = rule(stack, "deny")
    execution, _ = start(stack, NAP, LIST)
    stack.first(execution, "tool_started")
    stack.call("DELETE", f"/approval-rules/{made}")
    assert outcome(stack, execution)["outcome"] == "success"


def test_a_skill_that_was_taken_away_is_gone_from_the_next_step(stack: Stack) -> None:
    execution, agent = start(stack, NAP, LIST)
    stack.first(execution, "tool_started")
    stack.call("PATCH", f"/agents/{agent}", {"skills": [SLEEP]})
    done = outcome(stack, execution)
    assert done["outcome"] == "denied" and "taken away" in done["tool_error"]


def test_a_new_approver_counts_for_a_call_that_waits_and_the_old_one_not_any_more(stack: Stack) -> None:
    ann, dan = key_of(stack, "approver", "ann"), key_of(stack, "approver", "dan")
    made = rule(stack, "ask", approver_type="user_emails", approver_value="ann@example.org")
    try:
        execution, _ = start(stack, LIST)
        approval = stack.first(execution, "approval_requested")["approval_id"]
        at = time.monotonic()
        named = {"approver_type": "user_emails", "approver_value": "dan@example.org"}
        stack.call("PUT", f"/approval-rules/{made}", named)
        status, told = ask_as(stack, ann, f"/approvals/{approval}/approve", {})
        assert status == 403 and "dan@example.org" in told["detail"]
        assert ask_as(stack, dan, f"/approvals/{approval}/approve", {})[0] == 200
        assert outcome(stack, execution)["outcome"] == "success"
        assert time.monotonic() - at < BOUND
    finally:
        stack.call("DELETE", f"/approval-rules/{made}")


@pytest.mark.parametrize("change", ["deny", "skill", "stop"])
def test_a_change_within_a_model_call_refuses_the_call_that_it_asks_for(stack: Stack, change: str) -> None:
    execution, agent = start(stack, LONG)
    stack.first(execution, "message_chunk")
    made = ""
    if change == "deny":
        made = rule(stack, "deny")
    elif change == "skill":
        stack.call("PATCH", f"/agents/{agent}", {"skills": [SLEEP]})
    else:
        stack.call("POST", "/stop", {"reason": "test"})
        wait_until(lambda: stack.state(execution)["status"] == "paused", 30, "the workflow has paused")
        begun = [e["event_type"] for e in stack.call("GET", f"/executions/{execution}/events")]
        stack.call("DELETE", "/stop")
        assert "tool_started" not in begun
    done = outcome(stack, execution)
    if made:
        stack.call("DELETE", f"/approval-rules/{made}")
    assert done["outcome"] == ("success" if change == "stop" else "denied")


def test_a_tool_that_runs_goes_on_and_the_next_call_of_it_is_refused(stack: Stack) -> None:
    execution, _ = start(stack, NAP, NAP)
    stack.first(execution, "tool_started")
    made = rule(stack, "deny", scope_value="sleep")
    try:
        assert [done["outcome"] for done in outcomes(stack, execution, "sleep")] == ["success", "denied"]
    finally:
        stack.call("DELETE", f"/approval-rules/{made}")


@pytest.mark.parametrize("change", ["deny", "skill", "stop", "leader"])
def test_a_change_reaches_a_team(stack: Stack, change: str) -> None:
    member = agent_of(stack)
    ask = f"ask_{stack.call('GET', f'/agents/{member}')['name']}"
    again = change == "leader"
    asking = {
        "tools": [{"name": ask, "arguments": {"task": script(NAP, *([] if again else [LIST]), {"text": "Done."})}}]
    }
    body = {"name": f"team-{uuid.uuid4().hex[:8]}", "configuration": {"member_ids": [member], "llm": {"model": "demo"}}}
    team = stack.call("POST", "/teams", body)["id"]
    request = {"prompt": script(asking, *([asking] if again else []), {"text": "Done."}), "worker_queue_id": "default"}
    execution = stack.call("POST", f"/teams/{team}/execute", request)["execution_id"]
    stack.first(execution, "member_tool_started")
    made = ""
    if change in ("deny", "leader"):
        made = rule(stack, "deny", **({"scope_value": ask} if again else {}))
    elif change == "skill":
        stack.call("PATCH", f"/agents/{member}", {"skills": [SLEEP]})
    else:
        stack.call("POST", "/stop", {"reason": "test"})
        list(stack.events(execution, until="member_tool_completed"))
        wait_until(lambda: stack.state(execution)["status"] == "paused", 30, "the leader has paused")
        begun = [e["data"].get("tool_name") for e in stack.call("GET", f"/executions/{execution}/events")]
        stack.call("DELETE", "/stop")
        assert "list_files" not in begun
    ended = [done["outcome"] for done in outcomes(stack, execution, ask if again else "list_files")]
    if made:
        stack.call("DELETE", f"/approval-rules/{made}")
    assert ended == {"leader": ["success", "denied"], "stop": ["success"]}.get(change, ["denied"])


def test_what_a_person_of_the_rules_role_starts_waits_for_nobody(stack: Stack) -> None:
    made = rule(stack, "ask", auto_approve_roles=["sre"], approver_type="role", approver_value="approver")
    eva, cat = key_of(stack, "operator", "eva", "sre"), key_of(stack, "operator", "cat")
    request = {"prompt": script(LIST, {"text": "Done."}), "worker_queue_id": "default"}
    try:
        free, waits = (
            ask_as(stack, who, f"/agents/{agent_of(stack)}/execute", request)[1]["execution_id"] for who in (eva, cat)
        )
        done = outcome(stack, free)
        assert done["outcome"] == "success" and "eva" in done["enforcement"]["approver"]
        approval = stack.first(waits, "approval_requested")["approval_id"]
        assert stack.call("GET", f"/approvals/{approval}")["status"] == "pending"
        assert ask_as(stack, cat, f"/approvals/{approval}/approve", {})[0] == 403
        assert ask_as(stack, key_of(stack, "approver", "ann"), f"/approvals/{approval}/approve", {})[0] == 200
        assert outcome(stack, waits)["outcome"] == "success"
    finally:
        stack.call("DELETE", f"/approval-rules/{made}")


def test_stop_all_holds_running_and_new_executions_until_it_is_lifted(stack: Stack) -> None:
    execution, _ = start(stack, NAP, LIST)
    stack.first(execution, "tool_started")
    told = stack.call("POST", "/stop", {"reason": "a key has leaked"})
    assert told["stopped"] and told["paused"] >= 1 and told["by"]["name"]
    try:
        assert stack.call("POST", "/stop", {"reason": "another"})["reason"] == "a key has leaked"
        refused = stack.call("POST", "/agents/ops/execute", {"prompt": "hi"}, 423)["detail"]
        assert "a key has leaked" in refused and "kubiya stop-all --lift" in refused
        stack.call("POST", f"/executions/{execution}/resume", {}, 423)
        wait_until(lambda: stack.state(execution)["status"] == "paused", 30, "the workflow has paused")
        seen = list(stack.events(execution, until="tool_completed"))
        begun = [e["data"]["tool_name"] for e in seen if e["event"] == "tool_started"]
        assert seen[-1]["data"]["outcome"] == "success"  # what ran when everything was stopped has ended by itself
    finally:
        lifted = stack.call("DELETE", "/stop")
    assert lifted["resumed"] >= 1 and not lifted["stopped"]
    assert "list_files" not in begun
    assert outcome(stack, execution)["outcome"] == "success"


def kubiya(stack: Stack, *argv: str) -> str:
    """Run `kubiya stop-all` and return what it prints."""
    command = [str(Path(sys.executable).with_name("kubiya")), "stop-all", *argv]
    environ = {**os.environ, "CONTROL_PLANE_URL": stack.url, "KUBIYA_API_KEY": stack.key}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    return f"{done.stdout}{done.stderr}({done.returncode})"


def test_the_command_stops_tells_and_lifts(stack: Stack) -> None:
    refused = kubiya(stack).replace("\n", " ")
    assert "needs one of --reason TEXT, --lift, --status. " in refused and refused.endswith("(64)")
    assert "not stopped" in kubiya(stack, "--status")
    told = kubiya(stack, "--reason", "a key has leaked")
    assert "All agents are stopped by local user" in told and "a key has leaked" in told
    assert "kubiya stop-all --lift" in told
    assert json.loads(kubiya(stack, "--status", "--json").removesuffix("(0)"))["reason"] == "a key has leaked"
    assert "Lifted." in kubiya(stack, "--lift")
    assert "not stopped" in kubiya(stack, "--status")


def test_an_execution_that_a_person_paused_stays_paused_when_a_stop_is_lifted(stack: Stack) -> None:
    execution, _ = start(stack, NAP, LIST)
    stack.first(execution, "tool_started")
    stack.call("POST", f"/executions/{execution}/pause", {})
    stack.call("POST", "/stop", {"reason": "test"})
    stack.call("DELETE", "/stop")
    assert stack.execution(execution)["status"] == "paused"
    stack.call("POST", f"/executions/{execution}/resume", {})
    assert outcome(stack, execution)["outcome"] == "success"
