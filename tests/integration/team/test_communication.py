"""The skill `agent_communication` on a real stack: agents that ask agents, on one stream, with one budget."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import uuid
from typing import Any

import pytest
from temporalio.client import Client

from tests.support.demo_scripts import script, shell
from tests.support.stack import Stack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
FILES = {"name": "files", "type": "file_system", "configuration": {}}


def ask(agent: str, task: str, **arguments: Any) -> dict[str, Any]:
    return {"name": "execute_agent", "arguments": {"agent": agent, "task": task, **arguments}}


def of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [e["data"] for e in events if e["event"] == kind]


class Agents:
    """One that asks, and others that are asked, with names that are their own in this stack."""

    def __init__(self, stack: Stack, *others: str, configuration: dict[str, Any] | None = None, **terms: Any) -> None:
        self.stack, self.mark = stack, uuid.uuid4().hex[:6]
        for name in others:
            stack.agent(self.name(name), skills=[SHELL, FILES])
        terms = {"allowed_agents": [self.name(name) for name in others], **terms}
        skill = {"name": "others", "type": "agent_communication", "configuration": terms}
        self.skill = skill
        self.asking = stack.agent(self.name("asking"), skills=[skill, FILES], configuration=configuration or {})

    def name(self, agent: str) -> str:
        return f"{agent}-{self.mark}"

    def execute(self, *steps: dict[str, Any], **body: Any) -> str:
        return self.stack.execute(script(*steps), agent=self.asking, **body)

    def run(self, *steps: dict[str, Any]) -> list[dict[str, Any]]:
        return list(self.stack.events(self.execute(*steps)))


def test_an_agent_asks_two_at_the_same_time_and_all_of_it_is_one_stream(stack: Stack) -> None:
    agents = Agents(stack, "logs", "disk")
    tasks = {"logs": script(shell("echo one"), {"text": "L"}), "disk": script({"text": "D"})}
    asked = [ask(agents.name(name), task, context="a fact") for name, task in tasks.items()]
    events = agents.run({"text": "Asking.", "tools": asked}, {"text": "L and D."})
    assert (events[-1]["data"]["status"], events[-1]["data"]["response"]) == ("completed", "L and D.")
    done = {e["delegate"]: e["tool_output"] for e in of(events, "tool_completed")}
    assert done == {agents.name("logs"): "L", agents.name("disk"): "D"}
    (tool,) = of(events, "member_tool_completed")
    assert (tool["member_name"], tool["tool_output"].strip()) == (agents.name("logs"), "one")
    assert {e["member_name"] for e in of(events, "member_message_chunk")} == {agents.name("logs"), agents.name("disk")}
    turns = stack.call("GET", f"/executions/{events[-1]['data']['execution_id']}")
    assert turns["usage"]["total_tokens"] > 0


def test_the_demo_model_leads_nobody_who_is_no_member(stack: Stack) -> None:
    done = stack.wait(stack.execute("hello", agent=Agents(stack, "other").asking))
    assert done["status"] == "completed" and "execute_agent failed" not in done["response"]


def test_the_budget_is_one(stack: Stack) -> None:
    agents = Agents(stack, "loops", configuration={"budgets": {"max_steps": 4}})
    events = agents.run({"tools": [ask(agents.name("loops"), script({"loop": shell("true")}))]}, {"text": "?"})
    assert events[-1]["data"]["status"] == "failed"
    assert len(of(events, "member_message_complete")) == 3  # and one of the asking agent
    assert "budget of 4 model calls" in json.dumps(events[-1]["data"])


@pytest.mark.parametrize(
    ("terms", "asked", "reason"),
    [
        ({}, "stranger", "There is no agent 'stranger' that may be asked; may be asked: "),
        ({"allowed_agents": ["nobody-*"]}, "", "There is no agent "),
        ({"max_execution_depth": 0}, "", "`max_execution_depth` is 0, and this is at depth 0"),
    ],
)
def test_who_may_not_be_asked_is_not(stack: Stack, terms: dict[str, Any], asked: str, reason: str) -> None:
    agents = Agents(stack, "other", **terms)
    events = agents.run({"tools": [ask(asked or agents.name("other"), "hello")]}, {"text": "No."})
    (done,) = of(events, "tool_completed")
    assert done["status"] == "failed" and reason in done["tool_error"]
    assert events[-1]["data"]["response"] == "No."


def test_depth_is_counted_along_the_way_and_the_strictest_holds(stack: Stack) -> None:
    agents = Agents(stack, "last", max_execution_depth=2, allowed_agents="*")
    middle = {**agents.skill, "configuration": {"allowed_agents": "*", "max_execution_depth": 10}}
    for name in ("first", "second"):
        stack.agent(agents.name(name), skills=[middle])
    third = script({"tools": [ask(agents.name("last"), "hello")]}, {"text": "S"})
    second = script({"tools": [ask(agents.name("second"), third)]}, {"text": "F"})
    events = agents.run({"tools": [ask(agents.name("first"), second)]}, {"text": "A"})
    assert events[-1]["data"]["response"] == "A"
    results = {e["delegate"]: e for e in [*of(events, "member_tool_completed"), *of(events, "tool_completed")]}
    assert results[agents.name("first")]["tool_output"] == "F"
    assert results[agents.name("second")]["tool_output"] == "S"
    assert "may be nested 2 deep here" in results[agents.name("last")]["tool_error"]


def test_an_approval_of_the_asked_shows_on_the_askers_stream(stack: Stack) -> None:
    agents = Agents(stack, "writer")
    save = {"tools": [{"name": "save_file", "arguments": {"path": "note.txt", "content": "x"}}]}
    execution = agents.execute({"tools": [ask(agents.name("writer"), script(save, {"text": "W"}))]}, {"text": "A"})
    asked = stack.first(execution, "approval_requested")
    assert asked["member_path"] == [agents.name("asking"), agents.name("writer")]
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
    assert stack.wait(execution)["response"] == "A"


def test_no_more_work_at_the_same_time_than_the_terms_say(stack: Stack) -> None:
    agents = Agents(stack, "one", "two", "three", max_concurrent_calls=1)
    names = [agents.name(name) for name in ("one", "two", "three")]
    tools = [ask(name, script(shell("sleep 0.3"), {"text": "done"})) for name in names]
    events = agents.run({"tools": tools}, {"text": "A"})
    at_work: set[str] = set()
    for message in of(events, "member_message_complete"):  # of one's last word the asking agent tells a moment later
        if message.get("tool_calls"):
            at_work.add(message["member_name"])
        else:
            at_work.discard(message["member_name"])
        assert len(at_work) <= 1
    assert [e["status"] for e in of(events, "tool_completed")] == ["success"] * 3


def test_what_is_asked_can_be_told_the_request_and_kept_quiet(stack: Stack) -> None:
    agents = Agents(stack, "other", inherit_context=True, streaming_enabled=False)
    request = ({"tools": [ask(agents.name("other"), "Hello there")]}, {"text": "A"})
    execution = agents.execute(*request)
    events = list(stack.events(execution))
    assert not of(events, "member_message_chunk") and len(of(events, "member_message_complete")) >= 1

    async def heard() -> str:
        client = await Client.connect(stack.temporal_address)
        handle = client.get_workflow_handle(f"agent-execution-{execution}.1")
        page = await handle.query("get_transcript", 0, result_type=dict)
        return str(page["messages"][0]["content"])

    assert asyncio.run(heard()) == f"Hello there\n\nThe request that this is part of:\n{script(*request)}"


def test_an_execution_that_nobody_waits_for_is_followed_by_its_id(stack: Stack) -> None:
    agents = Agents(stack, "other", wait_for_completion=False)
    start = {"tools": [ask(agents.name("other"), script({"text": "I did it."}))]}
    first = agents.execute({"text": "Ready."}, execution_metadata={"interactive": True})
    stack.wait_for_turn(first, 1)

    def say(*steps: dict[str, Any]) -> None:
        stack.call("POST", f"/executions/{first}/message", {"message": script(*steps)})

    say(start, {"text": "Begun."})
    stack.wait_for_turn(first, 2)
    begun = stack.first(first, "tool_completed")
    child = begun["tool_result"].get("execution_id")
    assert child, begun["tool_error"]
    assert child in begun["tool_output"]
    row = stack.wait(child)
    assert (row["response"], row["parent_execution_id"]) == ("I did it.", first)
    assert row["execution_metadata"]["execution_depth"] == 1
    look = {"name": "get_execution_status", "arguments": {"execution_id": child}}
    tell = {"name": "followup_execution", "arguments": {"execution_id": child, "message": "More."}}
    strange = {"name": "get_execution_status", "arguments": {"execution_id": agents.execute({"text": "?"})}}
    say({"tools": [look, tell, strange]}, {"text": "Seen."})
    stack.wait_for_turn(first, 3)
    stack.call("POST", f"/executions/{first}/mark-done")
    events = list(stack.events(first))
    outputs = [e["tool_output"] or e["tool_error"] for e in of(events, "tool_completed")][1:]
    assert f"{agents.name('other')}: completed\nI did it." in outputs
    assert any("It is completed and takes no more messages" in output for output in outputs)
    assert any("that was started from here" in output for output in outputs)


@pytest.mark.slow
def test_a_worker_that_is_killed_while_another_agent_works_loses_nothing(stack: Stack) -> None:
    agents = Agents(stack, "slow")
    queue = stack.queue(f"own-{agents.mark}")
    worker = stack.worker(f"own-{agents.mark}")
    task = script(shell("echo once"), shell("sleep 3"), {"text": "S"})
    execution = agents.execute({"tools": [ask(agents.name("slow"), task)]}, {"text": "A"}, queue=queue)
    stack.first(execution, "member_tool_completed")
    os.kill(worker.pid, signal.SIGKILL)
    second = stack.worker(f"own-{agents.mark}")
    done = stack.wait(execution, timeout=90)
    assert (done["status"], done["response"]) == ("completed", "A")
    events = list(stack.events(execution))
    assert len([e for e in of(events, "member_tool_completed") if e["tool_output"].strip() == "once"]) == 1
    second.signal(signal.SIGTERM)
    assert second.wait(60) == 0
