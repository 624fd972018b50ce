"""A conversation that becomes too long for the model is summed up, and goes on; nothing of it is lost."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Stack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
OVERFLOW = {
    "status": 400,
    "body": {
        "error": {"message": "This model's maximum context length is 10 tokens", "code": "context_length_exceeded"}
    },
}


def run(
    stack: Stack, endpoint: ModelEndpoint, queue: str, script: list[dict[str, Any]], **configuration: Any
) -> tuple[str, dict[str, Any], list[str]]:
    """(execution id, its row, the requests that the endpoint got, each as text)."""
    endpoint.script, before = list(script), endpoint.count
    stored = configuration.pop("stored", {})
    agent = stack.agent(
        f"agent-{uuid.uuid4().hex[:8]}", skills=[SHELL], model_id="gpt-test", configuration=configuration
    )
    stack.store("agents", agent, configuration=stored)
    execution = stack.execute("Find the needle.", agent=agent, queue=queue)
    row = stack.wait(execution)
    return execution, row, [json.dumps(r["body"]["messages"]) for r in endpoint.requests[before:]]


def tool(text: str, tokens: int) -> dict[str, Any]:
    usage = {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1}
    return {"tools": [{"name": "shell", "arguments": {"command": f"echo {text}"}}], "usage": usage}


def test_past_the_threshold_the_model_gets_a_summary(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    script = [tool("hay-one", 50), tool("hay-two", 150), {"text": "THE SUMMARY"}, {"text": "Here."}]
    execution, row, asked = run(stack, endpoint, queue, script, compaction={"at_tokens": 100})
    assert (row["status"], row["response"]) == ("completed", "Here.")
    assert len(asked) == 4
    assert "You summarise a conversation" in asked[2] and "Find the needle." in asked[2] and "hay-one" in asked[2]
    assert "THE SUMMARY" in asked[3] and "hay-two" in asked[3], "what is new stays word for word"
    assert "hay-one" not in asked[3] and asked[3].count("Find the needle.") == 1, "the request stays word for word"
    messages = stack.call("GET", f"/executions/{execution}/session")["messages"]
    assert [x["role"] for x in messages] == ["user", *("assistant", "tool") * 2, "system", "assistant"]
    assert messages[0]["content"] == "Find the needle.", "all of it is kept"
    notices = [e["data"] for e in stack.events(execution) if e["event"] == "notice"]
    assert [n["kind"] for n in notices] == ["compaction"]
    assert row["usage"]["input_tokens"] > 200, "the summary is counted"


def test_a_provider_that_says_it_is_too_long_is_given_less(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    script = [tool("hay-one", 5), tool("hay-two", 5), OVERFLOW, {"text": "THE SUMMARY"}, {"text": "Here."}]
    _, row, asked = run(stack, endpoint, queue, script)
    assert (row["status"], row["response"]) == ("completed", "Here.")
    assert "THE SUMMARY" in asked[4] and "hay-one" not in asked[4]


def test_it_ends_when_less_is_still_too_much(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    script = [tool("hay-one", 5), OVERFLOW, {"text": "THE SUMMARY"}, OVERFLOW, OVERFLOW, OVERFLOW]
    _, row, asked = run(stack, endpoint, queue, script)
    assert row["status"] == "failed" and "maximum context length" in row["error_message"]
    assert len(asked) == 4, "no summary of a summary alone"


def test_false_is_no(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    _, row, asked = run(stack, endpoint, queue, [tool("hay", 5), OVERFLOW], compaction=False)
    assert row["status"] == "failed" and len(asked) == 2
    _, row, asked = run(stack, endpoint, queue, [], stored={"compaction": "perhaps"})
    assert row["status"] == "failed" and "compaction is false or" in row["error_message"] and not asked


@pytest.mark.timeout(400)
def test_a_conversation_that_was_let_go_of_is_kept_whole_and_goes_on_elsewhere(
    stack: Stack, endpoint: ModelEndpoint
) -> None:
    """The run continues as new at 600 events, on another worker, without the messages that a summary replaces."""
    queue = stack.queue("outgrown")
    environment = {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "sk-test", "MAX_CONCURRENT_ACTIVITIES": "10"}
    first = stack.worker(queue, ready=True, **environment)
    many = [{"name": "shell", "arguments": {"command": f"echo tool-{n}"}} for n in range(12)]
    small, large = ({"total_tokens": n, "prompt_tokens": n, "completion_tokens": 0} for n in (10, 200))
    rounds = [{"tools": many, "usage": large if n % 4 == 3 else small} for n in range(12)]
    endpoint.script = [
        {"text": "THE SUMMARY", "usage": small, "when": "You summarise a conversation", "forever": True},
        *rounds,
        {"text": "So far.", "usage": small},
        {"text": "The end.", "usage": small},
    ]
    before = endpoint.count
    configuration = {"compaction": {"at_tokens": 100}}
    agent = stack.agent("outgrown", skills=[SHELL], model_id="gpt-test", configuration=configuration)
    chat = {"execution_metadata": {"interactive": True}}
    execution = stack.execute("Find the needle.", agent=agent, queue=queue, **chat)
    stack.wait_for_turn(execution, 1, timeout=240)
    state = stack.state(execution)
    session = stack.call("GET", f"/executions/{execution}/session")["messages"]
    assert len(state["messages"]) < len(session) == state["metadata"]["messages_total"]
    first.kill()
    stack.worker(queue, ready=True, **environment)
    stack.call("POST", f"/executions/{execution}/message", {"message": "And now?"})
    stack.wait_for_turn(execution, 2)
    stack.call("POST", f"/executions/{execution}/mark-done")
    row = stack.wait(execution)
    endpoint.script = []
    assert (row["status"], row["response"]) == ("completed", "The end.")
    session = stack.call("GET", f"/executions/{execution}/session")["messages"]
    said = [x for x in session if x["role"] != "system"]
    assert [x["role"] for x in said] == ["user", *["assistant", *["tool"] * 12] * 12, "assistant", "user", "assistant"]
    assert len(session) - len(said) == 3, "the summaries"
    assert (said[0]["content"], said[-2]["content"]) == ("Find the needle.", "And now?")
    outputs = [x["tool_output"].strip() for x in said if x["role"] == "tool"]
    assert outputs == [f"tool-{n}" for n in range(12)] * 12
    asked = [x["tool_execution_id"] for x in said if x["role"] == "tool"]
    assert len(set(asked)) == len(asked), "ids that a provider repeats stay apart from those that were let go"
    assert asked == [call["id"] for x in said for call in x.get("tool_calls") or ()]
    last = json.dumps(endpoint.requests[-1]["body"]["messages"])
    assert "THE SUMMARY" in last and "And now?" in last and "So far." in last and last.count("Find the needle.") == 1
    assert endpoint.count - before == 12 + 3 + 2
    completed = [e["data"] for e in stack.events(execution) if e["event"] == "tool_completed"]
    assert len(completed) == 144


def test_a_session_that_is_taken_up_begins_where_its_summary_does(stack: Stack, endpoint: ModelEndpoint) -> None:
    """The messages that the summary replaces stay in the session, and they still taint the execution."""
    queue = stack.queue("taken-up")
    agent = stack.agent("takes-up", skills=[SHELL], model_id="gpt-test")
    execution = stack.execute("And now?", agent=agent, queue=queue)
    call = {"id": "call_0_0", "name": "shell", "arguments": '{"command": "echo hay"}'}
    tool = {"role": "tool", "tool_call_id": "call_0_0", "tool_name": "shell", "status": "success", "tainted": True}
    old: list[dict[str, Any]] = [
        {"role": "user", "content": "Find the needle.", "message_id": "m1"},
        {"role": "assistant", "content": "", "message_id": "m2", "tool_calls": [call]},
        {**tool, "content": "hay", "message_id": "m3"},
        {"role": "user", "content": "Is it there?", "message_id": "m4"},
        {"role": "system", "content": "THE SUMMARY", "message_id": "m5", "keeps_from": "m4"},
        {"role": "assistant", "content": "No.", "message_id": "m6"},
    ]
    stack.call("POST", f"/executions/{execution}/session", {"messages": old})
    endpoint.script = [
        {"tools": [{"name": "shell", "arguments": {"command": "touch made"}, "id": "call_0_0"}]},
        {"text": "Here."},
    ]
    before = endpoint.count
    stack.worker(queue, OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-test")
    asked = stack.first(execution, "approval_requested")
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
    row = stack.wait(execution)
    assert (row["status"], row["response"]) == ("completed", "Here.")
    sent = json.dumps(endpoint.requests[before]["body"]["messages"])
    assert "THE SUMMARY" in sent and "Is it there?" in sent and "No." in sent and "Find the needle" not in sent
    session = stack.call("GET", f"/executions/{execution}/session")["messages"]
    assert [x["message_id"] for x in session[:6]] == [x["message_id"] for x in old]
    assert [(x["role"], x["content"]) for x in session[6:]] == [
        ("user", "And now?"),
        ("assistant", ""),
        ("tool", "[no output]"),
        ("assistant", "Here."),
    ]
    assert session[7]["tool_calls"][0]["id"] != "call_0_0"
