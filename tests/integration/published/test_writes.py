"""A worker writes to the published control plane in its shapes, whatever the optional routes answer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.control_plane import writes
from kubiya_worker.control_plane.delivery import PAUSE_ROUTE_AFTER
from tests.support.published_stack import PublishedStack

FILES = {"name": "files", "type": "file_system", "configuration": {}}
ODD = "odd \x00 text"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublishedStack]:
    with PublishedStack(tmp_path_factory.mktemp("published")) as running:
        running.worker()
        yield running


@pytest.fixture(autouse=True)
def sound(stack: PublishedStack) -> Iterator[None]:
    """No fault of one test is there in the next."""
    yield
    stack.plane.fault, stack.plane.faults = "", {}


def script(path: Path, *, words: str = "Done.", calls: int = 2) -> str:
    path.write_text("nothing new\n")
    tools = [{"name": "read_file", "arguments": {"path": path.name}} for _ in range(calls)]
    return "demo:script " + json.dumps([{"text": "I look.", "tools": tools}, {"text": words}])


def run(stack: PublishedStack, tmp_path: Path, **options: Any) -> str:
    agent = stack.agent(f"reader-{tmp_path.name}", skills=[FILES])
    prompt = script(tmp_path / "note", **options)
    environment = {"working_dir": str(tmp_path)}
    return stack.execute(prompt, agent=agent, execution_environment=environment)


def mine(rows: dict[str, Any], execution_id: str) -> list[dict[str, Any]]:
    return [row for row in rows.values() if row["execution_id"] == execution_id]


def test_a_tool_call_names_the_row_of_its_turn_and_tells_all_of_it(stack: PublishedStack, tmp_path: Path) -> None:
    key = run(stack, tmp_path)
    row = stack.end(key)
    assert (row["status"], row["response"]) == ("completed", "Done.")
    (turn,), calls = mine(stack.world.turns, key), mine(stack.world.tool_calls, key)
    assert [call["turn_id"] for call in calls] == [turn["id"]] * 2
    assert turn["finish_reason"] == "stop" and turn["response_preview"] == "Done." and turn["model"]
    assert turn["duration_ms"] > 0 and turn["tools_called_names"] == ["read_file"] * 2
    for call in calls:
        assert call["tool_input"] == {"path": "note"} and "nothing new" in call["tool_output"]
        assert call["tool_output_size"] == len(call["tool_output"]) and call["duration_ms"] is not None
    seen = [s for s in stack.world.seen if key in s.path or (s.body or {}).get("execution_id") == key]
    order = [(s.method, s.path.replace(key, "E")) for s in seen if s.method != "GET" and "events" not in s.path]
    at = order.index(("POST", "/analytics/turns"))
    assert order[at - 2 : at + 2] == [
        ("POST", "/executions/E/session"),
        ("PATCH", "/executions/E"),
        ("POST", "/analytics/turns"),
        ("POST", "/analytics/batch"),
    ]
    assert order[-1] == ("PATCH", "/executions/E"), "the row has the last word"
    assert all(s.status < 400 for s in seen if s.method != "GET"), [s for s in seen if s.status >= 400]
    unknown = [s.path for s in stack.world.seen if s.method != "GET" and not writes.kind_of(s.method, s.path)]
    assert not [path for path in unknown if not path.startswith(("/agents", "/skills"))], "not in the list of writes"


@pytest.mark.parametrize("fault", ["500", "404", "503"])
def test_a_run_with_tools_ends_whatever_analytics_answers(stack: PublishedStack, tmp_path: Path, fault: str) -> None:
    stack.plane.faults = {"/analytics": fault}
    keys = [run(stack, tmp_path, calls=count) for count in (1, 2)]
    for key in keys:
        row = stack.end(key, 60)
        assert (row["status"], row["response"], row["error_message"]) == ("completed", "Done.", None)
        assert row["usage"]["total_tokens"] > 0 and row["completed_at"]
        assert stack.world.sessions[key]["messages"][-1]["content"] == "Done."
        assert not mine(stack.world.turns, key)


def test_a_chat_waits_and_a_failure_fails_also_without_a_judge(stack: PublishedStack, tmp_path: Path) -> None:
    stack.plane.faults = {"/analytics": "500"}
    chat = stack.chat("demo:script " + json.dumps([{"text": "Hello."}]))
    assert stack.wait(chat, "waiting_for_input")["response"] == "Hello."
    failed = stack.execute("Hello.", agent=stack.agent("lost", model_id="demo", configuration={"budgets": 3}))
    assert stack.end(failed)["status"] == "failed"


@pytest.mark.parametrize("fault", ["500", "404", "503"])
def test_every_optional_route_may_be_broken_at_once(stack: PublishedStack, fault: str) -> None:
    stack.plane.fault = fault
    key = stack.execute("demo:script " + json.dumps([{"text": "Still here."}]))
    assert stack.end(key)["response"] == "Still here."


def test_the_worker_decides_where_the_judge_does_not(stack: PublishedStack) -> None:
    judge, stack.world.judge = stack.world.judge, lambda execution, turn: "running"
    try:
        key = stack.execute("demo:script " + json.dumps([{"text": "Fine."}]))
        assert stack.end(key)["status"] == "completed"
    finally:
        stack.world.judge = judge


def test_a_judge_does_not_have_the_last_word_on_a_failure(stack: PublishedStack, tmp_path: Path) -> None:
    judge, stack.world.judge = stack.world.judge, lambda execution, turn: "completed"
    try:
        agent = stack.agent("short", skills=[FILES], configuration={"budgets": {"max_steps": 1}})
        key = stack.execute(script(tmp_path / "note"), agent=agent)
        row = stack.end(key)
        assert row["status"] == "failed" and row["error_message"]
        (turn,) = mine(stack.world.turns, key)
        assert (turn["finish_reason"], bool(turn["error_message"])) == ("error", True)
    finally:
        stack.world.judge = judge


def test_what_cannot_be_stored_is_replaced_before_it_is_sent(stack: PublishedStack) -> None:
    key = stack.execute("demo:script " + json.dumps([{"text": ODD}]))
    row = stack.end(key, 20)
    assert row["status"] == "completed" and row["response"] == "odd \ufffd text"
    assert stack.world.sessions[key]["messages"][-1]["content"] == row["response"]
    assert mine(stack.world.turns, key)


def test_analytics_that_do_not_answer_cost_one_run_some_seconds(stack: PublishedStack, tmp_path: Path) -> None:
    def quick() -> float:
        began = time.monotonic()
        assert stack.end(stack.execute("demo:script " + json.dumps([{"text": "Quick."}])))["response"] == "Quick."
        return time.monotonic() - began

    usual = min(quick() for _ in range(2))
    stack.plane.faults = {"/analytics": "hang"}
    first = run(stack, tmp_path)
    assert stack.end(first)["status"] == "completed"
    # A run that waits for a silent route waits for PAUSE_ROUTE_AFTER at least. One of three may try the route again.
    assert min(quick() for _ in range(3)) < usual + PAUSE_ROUTE_AFTER, "the routes do not rest"


def test_faults_of_the_control_plane_are_single_bounded_lines(stack: PublishedStack) -> None:
    told = [line for process in stack.processes for line in process.lines if "write.dropped" in line]
    assert told and len(told) <= 12, told  # one for each kind and answer
    assert all(len(line) < 700 for line in told)
    assert not [line for p in stack.processes for line in p.lines if "Traceback" in line or "outdated" in line]
