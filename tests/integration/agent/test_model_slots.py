"""Model calls do not wait behind tools: they have slots of their own. An urgent execution overtakes a backlog."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from kubiya_worker.workflows.registry import WORKFLOWS
from tests.support.demo_scripts import script, shell, until
from tests.support.stack import Stack, wait_until

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"]}}
AT_ONCE = 5.0  # seconds, on a loaded machine; about 0.1 on an idle one


def filled(stack: Stack, queue: str, slots: int) -> tuple[list[str], Path]:
    """Fill all slots of a queue's only worker with tools; return their executions, and the file that ends the tools."""
    gate, agent = stack.trace("gate"), f"holder-{uuid.uuid4().hex[:8]}"
    stack.agent(agent, skills=[SHELL])
    prompt = script(shell(until(gate)), {"text": "Done."})
    found = [stack.execute(prompt, agent=agent, queue=queue) for _ in range(slots)]
    for execution in found:
        stack.first(execution, "tool_started")
    return found, gate


def scheduled(stack: Stack, execution: str) -> list[str]:
    """Return the types of the activities that an execution has asked for."""
    return [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in stack.history(execution)
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]


def model_queues(stack: Stack, execution: str) -> list[str]:
    """Return the queues of an execution's model calls, in their order."""
    scheduled = [
        event.activity_task_scheduled_event_attributes
        for event in stack.history(execution)
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]
    return [each.task_queue.name for each in scheduled if each.activity_type.name == "call_model"]


def replayed(stack: Stack, execution: str) -> None:
    """Replay an execution's history with the code that is here; a call on another queue must change nothing."""
    history = WorkflowHistory(f"agent-execution-{execution}", stack.history(execution))
    replayer = Replayer(workflows=WORKFLOWS, workflow_runner=UnsandboxedWorkflowRunner())
    asyncio.run(replayer.replay_workflow(history))


@pytest.fixture
def queue(stack: Stack) -> Iterator[str]:
    name = f"slots-{uuid.uuid4().hex[:8]}"
    yield stack.queue(name)


def test_a_model_call_begins_at_once_while_tools_hold_all_slots(stack: Stack, queue: str) -> None:
    worker = stack.worker(queue, MAX_CONCURRENT_ACTIVITIES="2")
    holding, gate = filled(stack, queue, 2)
    began = time.monotonic()
    execution = stack.execute(script({"text": "Hello."}), queue=queue)
    assert stack.wait(execution)["response"] == "Hello."
    seconds = time.monotonic() - began
    print(f"answered in {1000 * seconds:.0f} ms while tools hold all slots")
    assert seconds < AT_ONCE
    (used,) = model_queues(stack, execution)
    assert used.endswith(".models")
    replayed(stack, execution)
    # A free slot is used where it is, by the worker that has the conversation in memory.
    gate.touch()
    for each in holding:
        assert stack.wait(each)["response"] == "Done."
    later = stack.execute(script({"text": "Hello."}), queue=queue)
    assert stack.wait(later)["response"] == "Hello."
    assert [name.endswith(".models") for name in model_queues(stack, later)] == [False]
    worker.kill()


def test_without_slots_of_their_own_model_calls_wait(stack: Stack, queue: str) -> None:
    worker = stack.worker(queue, MAX_CONCURRENT_ACTIVITIES="1", KUBIYA_MODEL_SLOTS="0")
    _, gate = filled(stack, queue, 1)
    execution = stack.execute(script({"text": "Hello."}), queue=queue)
    stack.first(execution, "run_started")
    wait_until(lambda: model_queues(stack, execution), 30, "the model call is scheduled")
    (used,) = model_queues(stack, execution)
    assert not used.endswith(".models")
    assert stack.execution(execution)["status"] == "running"
    gate.touch()
    assert stack.wait(execution)["response"] == "Hello."
    worker.kill()


@pytest.mark.slow
def test_a_model_call_that_nobody_takes_goes_to_the_executions_own_queue(stack: Stack, queue: str) -> None:
    """The only worker dies in a call in the slots for model calls, and the next one is of a version without these."""
    counts, under_way = stack.trace("counts"), stack.trace("under-way")
    environment: dict[str, Any] = {"KILL_COUNT_FILE": str(counts), "KILL_UNDER_WAY_FILE": str(under_way)}
    worker = stack.worker(queue, kill_at="call_model:2:before", MAX_CONCURRENT_ACTIVITIES="1", **environment)
    _, gate = filled(stack, queue, 1)
    execution = stack.execute(script({"text": "Hello."}), queue=queue)
    worker.wait()
    older = stack.worker(queue, MAX_CONCURRENT_ACTIVITIES="2", KUBIYA_MODEL_SLOTS="0")
    assert stack.wait(execution, timeout=200)["response"] == "Hello."
    assert [name.endswith(".models") for name in model_queues(stack, execution)] == [True, False]
    replayed(stack, execution)
    gate.touch()
    older.kill()


def test_an_urgent_execution_overtakes_a_backlog(stack: Stack, queue: str) -> None:
    worker = stack.worker(queue, MAX_CONCURRENT_ACTIVITIES="1")
    _, gate = filled(stack, queue, 1)
    order, agent = stack.trace("order"), f"writer-{uuid.uuid4().hex[:8]}"
    stack.agent(agent, skills=[SHELL])

    def start(name: str, **more: int) -> str:
        prompt = script(shell(f"sh -c 'echo {name} >> {order}'"), {"text": "Done."})
        execution = stack.execute(prompt, agent=agent, queue=queue, **more)
        stack.first(execution, "run_started")
        wait_until(lambda: "call_tool" in scheduled(stack, execution), 30, "its tool waits for the slot")
        return execution

    started = [*(start(f"usual-{number}") for number in range(6)), start("late", priority=5)]
    started.append(start("urgent", priority=1))
    assert not order.exists()
    gate.touch()
    for execution in started:
        assert stack.wait(execution)["response"] == "Done."
    written = order.read_text().split()
    print(written)
    assert written[0] == "urgent"
    assert written[-1] == "late"
    worker.kill()
