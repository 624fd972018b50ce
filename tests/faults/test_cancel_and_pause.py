"""Cancel and pause at each phase of a run: thinking, at work, waiting for a person, paused.

The status that a client reads is `cancelled` at once, since the control plane says it; what is waited for here is that
the run itself ends, and what it had started with it.
"""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionDescription

from tests.support.model_endpoint import ModelEndpoint
from tests.support.processes import runs
from tests.support.stack import Stack, wait_until

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 300}}
FILES = {"name": "files", "type": "file_system", "configuration": {}}
SAVE = {"name": "save_file", "arguments": {"path": "note.txt", "content": "hello"}}
CHAT: dict[str, Any] = {"execution_metadata": {"interactive": True}}
SOON = 60.0  # seconds: a few, and a machine may be busy
FOREVER = 600.0

pytestmark = pytest.mark.timeout(300)


class Run:
    """An execution, and the calls of the model that were made for it: they carry its prompt."""

    def __init__(
        self, stack: Stack, endpoint: ModelEndpoint, queue: str, steps: list[dict[str, Any]], **body: Any
    ) -> None:
        self.stack, self.endpoint = stack, endpoint
        endpoint.by_step = steps
        self.prompt = f"Do {uuid.uuid4().hex}."
        agent = stack.agent(f"agent-{uuid.uuid4().hex[:8]}", skills=[SHELL, FILES], model_id="gpt-test")
        self.execution = stack.execute(self.prompt, agent=agent, queue=queue, **body)

    @property
    def model_calls(self) -> int:
        return sum(self.prompt in str(request["body"]["messages"]) for request in self.endpoint.requests)

    @property
    def workspace(self) -> Path:
        return self.stack.folder / "workspaces" / self.execution

    def post(self, what: str) -> None:
        answer = self.stack.call("POST", f"/executions/{self.execution}/{what}")
        assert answer["success"], answer

    def events(self, kind: str) -> list[dict[str, Any]]:
        log = self.stack.call("GET", f"/executions/{self.execution}/events?limit=1000")
        return [event["data"] for event in log if event["event_type"] == kind]

    def state(self) -> dict[str, Any]:
        return self.stack.state(self.execution)

    def description(self) -> WorkflowExecutionDescription:
        async def describe() -> WorkflowExecutionDescription:
            client = await Client.connect(self.stack.temporal_address)
            return await client.get_workflow_handle(f"agent-execution-{self.execution}").describe()

        return asyncio.run(describe())

    def pause(self) -> None:
        self.post("pause")
        wait_until(lambda: self.state()["is_paused"], SOON, "the run knows that it is paused")

    def rests(self) -> None:
        """Nothing is under way and nothing is due: only a signal can move it."""

        def at_rest() -> bool:
            found = self.description().raw_description
            return not (found.pending_activities or found.HasField("pending_workflow_task"))

        wait_until(at_rest, SOON, "the run is at rest")

    def cancel(self) -> None:
        """Cancels; the run ends soon, starts nothing more, and stays what it is."""
        calls, started = self.model_calls, len(self.events("tool_started"))
        self.post("cancel")
        assert self.stack.execution(self.execution)["status"] == "cancelled"
        wait_until(lambda: self.description().close_time, SOON, "the run ends")
        self.stack.first(self.execution, "done")
        assert self.state()["status"] == "cancelled"
        assert self.stack.execution(self.execution)["status"] == "cancelled"
        assert (self.model_calls, len(self.events("tool_started"))) == (calls, started)
        for what in ("pause", "resume"):
            assert not self.stack.call("POST", f"/executions/{self.execution}/{what}")["success"]
        assert self.stack.execution(self.execution)["status"] == "cancelled"


def test_cancel_while_the_model_is_silent(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    run = Run(stack, endpoint, queue, [{"text": "Late.", "first_delay": FOREVER}])
    wait_until(lambda: run.model_calls, SOON, "the model is asked")
    run.cancel()


def test_cancel_while_the_model_speaks_hangs_up(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    aborted = endpoint.aborted
    run = Run(stack, endpoint, queue, [{"text": "word " * 3000, "chunk_delay": 0.2}])
    stack.first(run.execution, "message_chunk")
    run.cancel()
    wait_until(lambda: endpoint.aborted > aborted, SOON, "the worker hangs up")


def test_cancel_kills_a_tool_with_all_its_children(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    pids = stack.trace("pids")
    # A shell, a child of it, and a grandchild that ignores SIGTERM.
    deaf = f"""sh -c "trap : TERM; echo \\$\\$ >> {pids}; while :; do sleep 1; done" """
    command = f"""sh -c 'echo $$ >> {pids}; sleep 300 & echo $! >> {pids}; {deaf}& wait'"""
    run = Run(stack, endpoint, queue, [{"tools": [{"name": "shell", "arguments": {"command": command}}]}])
    wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 3, SOON, "the processes are there")
    started = [int(pid) for pid in pids.read_text().split()]
    assert all(map(runs, started))
    stack.first(run.execution, "tool_started")  # the tool does not wait until that is told
    run.cancel()
    wait_until(lambda: not any(map(runs, started)), SOON, "the processes are gone")


def test_cancel_while_an_approval_waits(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    run = Run(stack, endpoint, queue, [{"tools": [SAVE]}, {"text": "Saved."}])
    asked = stack.first(run.execution, "approval_requested")["approval_id"]
    stack.wait(run.execution, "waiting_for_input")
    run.cancel()
    stack.call("POST", f"/approvals/{asked}/approve", {}, status=409)
    assert not (run.workspace / "note.txt").exists()


def test_cancel_while_it_waits_for_a_message(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    run = Run(stack, endpoint, queue, [{"text": "Hello."}], **CHAT)
    stack.wait_for_turn(run.execution, 1)
    run.cancel()


def test_cancel_while_paused(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    gate = stack.folder / f"gate-{uuid.uuid4().hex[:8]}"
    speech = {"text": "one two three", "silence": {"after": 3, "until": str(gate)}, "tools": [SAVE]}
    run = Run(stack, endpoint, queue, [speech, {"text": "Saved."}])
    stack.first(run.execution, "message_chunk")
    run.pause()
    gate.touch()
    run.rests()
    run.cancel()
    assert run.model_calls == 1 and run.events("approval_requested") == []


def test_pause_lets_the_model_finish_and_starts_nothing_more(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    file = stack.trace("ran")
    tool = {"name": "shell", "arguments": {"command": f"touch {file}"}}
    gate = stack.folder / f"gate-{uuid.uuid4().hex[:8]}"
    speech = {"text": "one two three", "silence": {"after": 3, "until": str(gate)}, "tools": [tool]}
    run = Run(stack, endpoint, queue, [speech, {"text": "So."}])
    stack.first(run.execution, "message_chunk")
    run.pause()
    gate.touch()
    run.rests()
    assert "".join(chunk["content"] for chunk in run.events("message_chunk")) == "one two three"
    assert run.events("tool_started") == [] and not file.exists()
    assert (run.state()["status"], run.model_calls) == ("paused", 1)
    run.post("resume")
    assert stack.wait(run.execution)["response"] == "So."
    assert file.exists() and run.model_calls == 2


def test_pause_while_an_approval_waits_keeps_the_answer_for_later(
    stack: Stack, endpoint: ModelEndpoint, queue: str
) -> None:
    run = Run(stack, endpoint, queue, [{"tools": [SAVE]}, {"text": "Saved."}])
    asked = stack.first(run.execution, "approval_requested")["approval_id"]
    stack.wait(run.execution, "waiting_for_input")
    run.pause()
    stack.call("POST", f"/approvals/{asked}/approve", {})
    run.rests()
    assert run.events("tool_started") == [] and not (run.workspace / "note.txt").exists()
    run.post("resume")
    assert stack.wait(run.execution)["response"] == "Saved."
    assert (run.workspace / "note.txt").read_text() == "hello"


def test_pause_while_it_waits_for_a_message_keeps_the_message_for_later(
    stack: Stack, endpoint: ModelEndpoint, queue: str
) -> None:
    run = Run(stack, endpoint, queue, [{"text": "Hello."}], **CHAT)
    stack.wait_for_turn(run.execution, 1)
    run.pause()
    stack.call("POST", f"/executions/{run.execution}/message", {"message": "Go on."})
    run.rests()
    assert run.model_calls == 1
    run.post("resume")
    stack.wait_for_turn(run.execution, 2)
    assert run.model_calls == 2
    stack.call("POST", f"/executions/{run.execution}/mark-done")
    assert stack.wait(run.execution)["status"] == "completed"
