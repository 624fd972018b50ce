"""Twenty members at the same time on two narrow workers, and a control plane that is killed meanwhile.

No starvation and no deadlock: a member that waits holds no slot. The budget is exact to the token: each model call
costs a known number of tokens, and the endpoints count the calls. The team's stream has every event once and in order
(D6).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Stack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
MEMBERS = 20
COST = {"prompt_tokens": 101, "completion_tokens": 7, "total_tokens": 108}


def step(text: str, *calls: dict[str, Any]) -> dict[str, Any]:
    return {"text": text, "tools": list(calls), "usage": COST}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_twenty_members_on_two_narrow_workers_while_the_control_plane_is_killed(stack: Stack) -> None:
    ask = [{"name": f"ask_m{n}", "arguments": {"task": "Work."}} for n in range(MEMBERS)]
    work = {"name": "shell", "arguments": {"command": "true"}}
    with (
        ModelEndpoint(by_step=[step("", *ask), step("All are back.")]) as leading,
        ModelEndpoint(by_step=[step("Working.", work), step("ok")]) as working,
    ):
        ids = [stack.agent(f"m{n}", skills=[SHELL], model_id="gpt-test") for n in range(MEMBERS)]
        leaders = stack.queue("leaders")
        configuration = {
            "member_ids": ids,
            "member_queues": dict.fromkeys(ids, "default"),
            "llm": {"model": "gpt-test"},
            "budgets": {"max_steps": 2 * MEMBERS + 2},
        }
        team = stack.call("POST", "/teams", {"name": "wide", "configuration": configuration})["id"]
        stack.worker(leaders, OPENAI_BASE_URL=leading.url, OPENAI_API_KEY="sk-test")
        for _ in range(2):
            stack.worker(MAX_CONCURRENT_ACTIVITIES="2", OPENAI_BASE_URL=working.url, OPENAI_API_KEY="sk-test")
        request = {"prompt": "Have all of them work.", "worker_queue_id": leaders}
        execution = stack.call("POST", f"/teams/{team}/execute", request)["execution_id"]
        stack.first(execution, "member_tool_started")
        assert stack.server is not None
        stack.server.kill()
        stack.start_server()
        row = stack.wait(execution, timeout=240)
        calls = leading.count + working.count
    assert (row["status"], row["response"]) == ("completed", "All are back."), row
    assert calls == 2 * MEMBERS + 2
    assert row["usage"]["total_tokens"] == calls * COST["total_tokens"]
    (turn,) = stack.call("GET", f"/analytics/executions/{execution}/details")["turns"]
    assert turn["total_tokens"] == row["usage"]["total_tokens"]
    state = stack.call("GET", f"/executions/{execution}/details")["state"]
    assert state["metadata"]["team_steps"] == calls

    events = list(stack.events(execution))
    assert [int(e["id"].split("_")[-2]) for e in events] == list(range(1, len(events) + 1))
    told = [e["data"] for e in events if e["event"] == "tool_completed"]
    assert [t["tool_output"] for t in told] == ["ok"] * MEMBERS
    tools = Counter(e["data"]["tool_execution_id"] for e in events if e["event"] == "member_tool_completed")
    assert sorted(tools.values()) == [1] * MEMBERS
    chunks: dict[str, str] = {}
    for event in events:
        if event["event"] == "member_message_chunk":
            data = event["data"]
            chunks[data["message_id"]] = chunks.get(data["message_id"], "") + data["content"]
    assert Counter(chunks.values()) == Counter({"Working.": MEMBERS, "ok": MEMBERS})
