"""The agent copes with a model endpoint that refuses, stalls, lies or breaks off: these tests use a real stack."""

from __future__ import annotations

import re
import uuid
from typing import Any

from tests.support.event_stream import shown_texts
from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Stack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
IDLE = 3.0  # seconds that the worker of one test waits for a byte of the model; the others' takes its time


class Ran:
    """One execution against a script: its row, its events, and the requests that the endpoint got."""

    def __init__(self, stack: Stack, endpoint: ModelEndpoint, queue: str, script: list[dict[str, Any]]) -> None:
        endpoint.script = list(script)
        before = endpoint.count
        agent = stack.agent(f"agent-{uuid.uuid4().hex[:8]}", skills=[SHELL], model_id="gpt-test")
        self.execution = stack.execute("Do it.", agent=agent, queue=queue)
        self.events = list(stack.events(self.execution))
        self.row = stack.execution(self.execution)
        self.requests = endpoint.requests[before:]
        self.messages = stack.call("GET", f"/executions/{self.execution}/session")["messages"]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event["data"] for event in self.events if event["event"] == kind]


def test_429_is_waited_out_as_long_as_the_endpoint_says(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    busy = {"status": 429, "headers": {"Retry-After": "3"}, "body": {"error": {"message": "slow down"}}}
    ran = Ran(stack, endpoint, queue, [busy, {"text": "Done now."}])
    assert ran.row["response"] == "Done now."
    assert len(ran.requests) == 2
    assert ran.requests[1]["at"] - ran.requests[0]["at"] >= 3.0
    (notice,) = ran.of("notice")
    assert notice["kind"] == "rate_limited"
    assert "slow down" in notice["message"] and "trying again in 3 s" in notice["message"]


def test_500s_are_tried_again_and_each_is_announced(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    broken = {"status": 500, "body": {"error": {"message": "oops"}}}
    ran = Ran(stack, endpoint, queue, [broken, broken, {"text": "Better."}])
    assert (ran.row["status"], ran.row["response"]) == ("completed", "Better.")
    assert len(ran.requests) == 3
    assert [notice["kind"] for notice in ran.of("notice")] == ["unavailable"] * 2
    lines = [
        line for process in stack.processes for line in process.lines if f"agent-execution-{ran.execution}" in line
    ]
    told = [line for line in lines if "step.failed step=call_model" in line and "oops" in line]
    assert [re.findall(r"attempt=(\d)", line) for line in told] == [["1"], ["2"]]
    assert not [line for line in lines if "Traceback" in line], "an operator cannot read it"


def test_a_cut_stream_is_taken_back_and_its_text_is_not_doubled(
    stack: Stack, endpoint: ModelEndpoint, queue: str
) -> None:
    cut = {"text": "one two three four five", "chunk_delay": 0.05, "cut_after": 4}
    ran = Ran(stack, endpoint, queue, [cut, {"text": "one two three four five"}])
    assert ran.row["response"] == "one two three four five"
    assert shown_texts(ran.events) == ["one two three four five"]
    assert "".join(chunk["content"] for chunk in ran.of("message_chunk")) != ran.row["response"], "nothing was cut"
    assert len(ran.of("reset_chunks")) == 1
    assert [x["role"] for x in ran.messages] == ["user", "assistant"]


def test_silence_ends_at_the_idle_timeout_and_is_tried_again(stack: Stack, endpoint: ModelEndpoint) -> None:
    queue = stack.queue("impatient")
    stack.worker(queue, OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-test", KUBIYA_MODEL_IDLE_TIMEOUT=str(IDLE))
    silent = {"text": "one two three", "silence": {"after": 2, "seconds": 120}}
    ran = Ran(stack, endpoint, queue, [silent, {"text": "Awake."}])
    assert shown_texts(ran.events) == [ran.row["response"]] == ["Awake."]
    assert IDLE <= ran.requests[1]["at"] - ran.requests[0]["at"] < 90
    (notice,) = ran.of("notice")
    assert notice["kind"] == "silent"
    assert "sent nothing for 3 s" in notice["message"]


def test_a_conversation_that_is_too_long_ends_the_run_with_one_line(
    stack: Stack, endpoint: ModelEndpoint, queue: str
) -> None:
    said = {"message": "This model's maximum context length is 8192 tokens", "code": "context_length_exceeded"}
    ran = Ran(stack, endpoint, queue, [{"status": 400, "body": {"error": said}}])
    assert ran.row["status"] == "failed"
    assert "maximum context length" in ran.row["error_message"]
    assert "\n" not in ran.row["error_message"]
    assert len(ran.requests) == 1


def test_a_refused_key_ends_the_run_at_once_and_is_not_shown(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    wrong = {"status": 401, "body": {"error": {"message": "Incorrect API key provided: sk-test"}}}
    ran = Ran(stack, endpoint, queue, [wrong])
    assert ran.row["status"] == "failed"
    assert "refused the key (401)" in ran.row["error_message"]
    assert "sk-test" not in str(ran.row) + str(ran.events)
    assert len(ran.requests) == 1


def test_malformed_arguments_are_told_to_the_model_which_may_try_again(
    stack: Stack, endpoint: ModelEndpoint, queue: str
) -> None:
    wrong = {"tools": [{"name": "shell", "arguments": '{"command": "echo'}]}
    right = {"tools": [{"name": "shell", "arguments": {"command": "echo well-formed"}}]}
    ran = Ran(stack, endpoint, queue, [wrong, right, {"text": "Got it."}])
    assert ran.row["response"] == "Got it."
    first, second = (x for x in ran.messages if x["role"] == "tool")
    assert first["status"] == "failed" and "JSON" in first["content"]
    assert (second["status"], second["content"].strip()) == ("success", "well-formed")


def test_parallel_calls_run_at_the_same_time_and_are_answered_in_order(
    stack: Stack, endpoint: ModelEndpoint, queue: str
) -> None:
    meeting = stack.trace("meet")
    meeting.mkdir()

    def waits_for_the_other(me: str, other: str) -> dict[str, Any]:
        there = f"[ -e {meeting}/{other} ] && exec echo {me}"
        script = f"touch {meeting}/{me}; for i in $(seq 300); do {there}; sleep 0.1; done; exit 1"
        return {"name": "shell", "arguments": {"command": f"sh -c '{script}'"}}

    calls = {"tools": [waits_for_the_other("left", "right"), waits_for_the_other("right", "left")]}
    ran = Ran(stack, endpoint, queue, [calls, {"text": "Both."}])
    assert ran.row["response"] == "Both."
    answers = [x for x in ran.requests[1]["body"]["messages"] if x["role"] == "tool"]
    assert [x["content"].strip() for x in answers] == ["left", "right"]
    asked = [call["id"] for x in ran.requests[1]["body"]["messages"] for call in x.get("tool_calls") or ()]
    assert [x["tool_call_id"] for x in answers] == asked


def test_ids_that_a_model_repeats_are_told_apart(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    call = {"name": "shell", "arguments": {"command": "echo again"}, "id": "same"}
    ran = Ran(stack, endpoint, queue, [{"tools": [call, call]}, {"tools": [call]}, {"text": "Three."}])
    assert ran.row["response"] == "Three."
    completed = [data["tool_execution_id"] for data in ran.of("tool_completed")]
    assert len(completed) == len(set(completed)) == 3
