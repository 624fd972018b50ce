"""D3: history grows with the conversation, not with its square, and any length goes on as new runs.

A hundred model calls over a conversation of about 200,000 tokens (800 kB), half of them asking for a tool whose output
is the larger part. Measured on the raw histories of all runs of the workflow.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Stack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["cat"], "timeout": 60}}
CALLS = 100
TEXT = 8_000  # bytes in a step: what the model says, and what its tool answers


@dataclass(frozen=True)
class History:
    events: list[int]  # of each run
    bytes: int
    kinds: dict[str, int]  # bytes by type of event

    @property
    def runs(self) -> int:
        return len(self.events)

    def largest(self) -> str:
        order = sorted(self.kinds.items(), key=lambda pair: -pair[1])
        return ", ".join(f"{name} {size:,}" for name, size in order[:6])


async def histories(address: str, workflow_id: str) -> History:
    """All runs of a workflow: events of each, and the bytes of all as Temporal stores them."""
    client = await Client.connect(address)
    events: list[int] = []
    kinds: Counter[str] = Counter()
    async for found in client.list_workflows(f'WorkflowId = "{workflow_id}"'):
        handle = client.get_workflow_handle(workflow_id, run_id=found.run_id)
        history = await handle.fetch_history()
        events.append(len(history.events))
        for event in history.events:
            kinds[EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").lower()] += event.ByteSize()
    assert events
    return History(events, kinds.total(), dict(kinds))


def words(seed: int, size: int) -> str:
    """Text that compresses about as prose does."""
    vocabulary = "disk usage of the service under load was higher than yesterday because logs were not rotated".split()  # noqa: SIM905 - reads better
    out: list[str] = []
    state, length = seed + 1, 0
    while length < size:
        state = (state * 1103515245 + 12345) % 2**31
        word = vocabulary[state % len(vocabulary)] + (str(state % 997) if state % 3 == 0 else "")
        out.append(word)
        length += len(word) + 1
    return " ".join(out)[:size]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("tools", [False, True], ids=["messages", "tools"])
def test_history_of_a_hundred_model_calls_is_linear(stack: Stack, tools: bool) -> None:
    files = []
    for n in range(CALLS):
        file = stack.trace(f"material-{n}")
        file.write_text(words(n, TEXT * 3 // 4))
        files.append(file)
    steps = [
        {
            "text": words(1000 + n, TEXT // 4 if tools else TEXT),
            **({"tools": [{"name": "shell", "arguments": {"command": f"cat {files[n]}"}}]} if tools else {}),
        }
        for n in range(CALLS - 1)
    ]
    queue = stack.queue(f"long-{'tools' if tools else 'messages'}")
    with ModelEndpoint([*steps, {"text": "The end."}]) as endpoint:
        stack.worker(queue, OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-test")
        agent = stack.agent(f"long-{tools}", skills=[SHELL], model_id="gpt-test")
        chat = {"execution_metadata": {"interactive": True}}
        execution = stack.execute("Begin.", agent=agent, queue=queue, **({} if tools else chat))
        if not tools:
            for n in range(1, CALLS):
                stack.wait_for_turn(execution, n)
                stack.call("POST", f"/executions/{execution}/message", {"message": f"Go on {n}."})
            stack.wait_for_turn(execution, CALLS)
            stack.call("POST", f"/executions/{execution}/mark-done")
        row = stack.wait(execution, timeout=200)
        assert row["status"] == "completed", row
        assert endpoint.count == CALLS
        last = endpoint.requests[-1]["body"]["messages"]
    session = stack.call("GET", f"/executions/{execution}/session")["messages"]
    # the session says a tool's output twice, under two names; it counts once
    once = [{k: v for k, v in message.items() if k not in ("tool_output", "tool_execution_id")} for message in session]
    size = sum(len(json.dumps(m, ensure_ascii=False).encode()) for m in once)
    assert len([m for m in last if m["role"] != "system"]) == len(session) - 1  # the model was given all of it
    history = asyncio.run(histories(stack.temporal_address, f"agent-execution-{execution}"))
    print(
        f"{CALLS} model calls, {len(session)} messages, {size:,} bytes: {history.bytes:,} bytes of history "
        f"({history.bytes / size:.2f}x) in {history.runs} runs of {history.events} events; largest: {history.largest()}"
    )
    assert history.bytes <= 1.5 * size
    assert max(history.events) < 1000
