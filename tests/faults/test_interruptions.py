"""Bad days: the control plane or Temporal goes away in the middle of a run. Nothing is lost or repeated.

Each absence is a few seconds here, and a minute in the slow tests.
"""

from __future__ import annotations

import json
import signal
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.support.event_stream import shown_texts
from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Process, Stack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 120}}
ANSWER = "All three are done."
STEPS = ["Step 0.", "Step 1.", "Step 2."]
ABSENCES = [pytest.param(4.0, id="seconds"), pytest.param(60.0, id="a-minute", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), persistent=True) as running:
        yield running


class Run:
    """Three tool calls, each of which adds a line to a file of its own and takes a second; four model calls."""

    def __init__(self, stack: Stack, endpoint: ModelEndpoint) -> None:
        self.stack, self.endpoint = stack, endpoint
        name = f"q-{uuid.uuid4().hex[:8]}"
        self.files = [stack.trace(f"{name}-{n}") for n in range(3)]
        endpoint.by_step = [
            {
                "text": text,
                "tools": [{"name": "shell", "arguments": {"command": f"sh -c 'echo x >> {file}; sleep 1'"}}],
            }
            for text, file in zip(STEPS, self.files, strict=True)
        ]
        endpoint.by_step.append({"text": ANSWER, "chunk_delay": 0.2})
        queue = stack.queue(name)
        self.worker = stack.worker(queue, OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-test")
        agent = stack.agent(f"agent-{name}", skills=[SHELL], model_id="gpt-test")
        self.execution = stack.execute("Do three things.", agent=agent, queue=queue)
        stack.first(self.execution, "tool_started")

    def check(self, timeout: float, *, model_calls: int = 4) -> None:
        row = self.stack.wait(self.execution, timeout=timeout)
        assert (row["status"], row["response"]) == ("completed", ANSWER), row
        assert self.endpoint.count == model_calls
        assert [file.read_text() for file in self.files] == ["x\n"] * 3
        events = list(self.stack.events(self.execution))
        sequence = [int(event["id"].split("_")[-2]) for event in events]
        assert sequence == list(range(1, len(sequence) + 1))
        completed = [event["data"]["tool_execution_id"] for event in events if event["event"] == "tool_completed"]
        assert len(completed) == len(set(completed)) == 3
        assert shown_texts(events) == [*STEPS, ANSWER]


def absent(process: Process | None, seconds: float, again: Callable[[], object]) -> None:
    assert process is not None
    process.kill()
    time.sleep(seconds)  # the absence is the point
    again()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", ABSENCES)
def test_a_control_plane_that_is_killed_and_comes_back(stack: Stack, seconds: float) -> None:
    with ModelEndpoint() as endpoint:
        run = Run(stack, endpoint)
        absent(stack.server, seconds, stack.start_server)
        run.check(180)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", ABSENCES)
def test_a_control_plane_that_stands_still_and_goes_on(stack: Stack, seconds: float) -> None:
    with ModelEndpoint() as endpoint:
        run = Run(stack, endpoint)
        assert stack.server is not None
        stack.server.freeze()
        time.sleep(seconds)
        stack.server.signal(signal.SIGCONT)
        run.check(180)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", ABSENCES)
def test_a_temporal_that_is_killed_and_comes_back(stack: Stack, seconds: float) -> None:
    with ModelEndpoint() as endpoint:
        run = Run(stack, endpoint)
        absent(stack.temporal, seconds, stack.start_temporal)
        run.check(180)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_control_plane_and_temporal_gone_together_for_a_minute(stack: Stack) -> None:
    with ModelEndpoint() as endpoint:
        run = Run(stack, endpoint)
        assert stack.server is not None
        stack.server.kill()
        absent(stack.temporal, 60.0, stack.start_temporal)
        stack.start_server()
        run.check(180)


@pytest.mark.timeout(180)
def test_bad_input_is_one_line(stack: Stack) -> None:
    stack.worker()
    agent = stack.agent(f"agent-{uuid.uuid4().hex[:8]}")

    def refused(status: int, prompt: str, *, agent: str = agent, queue: str = "default") -> str:
        body = {"prompt": prompt, "worker_queue_id": queue}
        detail = stack.call("POST", f"/agents/{agent}/execute", body, status=status)["detail"]
        text = detail if isinstance(detail, str) else detail[0]["msg"]
        assert "\n" not in text and len(text) < 300
        return str(text)

    assert "5,000,000 bytes" in refused(413, "x" * 5_000_000)
    assert refused(422, "")
    assert "nobody" in refused(404, "hello", agent="nobody")
    assert "nowhere" in refused(404, "hello", queue="nowhere")


@pytest.mark.timeout(240)
def test_state_is_told_at_any_time_and_after_the_end(stack: Stack) -> None:
    stack.worker()
    agent = stack.agent(f"agent-{uuid.uuid4().hex[:8]}", skills=[SHELL])
    gate = stack.folder / f"gate-{uuid.uuid4().hex[:8]}"
    noisy = f"sh -c 'yes 0123456789abcdef | head -c 5000000; until [ -e {gate} ]; do sleep 0.05; done'"
    steps = [{"tools": [{"name": "shell", "arguments": {"command": noisy}}]}, {"text": "Much."}]
    execution = stack.execute(f"demo:script {json.dumps(steps)}", agent=agent)
    seen = set()
    for event in stack.events(execution):
        if event["event"] in ("run_started", "tool_started", "tool_completed", "done"):
            seen.add(stack.state(execution)["status"])
        if event["event"] == "tool_started":
            gate.touch()
    assert seen <= {"pending", "running", "completed"} and "running" in seen
    assert stack.execution(execution)["response"] == "Much."
    (tool,) = (x for x in stack.call("GET", f"/executions/{execution}/session")["messages"] if x["role"] == "tool")
    assert len(tool["content"]) < 100_000  # 5 MB are not for a model to read
