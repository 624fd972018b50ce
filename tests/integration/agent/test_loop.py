"""The agent loop on a real stack: turns, tools, approvals, messages, pause, cancel, budgets."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from temporalio.client import Client

from tests.support.demo_scripts import script, shell, until
from tests.support.stack import Stack, wait_until

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
FILES = {"name": "files", "type": "file_system", "configuration": {}}


def agent(stack: Stack, *skills: dict[str, Any], **fields: Any) -> str:
    return stack.agent(f"agent-{uuid.uuid4().hex[:8]}", skills=list(skills), **fields)


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [e["event"] for e in events]


def test_a_run_with_parallel_tools_answers_and_every_event_comes_once_in_order(stack: Stack) -> None:
    execution = stack.execute(
        script(shell("echo one", "echo two", text="Looking."), {"text": "It is one and two."}),
        agent=agent(stack, SHELL),
    )
    events = list(stack.events(execution))
    done = events[-1]["data"]
    assert (done["status"], done["response"]) == ("completed", "It is one and two.")
    assert [int(e["id"].split("_")[-2]) for e in events] == list(range(1, len(events) + 1))
    assert kinds(events).count("tool_started") == kinds(events).count("tool_completed") == 2
    outputs = {e["data"]["tool_output"].strip() for e in events if e["event"] == "tool_completed"}
    assert outputs == {"one", "two"}
    chunks = "".join(e["data"]["content"] for e in events if e["event"] == "message_chunk")
    assert chunks == "Looking.It is one and two."
    row = stack.execution(execution)
    assert row["usage"]["total_tokens"] > 0
    session = stack.call("GET", f"/executions/{execution}/session")
    assert [m["role"] for m in session["messages"]] == ["user", "assistant", "tool", "tool", "assistant"]


def test_an_approval_waits_and_the_answer_runs_the_tool(stack: Stack) -> None:
    call = {"name": "save_file", "arguments": {"path": "note.txt", "content": "hello"}}
    execution = stack.execute(script({"tools": [call]}, {"text": "Saved."}), agent=agent(stack, FILES))
    asked = stack.first(execution, "approval_requested")
    assert stack.wait(execution, "waiting_for_input")["status"] == "waiting_for_input"
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
    assert stack.wait(execution)["status"] == "completed"
    saved = stack.folder / "workspaces" / execution / "note.txt"
    assert saved.read_text() == "hello"


def test_a_denial_is_told_to_the_model_and_nothing_runs(stack: Stack) -> None:
    call = {"name": "save_file", "arguments": {"path": "note.txt", "content": "hello"}}
    execution = stack.execute(script({"tools": [call]}, {"text": "Not saved."}), agent=agent(stack, FILES))
    asked = stack.first(execution, "approval_requested")
    stack.call("POST", f"/approvals/{asked['approval_id']}/reject", {"reason": "not now"})
    assert stack.wait(execution)["response"] == "Not saved."
    assert not (stack.folder / "workspaces" / execution / "note.txt").exists()
    messages = stack.call("GET", f"/executions/{execution}/session")["messages"]
    assert "Denied by local@localhost. Reason: not now" in messages[2]["content"]


def test_edited_arguments_are_what_runs(stack: Stack) -> None:
    call = {"name": "save_file", "arguments": {"path": "note.txt", "content": "hello"}}
    execution = stack.execute(script({"tools": [call]}, {"text": "Saved."}), agent=agent(stack, FILES))
    asked = stack.first(execution, "approval_requested")
    edited = {"path": "other.txt", "content": "bye"}
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {"arguments": edited})
    assert stack.wait(execution)["status"] == "completed"
    folder = stack.folder / "workspaces" / execution
    assert [p.name for p in folder.iterdir()] == ["other.txt"]


def test_a_chat_waits_for_messages_and_hears_each_once(stack: Stack) -> None:
    execution = stack.execute("hello", agent=agent(stack), execution_metadata={"interactive": True})
    stack.wait(execution, "waiting_for_input")
    message = {"message": script({"text": "second answer"}), "message_id": "m1"}
    stack.call("POST", f"/executions/{execution}/message", message)
    for event in stack.events(execution, until="nothing"):
        if event["event"] == "message" and event["data"]["content"] == "second answer":
            break
    stack.call("POST", f"/executions/{execution}/message", message)
    stack.call("POST", f"/executions/{execution}/mark-done")
    assert stack.wait(execution)["status"] == "completed"
    messages = stack.call("GET", f"/executions/{execution}/session")["messages"]
    assert [m["message_id"] for m in messages].count("m1") == 1
    assert messages[-1]["content"] == "second answer"


def test_a_message_while_it_runs_reaches_the_next_model_call(stack: Stack) -> None:
    gate = stack.folder / f"gate-{uuid.uuid4().hex}"
    execution = stack.execute(script(shell(until(gate)), {"text": "first"}, {"text": "x"}), agent=agent(stack, SHELL))
    stack.first(execution, "tool_started")
    said = script({"text": "heard you"})
    stack.call("POST", f"/executions/{execution}/message", {"message": said})
    # The reply does not wait for Temporal: the workflow has to have it before the tool ends.
    wait_until(lambda: stack.state(execution)["metadata"]["messages_waiting"], 60, "it has the message")
    gate.touch()
    assert stack.wait(execution)["response"] == "heard you"


def test_cancel_stops_a_running_tool_and_the_status_stays(stack: Stack) -> None:
    marker = stack.trace("ran")
    execution = stack.execute(
        script(shell(f"sh -c 'sleep 20; touch {marker}'"), {"text": "never"}), agent=agent(stack, SHELL)
    )
    stack.first(execution, "tool_started")
    stack.call("POST", f"/executions/{execution}/cancel")
    assert stack.wait(execution)["status"] == "cancelled"
    for event in stack.events(execution, until="tool_completed"):
        if event["event"] == "tool_completed":
            assert event["data"]["status"] == "failed"
            break
    assert not marker.exists()
    wait_until(lambda: stack.execution(execution)["usage"], 60, "the usage of a cancelled run")
    assert stack.execution(execution)["status"] == "cancelled"
    kept = stack.call("GET", f"/executions/{execution}/session")["messages"]
    assert [message["role"] for message in kept] == ["user", "assistant"], "what was said before stays readable"


def test_pause_holds_the_next_step_until_resume(stack: Stack) -> None:
    gate = stack.folder / f"gate-{uuid.uuid4().hex}"
    execution = stack.execute(script(shell(until(gate)), {"text": "after"}), agent=agent(stack, SHELL))
    stack.first(execution, "tool_started")
    assert stack.call("POST", f"/executions/{execution}/pause")["success"]
    wait_until(lambda: stack.state(execution)["is_paused"], 60, "the workflow has heard it")
    gate.touch()
    for event in stack.events(execution, until="tool_completed"):
        assert event["event"] != "done"
    assert stack.state(execution)["status"] == "paused"
    assert stack.call("POST", f"/executions/{execution}/resume")["success"]
    assert stack.wait(execution)["response"] == "after"


def test_a_model_that_never_stops_calling_tools_meets_its_budget(stack: Stack) -> None:
    looping = agent(stack, SHELL, configuration={"budgets": {"max_steps": 5}})
    execution = stack.execute(script({"loop": shell("true")}), agent=looping)
    row = stack.wait(execution)
    assert row["status"] == "failed"
    assert "budget of 5 model calls" in row["error_message"]


def test_a_run_goes_on_without_the_skills_that_the_worker_has_not(stack: Stack) -> None:
    slack = {"name": "chat", "type": "slack", "configuration": {"timeout": 30}}
    prompt = script(shell("echo here"), {"text": "done"})
    execution = stack.execute(prompt, agent=agent(stack, SHELL, slack))
    events = list(stack.events(execution))
    told = [event["data"]["message"] for event in events if event["event"] == "notice"]
    assert len(told) == 1 and "'chat' (slack) is not available" in told[0] and "MCP server" in told[0]
    assert stack.execution(execution)["response"] == "done"


def test_an_agent_may_refuse_to_run_without_one_of_its_skills(stack: Stack) -> None:
    wrong = {"name": "web", "type": "shel", "configuration": {}}
    strict = agent(stack, wrong, configuration={"on_unsupported_skill": "fail"})
    row = stack.wait(stack.execute("hello", agent=strict))
    assert row["status"] == "failed"
    assert "Did you mean 'shell'?" in row["error_message"]
    misspelt = agent(stack, wrong)
    stack.call("PATCH", f"/agents/{misspelt}", {"configuration": {"on_unsupported_skill": "stop"}}, 422)
    stack.store("agents", misspelt, configuration={"on_unsupported_skill": "stop"})
    row = stack.wait(stack.execute("hello", agent=misspelt))
    assert row["status"] == "failed" and '"skip" or "fail"' in row["error_message"]


@pytest.mark.parametrize("lists", [{"disallowed_tools": ["shell"]}, {"allowed_tools": ["save_file"]}])
def test_a_tool_that_the_configuration_does_not_permit_never_runs(stack: Stack, lists: dict[str, list[str]]) -> None:
    prompt = script(shell("touch made"), {"text": "I may not."})
    execution = stack.execute(prompt, agent=agent(stack, SHELL, configuration=lists))
    assert stack.wait(execution)["response"] == "I may not."
    assert not (stack.folder / "workspaces" / execution / "made").exists()
    (told,) = [m for m in stack.call("GET", f"/executions/{execution}/session")["messages"] if m["role"] == "tool"]
    assert told["status"] == "denied"


def test_malformed_tool_arguments_and_unknown_tools_are_told_to_the_model(stack: Stack) -> None:
    calls = [{"name": "shell", "arguments": '{"command": '}, {"name": "nothing", "arguments": {}}]
    execution = stack.execute(script({"tools": calls}, {"text": "I see."}), agent=agent(stack, SHELL))
    assert stack.wait(execution)["response"] == "I see."
    tools = [m for m in stack.call("GET", f"/executions/{execution}/session")["messages"] if m["role"] == "tool"]
    assert all(m["status"] == "failed" for m in tools)
    assert "There is no tool 'nothing'" in tools[1]["content"]


def test_what_others_wrote_makes_the_next_command_ask_if_the_agent_says_so(stack: Stack) -> None:
    prompt = script(shell("echo one", "echo two"), shell("touch made"), {"text": "Done."})
    careful = agent(stack, SHELL, configuration={"taint": "ask"})
    execution = stack.execute(prompt, agent=careful)
    asked = stack.first(execution, "approval_requested")
    assert asked["tool_args"] == {"command": "touch made"}
    assert "run code" in asked["reason"] and "read what others wrote" in asked["reason"]
    made = stack.folder / "workspaces" / execution / "made"
    assert not made.exists()
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
    assert stack.wait(execution)["status"] == "completed" and made.exists()

    execution = stack.execute(prompt, agent=agent(stack, SHELL))
    assert stack.wait(execution)["status"] == "completed"
    assert "approval_requested" not in kinds(list(stack.events(execution)))


def test_what_was_read_is_not_forgotten_when_the_history_begins_anew(stack: Stack) -> None:
    # Their results hold nothing of others; each is another call, so that none counts as repeated.
    harmless = [{"text": "", "tools": [{"name": f"no_such_tool_{n}", "arguments": {}}]} for n in range(70)]
    steps = [shell("echo one"), *harmless, shell("touch made"), {"text": "Done."}]
    execution = stack.execute(script(*steps), agent=agent(stack, SHELL, configuration={"taint": "ask"}))
    asked = stack.first(execution, "approval_requested")
    assert asked["tool_args"] == {"command": "touch made"}
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
    assert stack.wait(execution)["status"] == "completed"

    async def runs() -> tuple[str, str, set[str]]:
        client = await Client.connect(stack.temporal_address)
        workflow_id = f"agent-execution-{execution}"
        found = (await client.get_workflow_handle(workflow_id).describe()).raw_description.workflow_execution_info
        history = await client.get_workflow_handle(workflow_id, run_id=found.first_run_id).fetch_history()
        began = {x.activity_task_scheduled_event_attributes.activity_type.name for x in history.events}
        return found.first_run_id, found.execution.run_id, began

    first, last, activities = asyncio.run(runs())
    assert first != last  # or this test shows nothing
    assert "pack_state" in activities, "the workflow's own thread does not pack"
