"""Every case of tests/cases/models through the whole real stack: what the product makes of a server's odd answers.

All cases run at the same time, once; each test then judges one of them as README.md there tells.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.protocol import execution as ex
from tests.support.case_endpoint import Case, CaseEndpoint
from tests.support.stack import Stack

FOLDER = Path(__file__).parents[2] / "cases" / "models"
# ours.jsonl has more inputs of the same kinds, in the same form.
LINES = [line for name in ("cases.jsonl", "ours.jsonl") for line in (FOLDER / name).read_text().splitlines()]
CASES: list[Case] = [json.loads(line) for line in LINES]
# Too large for a file: more than Temporal takes.
_PIECE = {"choices": [{"index": 0, "delta": {"content": "x" * 100_000}}]}
HUGE: Case = {
    "id": "own-huge",
    "request_fits": "every",
    "wire": {"status": 200, "headers": {}, "body": [f"data: {json.dumps(_PIECE)}\n\n"] * 40},
    "expect": {"status": "completed", "requests": 1, "notice": ["too large", "cut at"]},
    "why": "An answer of 4 MB is cut, with a notice, and the run goes on.",
}
CASES.append(HUGE)
SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
LONGEST = 240.0  # seconds for all cases together: a busy machine may need most of them


@dataclass
class Ran:
    """One execution of a case: its row, events and conversation, and the requests that its model got."""

    requests: list[dict[str, Any]]
    row: dict[str, Any]
    notices: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)

    @property
    def error(self) -> str:
        return str(self.row.get("error_message") or "")

    @property
    def told(self) -> str:
        """All that a person gets to read beside the answer."""
        return "\n".join([self.error, *self.notices])

    def __str__(self) -> str:
        """Return the facts that explain why a case failed."""
        shown = {k: self.row.get(k) for k in ("status", "response", "error_message", "usage")}
        results = [result[:200] for result in self.results]
        return f"{len(self.requests)} requests; {shown}; notices {self.notices}; results {results}"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ran]]:
    with CaseEndpoint(CASES) as endpoint, Stack(tmp_path_factory.mktemp("cases")) as stack:
        stack.worker(
            LITELLM_API_BASE=endpoint.url,
            LITELLM_API_KEY="sk-case-0123456789abcdef",
            KUBIYA_MODEL_IDLE_TIMEOUT="20",
            MAX_CONCURRENT_ACTIVITIES="40",
        )
        with ThreadPoolExecutor(8) as clients:
            started = dict(zip(endpoint.cases, clients.map(lambda case: _start(stack, case), CASES), strict=True))
            _wait(stack, endpoint, started)
            yield dict(
                zip(
                    started,
                    clients.map(lambda case: _read(stack, started[case], endpoint.requests[case]), started),
                    strict=True,
                )
            )


def _start(stack: Stack, case: Case) -> str:
    agent = stack.agent(case["id"], skills=[SHELL], model_id=f"case/{case['id']}")
    return stack.execute("Do the work.", agent=agent)


def _wait(stack: Stack, endpoint: CaseEndpoint, started: dict[str, str]) -> None:
    """Wait until each execution is over, and cancel one that makes more requests than its case allows."""
    deadline = time.monotonic() + LONGEST
    running = dict(started)
    while running and time.monotonic() < deadline:
        rows = {row["id"]: row for row in stack.call("GET", "/executions?limit=500")}
        for case, execution in list(running.items()):
            if ex.is_final(rows[execution]["status"]):
                del running[case]
            elif len(endpoint.requests[case]) > _most(endpoint.cases[case]):
                stack.call("POST", f"/executions/{execution}/cancel")
        time.sleep(0.2)  # one look at all of them: a stream for each would be ninety connections
    for execution in running.values():
        stack.call("POST", f"/executions/{execution}/cancel")


def _most(case: Case) -> int:
    requests = case["expect"].get("requests", 100)
    return int(requests["max"] if isinstance(requests, dict) else requests)


def _read(stack: Stack, execution: str, requests: list[dict[str, Any]]) -> Ran:
    events = stack.call("GET", f"/executions/{execution}/events?limit=1000")
    session = stack.http.get(f"{stack.url}/api/v1/executions/{execution}/session", timeout=60)
    messages = session.json()["messages"] if session.ok else []  # one that was cancelled may have none
    return Ran(
        requests=list(requests),
        row=stack.execution(execution),
        notices=[event["data"]["message"] for event in events if event["event_type"] == "notice"],
        results=[message["content"] for message in messages if message["role"] == "tool"],
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["id"]))
def test_case(case: Case, ran: dict[str, Ran]) -> None:
    problems = list(judged(case["expect"], ran[case["id"]]))
    assert not problems, f"{case['why']} {problems}\n{ran[case['id']]}"


def judged(expect: dict[str, Any], ran: Ran) -> Iterator[str]:
    """Yield a line for each fact that differs from `expect`."""
    allowed = expect["status"] if isinstance(expect["status"], list) else [expect["status"]]
    if ran.row["status"] not in allowed:
        yield f"status {ran.row['status']}, not {expect['status']}"
    if ran.row["status"] == "failed" and not ran.error:
        yield "failed without an error message"
    wanted = expect.get("requests")
    if isinstance(wanted, int) and len(ran.requests) != wanted:
        yield f"{len(ran.requests)} requests, not {wanted}"
    if isinstance(wanted, dict) and len(ran.requests) > wanted["max"]:
        yield f"{len(ran.requests)} requests, more than {wanted['max']}"
    answer = str(ran.row.get("response") or "").strip()
    if "text" in expect and answer != expect["text"]:
        yield f"answer {answer!r}, not {expect['text']!r}"
    left = list(ran.results)
    for call in expect.get("tool_calls", []):
        found = next((result for result in left if call["result_contains"] in result), None)
        if found is None:
            yield f"no result holds {call['result_contains']!r}"
        else:
            left.remove(found)
    if "calls" in expect and len(ran.results) != expect["calls"]:
        yield f"{len(ran.results)} calls, not {expect['calls']}"
    if any(expect.get("results_lack", "\0") in result for result in ran.results):
        yield f"a result holds {expect['results_lack']!r}"
    usage = ran.row.get("usage") or {}
    for name, count in expect.get("usage", {}).items():
        if usage.get(name, 0) != count:
            yield f"usage {name} {usage.get(name)}, not {count}"
    yield from _judged_words(expect, ran)
    if "wait_s" in expect:
        least, most = expect["wait_s"]
        times = [request["at"] for request in ran.requests]
        waited = times[1] - times[0] if len(times) > 1 else 0.0
        if not least <= waited <= most:
            yield f"waited {waited:.1f} s, not {least} to {most}"
    yield from _judged_back(expect.get("sent_back") or {}, ran)


def _judged_words(expect: dict[str, Any], ran: Ran) -> Iterator[str]:
    words = expect.get("error_contains", [])
    if words and not any(word.lower() in ran.error.lower() for word in words):
        yield f"the error has none of {words}"
    if expect.get("error_lacks", "\0") in ran.told:
        yield f"a person is shown {expect['error_lacks']!r}"
    words = expect.get("notice", [])
    shown = [word for word in words if not word.startswith("ran: ") and word.lower() in ran.told.lower()]
    shown += [word for word in words if word.startswith("ran: ") and any(word[5:] in x for x in ran.results)]
    if words and not shown:
        yield f"nobody is told: none of {words}"


def _judged_back(expect: dict[str, Any], ran: Ran) -> Iterator[str]:
    if not expect:
        return
    asked = ran.requests[1]["body"]["messages"] if len(ran.requests) > 1 else []
    message: dict[str, Any] = next((m for m in asked if m["role"] == "assistant"), {})
    call: dict[str, Any] = next(iter(message.get("tool_calls") or ()), {})
    for place, found in (("message", message), ("tool_call", call)):
        for name, value in expect.get(place, {}).items():
            sent = found.get(name)
            if name == "reasoning_details":
                sent, value = _joined(sent or []), _joined(value)
            if sent != value:
                yield f"{place}: {name} came back as {sent!r}, not {value!r}"


def _joined(details: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pieces of reasoning details as whole ones, without what the provider adds to tell its own formats apart."""
    whole: dict[tuple[Any, Any], dict[str, Any]] = {}
    for detail in details:
        entry = whole.setdefault((detail.get("index"), detail["type"]), {})
        for name, value in detail.items():
            if name == "format":
                continue
            grows = name in ("text", "summary", "signature", "data")
            entry[name] = entry.get(name, "") + (value or "") if grows else value
    return list(whole.values())
