"""Agents on the published control plane."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.contract.e2e.outcome_checks import SHELL, WatchedRun, check, mine, of
from tests.support.demo_scripts import script, until
from tests.support.published_stack import PublishedStack


def begin(stack: PublishedStack, prompt: str, **body: Any) -> WatchedRun:
    return WatchedRun(stack, stack.execute(prompt, **body))


def test_a_text_completes_a_run_and_its_usage_is_counted(stack: PublishedStack) -> None:
    run = begin(stack, script({"text": "All is well."}))
    row = check(stack, run, "completed", response="All is well.")
    assert row["usage"]["total_tokens"] > 0
    assert stack.closed(run.id) == "COMPLETED"


def test_tools_and_texts_between_them(stack: PublishedStack) -> None:
    agent = stack.agent("tools", skills=[SHELL])
    steps = [{"text": "First.", **mine("echo one")}, {"text": "Second.", **mine("echo two")}, {"text": "Done."}]
    run = begin(stack, script(*steps), agent=agent)
    check(stack, run, "completed", response="Done.")
    done = of(run.events, "tool_completed")
    assert [(d["status"], d["tool_output"].strip()) for d in done] == [("success", "one"), ("success", "two")]
    calls = [c for c in stack.world.tool_calls.values() if c["execution_id"] == run.id]
    (turn,) = [t for t in stack.world.turns.values() if t["execution_id"] == run.id]
    assert [(c["tool_name"], c["success"]) for c in calls] == [("mine_shell", True)] * 2
    assert {c["turn_id"] for c in calls} == {turn["id"]}
    assert [c["tool_input"] for c in calls] == [{"command": "echo one"}, {"command": "echo two"}]
    assert all("o" in c["tool_output"] and c["duration_ms"] is not None and c["tool_output_size"] for c in calls)
    assert turn["tools_called_count"] == 2 and turn["finish_reason"] == "stop"
    assert turn["duration_ms"] is not None and turn["completed_at"] and turn["response_preview"] == "Done."


def test_tools_that_fail_do_not_fail_the_run(stack: PublishedStack) -> None:
    agent = stack.agent("failing", skills=[SHELL])
    run = begin(stack, script(mine("exit 3"), {"text": "It failed."}), agent=agent)
    check(stack, run, "completed", response="It failed.")
    (call,) = [c for c in stack.world.tool_calls.values() if c["execution_id"] == run.id]
    assert call["success"] is False


def test_a_follow_up(stack: PublishedStack) -> None:
    run = WatchedRun(stack, stack.chat(script({"text": "What next?"})))
    stack.wait(run.id, "waiting_for_input")
    stack.plane.expect("PATCH", f"/executions/{run.id}", 2)
    stack.call("POST", f"/executions/{run.id}/message", {"message": script({"text": "And on."})}, 202)
    run.first("message", where=lambda m: m["content"] == "And on.")
    stack.wait(run.id, "waiting_for_input")
    stack.call("POST", f"/executions/{run.id}/mark-done", status=202)
    check(stack, run, "completed", response="And on.")
    session = stack.world.sessions[run.id]["messages"]
    assert [m["role"] for m in session] == ["user", "assistant", "user", "assistant"]
    assert len([t for t in stack.world.turns.values() if t["execution_id"] == run.id]) == 2


def test_a_run_that_fails_is_told_as_failed_though_a_judge_likes_it(stack: PublishedStack) -> None:
    before, stack.world.judge = stack.world.judge, lambda execution, turn: "completed"
    try:
        agent = stack.agent("lost", model_id="no-such-model")
        run = begin(stack, "Look.", agent=agent)
        row = check(stack, run, "failed", error="model")
    finally:
        stack.world.judge = before
    assert stack.closed(run.id) == "FAILED"
    assert run.events[-1]["data"]["error"] == row["error_message"]
    assert run.events[-1]["data"]["error_type"]


def test_a_cancelled_run_is_cancelled_and_its_stream_ends(stack: PublishedStack) -> None:
    agent = stack.agent("cancelled", skills=[SHELL])
    run = begin(stack, script({"text": "Now.", **mine("sleep 60")}, {"text": "Never."}), agent=agent)
    run.first("tool_started")
    at = time.monotonic()
    assert stack.call("POST", f"/executions/{run.id}/cancel")["success"] is True
    check(stack, run, "cancelled", error="Cancelled")
    assert time.monotonic() - at < 20
    assert stack.closed(run.id) in ("FAILED", "CANCELED")


def test_a_paused_run_waits_and_goes_on(stack: PublishedStack, tmp_path: Path) -> None:
    agent, gate = stack.agent("paused", skills=[SHELL]), tmp_path / "gate"
    run = begin(stack, script({"text": "A.", **mine(until(gate))}, {"text": "B."}), agent=agent)
    run.first("tool_started")
    assert stack.call("POST", f"/executions/{run.id}/pause")["success"] is True
    gate.touch()
    run.first("tool_completed")
    assert stack.state(run.id)["is_paused"] is True
    assert stack.world.executions[run.id]["status"] == "paused"
    assert stack.call("POST", f"/executions/{run.id}/resume")["success"] is True
    check(stack, run, "completed", response="B.")


def test_skills_that_are_not_here_do_not_stop_it(stack: PublishedStack) -> None:
    stack.world.skills["kept"] = {
        **stack.world.row(name="memory", type="cognitive_memory", description=None, icon=None, enabled=True),
        "configuration": {"search_type": "CHUNKS"},
    }
    agent = stack.agent("missing")
    stack.world.agents[agent]["skill_ids"].append("kept")
    run = begin(stack, script({"text": "Without."}), agent=agent)
    check(stack, run, "completed", response="Without.")


def test_the_servers_key_reaches_no_tool(stack: PublishedStack) -> None:
    agent = stack.agent("curious", skills=[SHELL], execution_environment={"env_vars": {"REGION": "eu"}})
    run = begin(stack, script(mine("env"), {"text": "Seen."}), agent=agent)
    check(stack, run, "completed", response="Seen.")
    # Not of the events: a client that connects after the call does not get that one from this server.
    (call,) = [c for c in stack.world.tool_calls.values() if c["execution_id"] == run.id]
    assert stack.plane.key not in str(run.events) and stack.plane.key not in str(stack.world.tool_calls)
    assert "REGION" in call["tool_output"]
