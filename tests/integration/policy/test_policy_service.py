"""A real worker with a policy service: what it denies does not run, what it leaves to a person waits for one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from kubiya_worker.protocol import event_shapes
from tests.support.enforcer import ALLOW, Answer, EnforcerService
from tests.support.stack import Stack

FILES = {"name": "files", "type": "file_system", "configuration": {}}
KEY = "policy-key-canary"


@pytest.fixture(scope="module")
def service() -> Iterator[EnforcerService]:
    with EnforcerService() as running:
        yield running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, shared_temporal: str, service: EnforcerService) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), temporal=shared_temporal) as running:
        worker = running.worker(
            KUBIYA_ENFORCE_ENABLED="true",
            ENFORCER_SERVICE_URL=service.url,
            ENFORCER_API_KEY=KEY,
            KUBIYA_ENFORCE_TIMEOUT="10",
        )
        worker.expect("policy.enforcer")
        yield running
        assert not any(KEY in line for line in worker.lines)


def by_path(answers: dict[str, Answer]) -> Any:
    """An answer for each file that is asked about."""
    return lambda question: answers.get(question["tool"]["arguments"].get("path", ""), ALLOW)


def run(stack: Stack, *paths: str) -> tuple[str, str]:
    """The execution that reads these files, all at once, and the id of its agent."""
    agent = stack.agent(f"agent-{uuid.uuid4().hex[:8]}", skills=[FILES])
    tools = [{"name": "read_file", "arguments": {"path": path}} for path in paths]
    script = "demo:script " + json.dumps([{"tools": tools}, {"text": "Done."}])
    return stack.execute(script, agent=agent), agent


def completed(stack: Stack, execution: str) -> dict[str, dict[str, Any]]:
    every = list(stack.events(execution))
    assert [p for event in every for p in event_shapes.problems(event["event"], event["data"])] == []
    events = [e["data"] for e in every if e["event"] in ("tool_started", "tool_completed")]
    arguments = {d["tool_execution_id"]: d["tool_arguments"]["path"] for d in events if "tool_arguments" in d}
    return {arguments[d["tool_execution_id"]]: d for d in events if "outcome" in d}


def test_one_call_is_allowed_and_another_denied_by_name(stack: Stack, service: EnforcerService) -> None:
    service.answer = by_path({"b": {"allow": False, "id": "d-9", "policies": ["no-b"], "reason": "it is b"}})
    execution, agent = run(stack, "a", "b")
    told = completed(stack, execution)
    assert told["a"]["enforcement"]["decision"] == "allowed"
    assert told["b"]["enforcement"]["policies"] == ["no-b"] and told["b"]["outcome"] == "denied"
    assert told["b"]["tool_error"] == "Denied by policy: denied by the policy service (no-b): it is b"
    row = stack.wait(execution)
    assert (row["status"], row["response"]) == ("completed", "Done.")
    asked = [q for q in service.questions if q["execution"]["execution_id"] == execution]
    assert {q["execution"]["agent_id"] for q in asked} == {agent} and len(asked) == 2
    assert set(service.keys) == {f"Bearer {KEY}"}


def test_what_is_left_to_a_person_waits_and_the_service_is_asked_again(stack: Stack, service: EnforcerService) -> None:
    wants = {"allow": False, "approval_required": True, "policies": ["two-eyes"]}
    service.answer = by_path({"c": wants})
    execution, _ = run(stack, "c")
    asked = stack.first(execution, "approval_requested")
    assert "two-eyes" in asked["reason"] and asked["enforcement"]["policies"] == ["two-eyes"]
    approval = stack.call("GET", f"/approvals/{asked['approval_id']}")
    assert approval["enforcement_context"]["decision"] == "needs_approval"
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
    told = completed(stack, execution)["c"]["enforcement"]
    assert (told["decision"], told["approval_id"]) == ("allowed", asked["approval_id"])
    assert service.questions[-1]["metadata"]["approval"]["approval_id"] == asked["approval_id"]


def test_a_service_that_goes_away_stops_the_tools_and_not_the_run(stack: Stack) -> None:
    with EnforcerService() as own:
        queue = stack.queue("own")
        told = {"KUBIYA_ENFORCE_ENABLED": "true", "ENFORCER_SERVICE_URL": own.url, "KUBIYA_ENFORCE_TIMEOUT": "10"}
        worker = stack.worker(queue, ready=True, **told)
        agent = stack.agent("away", skills=[FILES])
        call = {"tools": [{"name": "list_files", "arguments": {}}]}
        script = "demo:script " + json.dumps([call, {"text": "Done."}])
        first = completed_names(stack, stack.execute(script, agent=agent, queue=queue))
        assert first == ["success"] and own.keys == [""]  # the worker's own key is for the control plane only
        own.stop()
        execution = stack.execute(script, agent=agent, queue=queue)
        assert completed_names(stack, execution) == ["denied"]
        assert stack.wait(execution)["response"] == "Done."
        worker.kill()


def completed_names(stack: Stack, execution: str) -> list[str]:
    return [e["data"]["outcome"] for e in stack.events(execution) if e["event"] == "tool_completed"]
