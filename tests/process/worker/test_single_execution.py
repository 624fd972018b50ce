"""Single-execution mode: a worker for one run."""

from __future__ import annotations

import json
import signal
import time
import uuid
from typing import Any

from tests.support.stack import Stack


def ephemeral(stack: Stack, **fields: Any) -> str:
    body = {"name": f"one-{uuid.uuid4().hex[:8]}", "ephemeral": True, **fields}
    return str(stack.call("POST", "/environments/default/worker-queues", body)["id"])


def say(text: str) -> str:
    return "demo:script " + json.dumps([{"text": text}])


def test_a_worker_ends_with_0_when_its_execution_is_over_and_its_queue_goes(stack: Stack) -> None:
    queue = ephemeral(stack)
    agent = stack.agent(f"a-{queue[:8]}")
    worker = stack.worker(queue, SINGLE_EXECUTION="yes")
    execution = stack.execute(say("All done."), agent=agent, queue=queue)
    assert stack.wait(execution)["response"] == "All done."
    assert worker.wait(60) == 0, worker.lines
    worker.expect("worker.draining reason=single-execution")
    worker.expect("worker.disconnected .*exit_code=0")
    worker.expect(f"worker.queue_deleted queue={queue}")
    stack.call("GET", f"/worker-queues/{queue}", status=404)
    assert stack.execution(execution)["status"] == "completed"


def test_the_queue_itself_may_ask_for_it_and_stays_when_it_is_not_ephemeral(stack: Stack) -> None:
    queue = ephemeral(stack, ephemeral=False, single_execution_mode=True)
    agent = stack.agent(f"a-{queue[:8]}")
    old = stack.execute(say("Old."), agent=agent, queue=queue)
    stack.call("POST", f"/executions/{old}/cancel")
    assert stack.wait(old)["status"] == "cancelled"
    worker = stack.worker(queue)  # what was over before it came does not end it
    execution = stack.execute(say("New."), agent=agent, queue=queue)
    assert stack.wait(execution)["response"] == "New."
    assert worker.wait(60) == 0, worker.lines
    assert not any("queue_deleted" in line for line in worker.lines)
    stack.call("GET", f"/worker-queues/{queue}")


def test_what_waits_for_a_person_keeps_it_and_a_signal_ends_it_as_ever(stack: Stack) -> None:
    queue = ephemeral(stack)
    agent = stack.agent(f"a-{queue[:8]}")
    worker = stack.worker(queue, KUBIYA_SINGLE_EXECUTION_MODE="1")
    chat = {"execution_metadata": {"interactive": True}}
    execution = stack.execute(say("Yes?"), agent=agent, queue=queue, **chat)
    stack.wait(execution, "waiting_for_input")
    deadline = time.monotonic() + 7  # longer than two looks and the settling
    while time.monotonic() < deadline:
        assert worker.popen.poll() is None, worker.lines
        time.sleep(0.2)
    worker.signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    worker.expect("worker.draining reason=SIGTERM")
    stack.call("GET", f"/worker-queues/{queue}")  # something is left on it
