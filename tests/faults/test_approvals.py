"""D4: an approval that waits costs nothing, is answered within a second, and survives restarts of everything."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionDescription

from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol import names
from tests.support.model_endpoint import ModelEndpoint
from tests.support.recording_proxy import RecordingProxy
from tests.support.stack import Stack, wait_until

FILES = {"name": "files", "type": "file_system", "configuration": {}}
ANSWERED_WITHIN = 2.0  # seconds: figure D4 is one, on a machine that is not busy
WATCHED = 6.0  # seconds for which a waiting run is watched: nothing may happen
ARGUMENTS = {"path": "note.txt", "content": "hello"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), persistent=True) as running:
        yield running


def save(*paths: str) -> list[dict[str, Any]]:
    """A model that asks for one file after another, each of which needs a person."""
    calls = [
        {"name": "save_file", "arguments": {"path": path, "content": "hello"}, "id": f"c-{path}"} for path in paths
    ]
    return [*({"tools": [call]} for call in calls), {"text": "Done."}]


def begin(stack: Stack, endpoint: ModelEndpoint, queue: str) -> str:
    agent = stack.agent(f"agent-{uuid.uuid4().hex[:8]}", skills=[FILES], model_id="gpt-test")
    return stack.execute("Save it.", agent=agent, queue=queue)


def workspace(stack: Stack, execution: str) -> Path:
    return stack.folder / "workspaces" / execution


async def describe(stack: Stack, execution: str) -> WorkflowExecutionDescription:
    client = await Client.connect(stack.temporal_address)
    return await client.get_workflow_handle(f"agent-execution-{execution}").describe()


def outcomes(events: list[dict[str, Any]]) -> list[str]:
    return [event["data"]["outcome"] for event in events if event["event"] == "tool_completed"]


@pytest.mark.timeout(180)
def test_a_waiting_approval_holds_no_slot_and_asks_nobody_and_its_answer_is_heard_at_once(stack: Stack) -> None:
    queue = stack.queue("waits")
    files = ["one", "two", "three", "four"]
    with ModelEndpoint(by_step=save(*files)) as endpoint, RecordingProxy(stack.port) as proxy:
        model = {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "sk-test"}
        stack.worker(queue, ready=True, CONTROL_PLANE_GATEWAY_URL=proxy.url, **model)
        execution = begin(stack, endpoint, queue)
        delays: list[float] = []
        asked: list[str] = []
        for event in stack.events(execution, timeout=120):
            if event["event"] == "approval_requested":
                asked.append(event["data"]["approval_id"])
                if len(asked) == 1:
                    _nothing_happens(stack, proxy, execution)
                stack.call("POST", f"/approvals/{asked[-1]}/approve", {})
                answered = time.monotonic()
            elif event["event"] == "tool_started":
                delays.append(time.monotonic() - answered)
    assert len(asked) == len(delays) == len(files)
    assert {path.name for path in workspace(stack, execution).iterdir()} == set(files)
    print("from the answer to the next step:", ", ".join(f"{delay:.3f} s" for delay in delays))
    assert min(delays) < ANSWERED_WITHIN  # the best of four: the machine may be busy, the product must not be slow


def _nothing_happens(stack: Stack, proxy: RecordingProxy, execution: str) -> None:
    found: list[WorkflowExecutionDescription] = []

    def at_rest() -> bool:
        """The question is on the stream before the steps have ended that tell of it."""
        found[:] = [asyncio.run(describe(stack, execution))]
        raw = found[0].raw_description
        return not (raw.pending_activities or raw.HasField("pending_workflow_task"))

    wait_until(at_rest, 30, "the run is at rest")
    before, requests = found[0], len(proxy.requests)
    time.sleep(WATCHED)  # the claim is about time that passes
    after = asyncio.run(describe(stack, execution))
    assert after.history_length == before.history_length
    assert not after.raw_description.pending_activities
    assert [path for _, path in proxy.requests[requests:] if "heartbeat" not in path] == []


@pytest.mark.timeout(240)
def test_approvals_survive_restarts_of_worker_control_plane_and_temporal(stack: Stack) -> None:
    queue = stack.queue("restarts")
    with ModelEndpoint(by_step=save("note.txt")) as endpoint:
        env = {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "sk-test"}
        worker = stack.worker(queue, ready=True, **env)
        runs = {name: begin(stack, endpoint, queue) for name in ("approved", "edited", "denied", "later")}
        asked = {name: stack.first(run, "approval_requested")["approval_id"] for name, run in runs.items()}
        for run in runs.values():
            stack.wait(run, "waiting_for_input")
        assert stack.temporal and stack.server
        for process in (worker, stack.server, stack.temporal):
            process.kill()
        stack.start_temporal()
        stack.start_server()
        # Three answers come while no worker is there to wait for them, one after it has come back.
        stack.call("POST", f"/approvals/{asked['approved']}/approve", {})
        edited = {"path": "other.txt", "content": "bye"}
        stack.call("POST", f"/approvals/{asked['edited']}/approve", {"arguments": edited})
        stack.call("POST", f"/approvals/{asked['denied']}/reject", {"reason": "not now"})
        stack.worker(queue, ready=True, **env)
        rows = {name: stack.wait(runs[name], timeout=90) for name in ("approved", "edited", "denied")}
        stack.call("POST", f"/approvals/{asked['later']}/approve", {})
        rows["later"] = stack.wait(runs["later"], timeout=90)
        assert {row["status"] for row in rows.values()} == {"completed"}
        assert endpoint.count == 2 * len(runs), "a model call was repeated"
        found = {name: outcomes(list(stack.events(run))) for name, run in runs.items()}
    assert found == {"approved": ["success"], "edited": ["success"], "denied": ["denied"], "later": ["success"]}
    written = {name: workspace(stack, run) for name, run in runs.items()}
    assert (written["approved"] / "note.txt").read_text() == "hello"
    assert (written["later"] / "note.txt").read_text() == "hello"
    assert [path.name for path in written["edited"].iterdir()] == ["other.txt"]
    assert not (written["denied"] / "note.txt").exists()


@pytest.mark.timeout(120)
def test_an_answer_may_come_early_or_twice_but_not_after_the_end(stack: Stack) -> None:
    queue = stack.queue("answers")
    slow = [{**step, "first_delay": 1.5} for step in save("note.txt")]
    with ModelEndpoint(by_step=slow) as endpoint:
        stack.worker(queue, OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-test")
        early, twice = begin(stack, endpoint, queue), begin(stack, endpoint, queue)
        # The id of a question follows from the call, so it can be answered while the model still thinks.
        hashed = m.arguments_hash("save_file", ARGUMENTS)
        approval = names.approval_id(early, "c-note.txt", hashed)
        stack.first(early, "run_started")
        asyncio.run(_signal(stack, early, {"approval_id": approval, "decision": "approved"}))
        assert stack.wait(early)["status"] == "completed"
        assert outcomes(list(stack.events(early))) == ["success"]

        asked = stack.first(twice, "approval_requested")["approval_id"]
        for _ in range(2):
            stack.call("POST", f"/approvals/{asked}/approve", {}, status=200)
        stack.call("POST", f"/approvals/{asked}/reject", {}, status=409)
        assert stack.wait(twice)["status"] == "completed"
        assert outcomes(list(stack.events(twice))) == ["success"]
        stack.call("POST", f"/approvals/{asked}/reject", {}, status=409)


async def _signal(stack: Stack, execution: str, answer: dict[str, Any]) -> None:
    client = await Client.connect(stack.temporal_address)
    await client.get_workflow_handle(f"agent-execution-{execution}").signal(names.RESOLVE_APPROVAL, answer)


@pytest.mark.slow  # rules count in minutes
@pytest.mark.timeout(180)
def test_an_approval_that_nobody_answers_expires_which_is_no_denial(stack: Stack) -> None:
    queue = stack.queue("expires")
    rule = {"name": "soon", "scope_type": "tool", "scope_value": "save_file", "timeout_minutes": 1, "priority": 99}
    made = stack.call("POST", "/approval-rules", rule)["id"]
    try:
        with ModelEndpoint(by_step=save("note.txt")) as endpoint:
            stack.worker(queue, OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-test")
            execution = begin(stack, endpoint, queue)
            asked = stack.first(execution, "approval_requested")["approval_id"]
            assert stack.wait(execution, timeout=120)["response"] == "Done."
            told = next(x for x in endpoint.requests[-1]["body"]["messages"] if x["role"] == "tool")
    finally:
        stack.call("DELETE", f"/approval-rules/{made}")
    assert "This is not a denial" in told["content"]
    assert outcomes(list(stack.events(execution))) == ["expired"]
    assert stack.call("GET", f"/approvals/{asked}")["status"] == "expired"
    stack.call("POST", f"/approvals/{asked}/approve", {}, status=409)
    assert not (workspace(stack, execution) / "note.txt").exists()
