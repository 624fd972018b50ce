"""D1 and D6 over a team of three, its leader and its members on different workers.

Any of the workers is killed at any step: nothing is lost, no finished model or tool call is repeated, and the team's
stream has every event once and in order. One member has a worker of its own, which is struck, or the leader's is; the
two other members share a third worker. Each worker has a model endpoint of its own, which counts.
"""

from __future__ import annotations

import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Stack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
ANSWER = "All three are done."
LEADER, MEMBER, OTHERS = "leader", "member", "others"

FAST = ["member:call_tool:1:during", "member:call_model:2:during", "leader:call_model:2:during"]
ALL = [
    *(f"member:call_model:{n}:{point}" for n in (1, 2) for point in ("before", "during", "after")),
    *(f"member:call_tool:1:{point}" for point in ("before", "during", "after")),
    *(
        f"member:{activity}:1:{point}"
        for activity in ("begin_execution", "end_member")
        for point in ("before", "after")
    ),
    *(f"leader:call_model:{n}:{point}" for n in (1, 2) for point in ("before", "during", "after")),
    *(f"leader:call_tool:{n}:{point}" for n in (1, 2, 3) for point in ("before", "during", "after")),
    *(f"leader:report:{n}:{point}" for n in (1, 3) for point in ("before", "after")),
    *(f"leader:{activity}:1:{point}" for activity in ("begin_execution", "end_turn") for point in ("before", "after")),
]


@dataclass
class Outcome:
    point: str
    row: dict[str, Any]
    events: list[dict[str, Any]]
    model_calls: dict[str, Counter[int]]  # by worker, by step
    tool_lines: dict[str, int]


def run_and_kill(stack: Stack, point: str) -> Outcome:
    struck, _, mortal = point.partition(":")
    mark = uuid.uuid4().hex[:8]
    queues = {who: stack.queue(f"{who}-{mark}") for who in (LEADER, MEMBER, OTHERS)}
    files = {who: stack.folder / f"{who}-{mark}.txt" for who in (MEMBER, OTHERS)}
    agents = {n: stack.agent(f"{n}-{mark}", skills=[SHELL], model_id="gpt-test") for n in ("one", "two", "three")}
    with ExitStack() as opened:
        steps: dict[str, list[dict[str, Any]]] = {
            LEADER: [
                {
                    "text": "I ask.",
                    "tools": [{"name": f"ask_{n}-{mark}", "arguments": {"task": f"Be {n}."}} for n in agents],
                },
                {"text": ANSWER},
            ]
        }
        for who, file in files.items():
            command = f"sh -c 'echo x >> {file}; sleep 0.3'"
            tools = [{"name": "shell", "arguments": {"command": command}}]
            steps[who] = [{"text": "I write.", "tools": tools}, {"text": "It is written."}]
        endpoints = {who: opened.enter_context(ModelEndpoint(by_step=script)) for who, script in steps.items()}
        env = {who: {"OPENAI_BASE_URL": e.url, "OPENAI_API_KEY": "sk-test"} for who, e in endpoints.items()}
        body = {
            "name": f"team-{mark}",
            "configuration": {
                "member_ids": list(agents.values()),
                "llm": {"model": "gpt-test"},
                "member_queues": {
                    f"one-{mark}": f"{MEMBER}-{mark}",
                    f"two-{mark}": f"{OTHERS}-{mark}",
                    f"three-{mark}": f"{OTHERS}-{mark}",
                },
            },
        }
        team = stack.call("POST", "/teams", body)["id"]
        workers = {
            who: stack.worker(q, mortal=mortal if who == struck else "", **env[who]) for who, q in queues.items()
        }
        request = {"prompt": "Do three things.", "worker_queue_id": queues[LEADER]}
        execution = stack.call("POST", f"/teams/{team}/execute", request)["execution_id"]
        assert workers[struck].wait(90) == -9, workers[struck].lines
        workers[struck] = stack.worker(queues[struck], **env[struck])
        row = stack.wait(execution, timeout=120)
        events = list(stack.events(execution))
        for worker in workers.values():
            worker.kill()
        calls = {
            who: Counter(sum(m["role"] == "assistant" for m in r["body"]["messages"]) for r in endpoint.requests)
            for who, endpoint in endpoints.items()
        }
    lines = {who: len(f.read_text().splitlines()) if f.exists() else 0 for who, f in files.items()}
    return Outcome(point, row, events, calls, lines)


def check(outcome: Outcome) -> None:
    struck, activity, number, point = outcome.point.split(":")
    assert (outcome.row["status"], outcome.row["response"]) == ("completed", ANSWER), outcome
    expected = {LEADER: Counter({0: 1, 1: 1}), MEMBER: Counter({0: 1, 1: 1}), OTHERS: Counter({0: 2, 1: 2})}
    if activity == "call_model" and point != "before":
        expected[struck][int(number) - 1] += 1  # what was under way is made once more
    assert outcome.model_calls == expected, outcome
    unknown = struck == MEMBER and activity == "call_tool" and point != "after"
    assert outcome.tool_lines[MEMBER] in ((0, 1) if unknown else (1,)), outcome
    assert outcome.tool_lines[OTHERS] == 2, outcome
    sequence = [int(e["id"].split("_")[-2]) for e in outcome.events]
    assert sequence == list(range(1, len(sequence) + 1)), outcome
    for started, completed in (("tool_started", "tool_completed"), ("member_tool_started", "member_tool_completed")):
        ended = Counter(e["data"]["tool_execution_id"] for e in outcome.events if e["event"] == completed)
        assert sorted(ended.values()) == [1, 1, 1], outcome
        begun = Counter(e["data"]["tool_execution_id"] for e in outcome.events if e["event"] == started)
        assert set(begun) <= set(ended), outcome
        assert set(begun.values()) == {1}, outcome
    assert Counter(_text(outcome.events)) == Counter({"I ask.": 1, ANSWER: 1, "I write.": 3, "It is written.": 3}), (
        outcome
    )
    _in_order(outcome)


def _in_order(outcome: Outcome) -> None:
    """All that a member does lies between the leader's call of it and the call's end."""
    places: dict[str, list[int]] = {}
    for place, event in enumerate(outcome.events):
        data = event["data"]
        name = data.get("delegate") or data.get("member_name")
        if name:
            places.setdefault(name, []).append(place)
    assert len(places) == 3, outcome
    for mine in places.values():
        first, last = outcome.events[mine[0]], outcome.events[mine[-1]]
        assert (first["event"], last["event"]) == ("tool_started", "tool_completed"), outcome


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


@pytest.mark.timeout(400)
def test_nothing_of_a_team_is_lost_or_repeated_when_a_worker_is_killed(stack: Stack) -> None:
    with ThreadPoolExecutor(len(FAST)) as pool:
        for outcome in pool.map(lambda point: run_and_kill(stack, point), FAST):
            check(outcome)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_of_a_team_is_lost_or_repeated_wherever_a_worker_is_killed(stack: Stack) -> None:
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda point: run_and_kill(stack, point), ALL))
    for outcome in outcomes:
        check(outcome)
    print(f"{len(outcomes)} kill points of a team of three: 0 lost, 0 repeated")
