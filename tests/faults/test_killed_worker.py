"""D1, D2, D5: a worker that is killed at any step of a run loses nothing and repeats nothing that was finished.

The run makes four model calls, counted by a real HTTP endpoint, and three tool calls, each of which adds a line to a
file of its own. A tool that appends is not idempotent, so it runs at most once.
"""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Stack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
ANSWER = "All three are done."
TAKEN_UP_WITHIN = 30.0  # seconds, figure D2

FAST = ["call_model:2:during", "call_tool:2:during", "call_tool:1:after", "end_turn:1:before"]
ALL = [
    *(f"call_model:{n}:{point}" for n in (1, 2, 3, 4) for point in ("before", "during", "after")),
    *(f"call_tool:{n}:{point}" for n in (1, 2, 3) for point in ("before", "during", "after")),
    *(f"{activity}:1:{point}" for activity in ("begin_execution", "end_turn") for point in ("before", "after")),
]


@dataclass
class Outcome:
    point: str
    row: dict[str, Any]
    events: list[dict[str, Any]]
    model_calls: list[int]  # by step
    tool_lines: list[int]  # by tool
    seconds: float  # from the kill to the end of the run


def run_and_kill(stack: Stack, point: str) -> Outcome:
    name = f"q-{uuid.uuid4().hex[:8]}"
    queue = stack.queue(name)
    files = [stack.folder / f"{name}-{n}" for n in range(3)]
    steps: list[dict[str, Any]] = [
        {
            "text": f"Step {n}.",
            "tools": [{"name": "shell", "arguments": {"command": f"sh -c 'echo x >> {file}; sleep 0.3'"}}],
        }
        for n, file in enumerate(files)
    ]
    with ModelEndpoint(by_step=[*steps, {"text": ANSWER}]) as endpoint:
        env = {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "sk-test"}
        agent = stack.agent(f"agent-{name}", skills=[SHELL], model_id="gpt-test")
        doomed = stack.worker(queue, mortal=point, **env)
        execution = stack.execute("Do three things.", agent=agent, queue=queue)
        assert doomed.wait(60) == -9, doomed.lines
        killed = time.monotonic()
        stack.worker(queue, **env)
        row = stack.wait(execution, timeout=90)
        seconds = time.monotonic() - killed
        calls = [0] * 4
        for request in endpoint.requests:
            calls[sum(m["role"] == "assistant" for m in request["body"]["messages"])] += 1
    return Outcome(point, row, list(stack.events(execution)), calls, [_lines(f) for f in files], seconds)


def _lines(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


def check(outcome: Outcome) -> None:
    activity, number, point = outcome.point.split(":")
    struck = int(number) - 1
    assert (outcome.row["status"], outcome.row["response"]) == ("completed", ANSWER), outcome
    # Model calls: what was finished is not made again; what was under way is made once more at the most.
    expected = [1, 1, 1, 1]
    if activity == "call_model" and point != "before":
        expected[struck] = 2
    assert outcome.model_calls == expected, outcome
    # Tool calls: never twice; only the one that was struck may be missing, and then its outcome is said to be unknown.
    for index, lines in enumerate(outcome.tool_lines):
        missing = activity == "call_tool" and index == struck and point != "after"
        assert lines in ((0, 1) if missing else (1,)), outcome
    # The stream: numbered without gaps, each tool started and completed once, text without repeats.
    sequence = [int(e["id"].split("_")[-2]) for e in outcome.events]
    assert sequence == list(range(1, len(sequence) + 1)), outcome
    completed = [e["data"] for e in outcome.events if e["event"] == "tool_completed"]
    assert len(completed) == len({c["tool_execution_id"] for c in completed}) == 3, outcome
    if activity == "call_tool" and point != "after":
        assert completed[struck]["outcome"] == "unknown", outcome
    assert _text(outcome.events) == ["Step 0.", "Step 1.", "Step 2.", ANSWER], outcome
    assert outcome.seconds < TAKEN_UP_WITHIN, outcome


def _text(events: list[dict[str, Any]]) -> list[str]:
    """What a client shows in the end: chunks by message; `reset_chunks` discards what was streamed of one."""
    shown: dict[str, str] = {}
    for event in events:
        data = event["data"]
        if event["event"] == "reset_chunks":
            shown[data["message_id"]] = ""
        elif event["event"] == "message_chunk":
            shown[data["message_id"]] = shown.get(data["message_id"], "") + data["content"]
    return list(shown.values())


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_repeated_when_the_worker_is_killed(stack: Stack) -> None:
    with ThreadPoolExecutor(len(FAST)) as pool:
        for outcome in pool.map(lambda point: run_and_kill(stack, point), FAST):
            check(outcome)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_or_repeated_wherever_the_worker_is_killed(stack: Stack) -> None:
    with ThreadPoolExecutor(5) as pool:
        outcomes = list(pool.map(lambda point: run_and_kill(stack, point), ALL))
    for outcome in outcomes:
        check(outcome)
    slowest = max(outcome.seconds for outcome in outcomes)
    print(f"{len(outcomes)} kill points: 0 lost, 0 repeated; slowest recovery {slowest:.1f} s")
