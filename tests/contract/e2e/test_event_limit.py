"""The published stream shows the first 1,000 events of a running execution and no more (docs/protocol.md#c1)."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_endpoint import ModelEndpoint
from tests.support.published_stack import PublishedStack
from tests.support.stack import wait_until

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["echo"]}}
LONG = " ".join(f"word{n}" for n in range(400))


@pytest.fixture(scope="module")
def endpoint() -> Iterator[ModelEndpoint]:
    with ModelEndpoint([]) as running:
        yield running


def queue(stack: PublishedStack, name: str) -> str:
    environment = next(iter(stack.world.environments))
    return str(stack.call("POST", f"/environments/{environment}/worker-queues", {"name": name})["id"])


def test_a_long_run_with_talk_and_tools_fits(stack: PublishedStack) -> None:
    """300 tool calls in 60 steps, each with text, and a last answer."""
    step = {"text": LONG, "tools": [{"name": "shell", "arguments": {"command": "echo one"}}] * 5}
    agent = stack.agent("long", skills=[SHELL])
    execution = stack.execute("demo:script " + json.dumps([*[step] * 60, {"text": "The end."}]), agent=agent)
    stack.wait(execution, timeout=240)
    listed = stack.world.events[execution]
    assert len(listed) < 1_000
    texts = [e["data"]["content"] for e in listed if e["event_type"] == "message" and e["data"]["role"] == "assistant"]
    assert texts[-1] == "The end." and len(texts) == 61
    chunks = [e for e in listed if e["event_type"] == "message_chunk"]
    assert 10 < len(chunks) < 500


@pytest.mark.slow
def test_text_of_an_attempt_that_died_is_not_part_of_the_next(stack: PublishedStack, endpoint: ModelEndpoint) -> None:
    """A client that knows no `reset_chunks` puts chunks together by their id until the message comes."""
    where = queue(stack, "dying")
    keys = {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "sk-test"}
    marks = {"KILL_COUNT_FILE": str(stack.folder / "calls"), "KILL_UNDER_WAY_FILE": str(stack.folder / "last-call")}
    endpoint.script = [{"text": f"Dead. {LONG}", "chunk_delay": 0.02}, {"text": f"Alive. {LONG}"}]
    first = stack.worker(where, kill_at="call_model:1:during", **keys, **marks)
    execution = stack.execute("Speak.", agent=stack.agent("speaker", model_id="gpt-test"), queue=where)
    assert first.wait(60) == -signal.SIGKILL
    stack.worker(where, **keys)
    stack.wait(execution)
    shown: dict[str, str] = {}
    for event in stack.world.events[execution]:
        data = event["data"]
        if event["event_type"] == "message_chunk":
            shown[data["message_id"]] = shown.get(data["message_id"], "") + data["content"]
            assert "Alive" not in shown[data["message_id"]] or "Dead" not in shown[data["message_id"]]
        elif event["event_type"] == "message" and data["role"] == "assistant":
            shown[data["message_id"]] = data["content"]
    assert shown == {f"{execution}_assistant_1": f"Alive. {LONG}"}


def test_an_answer_is_shown_while_it_comes(stack: PublishedStack, endpoint: ModelEndpoint, tmp_path: Path) -> None:
    where, gate = queue(stack, "pacing"), tmp_path / "gate"
    endpoint.script = [{"text": LONG, "chunk_delay": 0.01, "silence": {"after": 350, "until": str(gate)}}]
    stack.worker(where, OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-test")
    execution = stack.execute("Speak.", agent=stack.agent("pacer", model_id="gpt-test"), queue=where)
    wait_until(lambda: _chunks(stack, execution), 60, "text is shown before the model has said the last of it")
    gate.touch()
    assert stack.wait(execution)["response"] == LONG
    chunks = _chunks(stack, execution)
    assert 1 < len(chunks) <= 60 and "".join(c["content"] for c in chunks) == LONG


def _chunks(stack: PublishedStack, execution: str) -> list[dict[str, Any]]:
    return [e["data"] for e in stack.world.events.get(execution, []) if e["event_type"] == "message_chunk"]
