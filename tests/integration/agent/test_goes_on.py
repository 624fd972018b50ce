"""A conversation that is over goes on: the same execution and history, whatever ended it, on a real stack."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from temporalio.client import Client

from tests.support.demo_scripts import script, shell, until
from tests.support.stack import Stack
from tests.support.supervised import until as eventually

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}


def agent(stack: Stack, **fields: Any) -> str:
    return stack.agent(f"agent-{uuid.uuid4().hex[:8]}", skills=[SHELL], **fields)


def say(stack: Stack, execution: str, text: str, **fields: Any) -> Any:
    return stack.call("POST", f"/executions/{execution}/message", {"message": text, **fields}, 202)


def session(stack: Stack, execution: str) -> list[tuple[str, str]]:
    found = stack.call("GET", f"/executions/{execution}/session")["messages"]
    return [(message["role"], message["content"]) for message in found]


def stored(stack: Stack, execution: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.call("GET", f"/executions/{execution}/events?limit=1000")
    return found


def over(stack: Stack, execution: str) -> dict[str, Any]:
    """Return the row of an execution that went on, when it is over again: the stream has one end."""
    (*_, last) = stack.events(execution)
    return {**stack.execution(execution), "told": last["data"]}


def runs(stack: Stack, execution: str) -> int:
    """Return how many runs of the execution's workflow Temporal knows."""

    async def count() -> int:
        client = await Client.connect(stack.temporal_address)
        query = f"WorkflowId = 'agent-execution-{execution}'"
        return len([each async for each in client.list_workflows(query)])

    return asyncio.run(count())


def test_a_completed_conversation_goes_on_with_its_history(stack: Stack) -> None:
    execution = stack.execute(script(shell("echo one"), {"text": "It is one."}), agent=agent(stack))
    before = stack.wait(execution)
    assert say(stack, execution, script(shell("echo two"), {"text": "It is two."}), message_id="again")["success"]
    row = over(stack, execution)
    assert (row["status"], row["response"], row["error_message"]) == ("completed", "It is two.", None)
    roles = [role for role, _ in session(stack, execution)]
    assert roles == ["user", "assistant", "tool", "assistant"] * 2
    log = stored(stack, execution)
    assert [each["sequence"] for each in log] == list(range(1, len(log) + 1))
    statuses = [each["data"]["status"] for each in log if each["event_type"] == "status"]
    assert statuses == ["running", "completed", "pending", "running", "completed"]
    said = [each["data"]["message_id"] for each in log if each["event_type"] == "message"]
    assert len(said) == len(set(said)) == 6
    assert row["usage"]["total_tokens"] > before["usage"]["total_tokens"], "what it costs is counted on"
    assert row["execution_metadata"]["spent"]["steps"] == 4
    turns = stack.call("GET", f"/analytics/executions/{execution}/details")["turns"]
    assert [turn["turn_number"] for turn in turns] == [1, 2]
    assert runs(stack, execution) == 2
    # A client from the beginning sees the whole of it, and one end; the same message starts nothing a second time.
    events = list(stack.events(execution))
    assert [each["event"] for each in events].count("done") == 1 and events[-1]["event"] == "done"
    say(stack, execution, "anything", message_id="again")
    assert stack.execution(execution)["status"] == "completed"


def test_a_failed_a_cancelled_and_a_terminated_conversation_go_on(stack: Stack) -> None:
    ops = agent(stack)
    failed = stack.execute(script({"text": "I may not.", "finish_reason": "content_filter"}), agent=ops)
    assert stack.wait(failed)["status"] == "failed"
    say(stack, failed, script({"text": "Now it works."}))
    assert (over(stack, failed)["status"], stack.execution(failed)["error_message"]) == ("completed", None)

    for way in ("cancel", "terminate"):
        gate = stack.trace("gate")
        execution = stack.execute(script(shell("echo first"), shell(until(gate))), agent=ops)
        started = list(stack.events(execution, until="tool_completed"))
        assert started[-1]["data"]["tool_output"].strip() == "first"
        stack.call("POST", f"/executions/{execution}/{way}", {"reason": "enough"})
        say(stack, execution, script({"text": f"Gone on after {way}."}))  # while the run before is still ending
        gate.touch()
        row = over(stack, execution)
        assert (row["status"], row["response"]) == ("completed", f"Gone on after {way}.")
        messages = session(stack, execution)
        assert [role for role, _ in messages].count("user") == 2
        assert ("tool", "first\n") in messages or any("first" in text for role, text in messages if role == "tool")
        ids = [each["data"]["message_id"] for each in stored(stack, execution) if each["event_type"] == "message"]
        assert len(ids) == len(set(ids))
        assert runs(stack, execution) == 2


def test_a_follow_up_is_no_way_around_a_budget(stack: Stack) -> None:
    ops = agent(stack, configuration={"budgets": {"max_steps": 2}})
    execution = stack.execute(script(shell("echo one"), {"text": "One."}), agent=ops)
    assert stack.wait(execution)["status"] == "completed"
    say(stack, execution, script({"text": "More."}))
    row = over(stack, execution)
    assert row["status"] == "failed" and "The budget of 2 model calls is used up" in row["error_message"]
    stack.call("PATCH", f"/agents/{ops}", {"configuration": {"budgets": {"max_steps": 3}}})
    say(stack, execution, script({"text": "Raised."}))
    assert over(stack, execution)["response"] == "Raised."
    assert stack.execution(execution)["execution_metadata"]["spent"]["steps"] == 3


def test_a_run_is_forked_in_the_middle_of_an_answer_and_at_a_question(stack: Stack) -> None:
    ops = agent(stack)
    steps = script(shell("echo one"), shell("echo two"), {"text": "One and two."})
    origin = stack.execute(steps, agent=ops)
    assert stack.wait(origin)["status"] == "completed"
    log = stored(stack, origin)
    answers = [x["sequence"] for x in log if x["event_type"] == "message" and x["data"]["role"] == "assistant"]

    made = stack.call("POST", f"/executions/{origin}/fork", {"at": answers[1]})["execution_id"]
    row = stack.wait(made)
    assert (row["status"], row["response"]) == ("completed", "One and two.")
    roles = [role for role, _ in session(stack, made)]
    assert roles == ["user", "assistant", "tool", "assistant", "tool", "assistant"], "it goes on where it was cut"
    new = stored(stack, made)
    assert [x["data"]["tool_output"].strip() for x in new if x["event_type"] == "tool_completed"] == ["one", "two"]
    assert [bool(x["data"].get("shared")) for x in new if x["event_type"] == "tool_completed"] == [True, False]
    ids = [x["data"]["message_id"] for x in new if x["event_type"] == "message"]
    assert len(ids) == len(set(ids)) == 4
    assert stack.execution(origin)["status"] == "completed" and stored(stack, origin) == log

    body = {"at": answers[1], "prompt": script({"text": "Changed."})}
    made = stack.call("POST", f"/executions/{origin}/fork", body)["execution_id"]
    assert stack.wait(made)["response"] == "Changed."
    assert [role for role, _ in session(stack, made)] == ["user", "assistant", "tool", "user", "assistant"]
    say(stack, made, script({"text": "And on."}))
    assert over(stack, made)["response"] == "And on.", "a fork goes on after its end, too"


def test_a_fork_begins_with_the_files_of_its_origin(stack: Stack) -> None:
    write = "python3 -c \"open('kept.txt', 'w').write('of the origin')\""
    origin = stack.execute(script(shell(write), {"text": "Written."}), agent=agent(stack))
    assert stack.wait(origin)["status"] == "completed"
    eventually(lambda: stack.call("GET", f"/executions/{origin}/files"), patience=60)
    answers = [x["sequence"] for x in stored(stack, origin) if x["event_type"] == "message"]
    body = {"at": answers[0], "prompt": script(shell("cat kept.txt"), {"text": "Read."})}
    made = stack.call("POST", f"/executions/{origin}/fork", body)["execution_id"]
    assert stack.wait(made)["response"] == "Read."
    log = stored(stack, made)
    assert [x["data"]["tool_output"].strip() for x in log if x["event_type"] == "tool_completed"] == ["of the origin"]
    told = [x["data"]["message"] for x in log if x["event_type"] == "notice"]
    assert any("it begins with 1 file of it" in each for each in told)
    assert not any("not in its workspace" in each for each in told)
