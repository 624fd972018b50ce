"""Executions on the published control plane end as their workflow closes, and so does the stream (protocol.md#b5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.demo_scripts import script, shell
from tests.support.published_stack import PublishedStack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["echo"]}}
SLEEP = {"name": "sleep", "type": "sleep", "configuration": {}}


def limited(stack: PublishedStack) -> str:
    """An agent whose second model call is over its budget."""
    return stack.agent("limited", skills=[SHELL], configuration={"budgets": {"max_steps": 1}})


def test_a_failed_execution_is_told_as_failed_everywhere(stack: PublishedStack) -> None:
    execution = stack.execute(script(shell("echo one"), {"text": "Never."}), agent=limited(stack))
    seen = list(stack.watch(execution))
    row = stack.end(execution)
    assert stack.closed(execution) == "FAILED"
    assert row["status"] == "failed" and "budget of 1 model call" in row["error_message"]
    by_worker = [e["data"]["data"] for e in seen if e["event"] == "error" and "data" in e["data"]]
    assert [e["details"]["error_message"] for e in by_worker] == [row["error_message"]]
    assert seen[-1]["event"] == "error"
    assert {k: seen[-1]["data"][k] for k in ("error", "status", "error_type")} == {
        "error": row["error_message"],
        "status": "failed",
        "error_type": "BudgetReached",
    }
    state = stack.state(execution)
    assert (state["status"], state["error_message"]) == ("failed", row["error_message"])


def test_no_judge_has_the_last_word_on_a_failed_execution(stack: PublishedStack) -> None:
    before = stack.world.judge
    stack.world.judge = lambda execution, turn: "completed"
    try:
        execution = stack.execute(script(shell("echo one"), {"text": "Never."}), agent=limited(stack))
        assert stack.closed(execution) == "FAILED"
        assert stack.end(execution)["status"] == "failed"
    finally:
        stack.world.judge = before


def test_the_stream_of_a_cancelled_execution_ends_and_its_row_stays_cancelled(stack: PublishedStack) -> None:
    slow = {"tools": [{"name": "sleep", "arguments": {"seconds": 60}}]}
    execution = stack.execute(script(slow, {"text": "Never."}), agent=stack.agent("slow", skills=[SLEEP]))
    stream = stack.watch(execution)
    seen = [next(e for e in stream if e["event"] == "tool_started")]
    stack.call("POST", f"/executions/{execution}/cancel")
    seen += list(stream)
    assert (seen[-1]["event"], seen[-1]["data"]["error"]) == ("error", "Cancelled by user")
    assert stack.closed(execution) == "FAILED"
    assert stack.end(execution)["status"] == "cancelled"
    assert stack.state(execution)["status"] == "cancelled"


def test_a_client_that_comes_late_sees_each_answer_once(stack: PublishedStack) -> None:
    """The same id in chunks, message and session; the server keeps it in the history."""
    execution = stack.chat(
        script(shell("echo one") | {"text": "Looking."}, {"text": "It is one."}), agent=_shelled(stack)
    )
    stack.wait(execution, "waiting_for_input")
    stack.call("POST", f"/executions/{execution}/message", {"message": script({"text": "Again."})})
    seen = _read(stack.watch(execution), until="Again.")
    texts: dict[str, str] = {}
    for event in seen:
        data = event["data"].get("data", event["data"])
        if event["event"] == "message" and data["role"] == "assistant":
            texts[data["message_id"]] = data["content"]
        elif event["event"] == "message_chunk":
            assert data["message_id"] in texts or data["message_id"].endswith("_3"), "no chunk of its own bubble"
    assert texts == {
        f"{execution}_assistant_1": "Looking.",
        f"{execution}_assistant_2": "It is one.",
        f"{execution}_assistant_3": "Again.",
    }
    stack.call("POST", f"/executions/{execution}/mark-done")
    stack.end(execution)


def test_what_get_state_tells_is_sent_to_nobody_again(stack: PublishedStack) -> None:
    execution = stack.execute(script(shell("echo one"), {"text": "Done."}), agent=_shelled(stack))
    seen = list(stack.watch(execution))
    assert [e["data"] for e in seen if e["event"] == "message" and not e["data"].get("message_id")] == []
    assert {m["role"] for m in stack.state(execution)["messages"]} == {"assistant"}


def test_a_job_whose_execution_fails_is_told_as_failed(stack: PublishedStack) -> None:
    job = {
        "name": "nightly",
        "trigger_type": "cron",
        "cron_schedule": "0 0 1 1 *",
        "planning_mode": "predefined_agent",
        "entity_type": "agent",
        "entity_id": limited(stack),
        "prompt_template": script(shell("echo one"), {"text": "Never."}),
        "executor_type": "auto",
    }
    made = stack.call("POST", "/jobs", job)["id"]
    before = set(stack.world.executions)
    stack.fire(made)
    from tests.support.stack import wait_until

    wait_until(
        lambda: [r for r in stack.world.job_runs if r.get("status") == "failed"], 60, "the job is told as failed"
    )
    (execution,) = set(stack.world.executions) - before
    assert stack.end(execution)["status"] == "failed"


def _shelled(stack: PublishedStack) -> str:
    return stack.agent("shelled", skills=[SHELL])


def _read(stream: Iterator[dict[str, Any]], until: str) -> list[dict[str, Any]]:
    """Events up to the complete message with this text."""
    seen = []
    for event in stream:
        seen.append(event)
        if event["event"] == "message" and event["data"].get("content") == until:
            return seen
    raise AssertionError(f"no {until!r}: {seen}")
