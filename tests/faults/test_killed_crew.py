"""D1 and D6 over a team of three whose leader and members share one queue of three workers.

Who gets a call is Temporal's choice, so the n-th call of a kind kills whichever worker has it, leader's or member's
(tests/support/mortal.py). Other calls may be under way on that worker; it writes down which as it dies. Only those may
be made again, once; of a tool that must not run twice the outcome is then unknown.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Stack, wait_until

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
ANSWER = "All three are done."
MEMBERS = ("one", "two", "three")
WORKERS = 3

# The leader's calls: model 1 and 8, tool 1 to 3. The members': model 2 to 7, tool 4 to 6.
FAST = "call_tool:5:during"
ALL = [
    *(f"call_model:{n}:{point}" for n in range(1, 9) for point in ("before", "during", "after")),
    *(f"call_tool:{n}:{point}" for n in range(1, 7) for point in ("before", "during", "after")),
    *(f"begin_execution:{n}:{point}" for n in range(1, 5) for point in ("before", "after")),
    *(f"end_member:{n}:{point}" for n in range(1, 4) for point in ("before", "after")),
    *(f"end_turn:1:{point}" for point in ("before", "after")),
]


@dataclass
class Outcome:
    point: str
    row: dict[str, Any]
    events: list[dict[str, Any]]
    model_calls: Counter[tuple[str, int]]  # by who asked (the task that it was given) and step
    tool_lines: dict[str, int]  # by member
    under_way: list[tuple[str, str]]  # (activity id, execution) on the worker that was killed


def run_and_kill(stack: Stack, point: str) -> Outcome:
    mark = uuid.uuid4().hex[:8]
    queue = stack.queue(f"crew-{mark}")
    files = {name: stack.folder / f"{name}-{mark}" for name in MEMBERS}
    agents = [stack.agent(f"{name}-{mark}", skills=[SHELL], model_id="gpt-test") for name in MEMBERS]
    ask = [{"name": f"ask_{name}-{mark}", "arguments": {"task": f"Be {name}."}} for name in MEMBERS]

    def write(name: str) -> dict[str, Any]:
        command = f"sh -c 'echo x >> {files[name]}; sleep 0.3'"
        return {"text": "I write.", "tools": [{"name": "shell", "arguments": {"command": command}}]}

    scripts = {f"Be {name}.": [write(name), {"text": "It is written."}] for name in MEMBERS}
    scripts["Do three things."] = [{"text": "I ask.", "tools": ask}, {"text": ANSWER}]
    with ModelEndpoint(by_task=scripts) as endpoint:
        env = {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "sk-test"}
        last = stack.folder / f"last-{mark}"
        shared = {"MORTAL_COUNT": str(stack.folder / f"count-{mark}"), "MORTAL_LAST": str(last)}
        crew = [stack.worker(queue, mortal=point, ready=False, **env, **shared) for _ in range(WORKERS)]
        for worker in crew:
            worker.expect("worker.ready", 60)
        team = stack.call("POST", "/teams", {"name": f"crew-{mark}", "configuration": _team(agents)})["id"]
        request = {"prompt": "Do three things.", "worker_queue_id": queue}
        execution = stack.call("POST", f"/teams/{team}/execute", request)["execution_id"]
        wait_until(lambda: any(w.popen.poll() is not None for w in crew), 150, f"a worker is killed at {point}")
        row = stack.wait(execution, timeout=120)  # the two others go on
        events = list(stack.events(execution))
        assert sorted(w.popen.poll() for w in crew if w.popen.poll() is not None) == [-9], "one is killed"
        for worker in crew:
            worker.kill()
        calls: Counter[tuple[str, int]] = Counter()
        for sent in endpoint.requests:
            messages = sent["body"]["messages"]
            task = next(m["content"] for m in messages if m["role"] == "user")
            calls[str(task), sum(m["role"] == "assistant" for m in messages)] += 1
    lines = {name: len(f.read_text().splitlines()) if f.exists() else 0 for name, f in files.items()}
    under_way = [(str(activity), str(of)) for activity, of in json.loads(last.read_text())]
    return Outcome(point, row, events, calls, lines, under_way)


def _team(agents: list[str]) -> dict[str, Any]:
    return {"member_ids": agents, "llm": {"model": "gpt-test"}}


def check(outcome: Outcome) -> None:
    assert (outcome.row["status"], outcome.row["response"]) == ("completed", ANSWER), outcome
    models = sum(activity.startswith("model-") for activity, _ in outcome.under_way)
    assert set(outcome.model_calls) == {
        (task, step) for task in ("Do three things.", *(f"Be {n}." for n in MEMBERS)) for step in (0, 1)
    }, outcome
    assert max(outcome.model_calls.values()) <= 2, outcome
    assert outcome.model_calls.total() - 8 <= models, outcome  # none that was finished is made again
    sequence = [int(e["id"].split("_")[-2]) for e in outcome.events]
    assert sequence == list(range(1, len(sequence) + 1)), outcome
    for started, completed in (("tool_started", "tool_completed"), ("member_tool_started", "member_tool_completed")):
        ended = Counter(e["data"]["tool_execution_id"] for e in outcome.events if e["event"] == completed)
        assert sorted(ended.values()) == [1, 1, 1], outcome
        begun = Counter(e["data"]["tool_execution_id"] for e in outcome.events if e["event"] == started)
        assert set(begun) <= set(ended) and set(begun.values()) <= {1}, outcome
    unknown = [e for e in outcome.events if e["data"].get("outcome") == "unknown"]
    tools = sum(activity.startswith("tool-") for activity, execution in outcome.under_way if "." in execution)
    assert len(unknown) <= tools, outcome
    missing = [name for name, lines in outcome.tool_lines.items() if lines != 1]
    assert max(outcome.tool_lines.values()) <= 1 and len(missing) <= len(unknown), outcome
    assert Counter(_text(outcome.events)) == Counter({"I ask.": 1, ANSWER: 1, "I write.": 3, "It is written.": 3}), (
        outcome
    )


def _text(events: list[dict[str, Any]]) -> list[str]:
    """What a client shows in the end, by message."""
    shown: dict[str, str] = {}
    for event in events:
        data = event["data"]
        if event["event"] == "reset_chunks":
            shown[data["message_id"]] = ""
        elif event["event"] in ("message_chunk", "member_message_chunk"):
            shown[data["message_id"]] = shown.get(data["message_id"], "") + data["content"]
    return list(shown.values())


@pytest.mark.timeout(300)
def test_nothing_of_a_crew_is_lost_or_repeated_when_a_worker_is_killed(stack: Stack) -> None:
    check(run_and_kill(stack, FAST))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_of_a_crew_is_lost_or_repeated_wherever_a_worker_is_killed(stack: Stack) -> None:
    with ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(lambda point: run_and_kill(stack, point), ALL))
    for outcome in outcomes:
        check(outcome)
    again = sum(outcome.model_calls.total() - 8 for outcome in outcomes)
    print(f"{len(outcomes)} kill points of a team on one queue: 0 lost, 0 repeated; {again} calls under way made again")
