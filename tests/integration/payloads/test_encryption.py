"""Temporal stores nothing readable when keys are set: the runs stay the same, also while keys are rotated."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from kubiya_worker.payloads.converter import Payloads
from kubiya_worker.payloads.options import PayloadOptions
from tests.support.demo_scripts import script, shell
from tests.support.stack import Stack, free_port, wait_until

CANARY = "canary-7f3a9c"
SHELL = {
    "name": "shell",
    "type": "shell",
    "configuration": {"allowed_commands": ["echo", "false", "sleep"], "timeout": 30},
}
ASK = {"name": "ask", "scope_type": "tool", "scope_value": "shell", "argument_pattern": "approve", "action": "ask"}


def key(n: int) -> str:
    return base64.b64encode(bytes([n]) * 32).decode()


def write(path: Path, *lines: str) -> Path:
    """Replace the file in one step: a reader sees the old content or the new one."""
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text("".join(f"{line}\n" for line in lines))
    draft.chmod(0o600)
    draft.replace(path)
    return path


def configured(folder: Path, environment: pytest.MonkeyPatch) -> Path:
    """Return the control plane's and the workers' keys: a stack hands its environment on."""
    path = write(folder / "payload-keys", f"old {key(1)}")
    environment.setenv("KUBIYA_PAYLOAD_KEYS_FILE", str(path))
    environment.setenv("KUBIYA_PAYLOAD_COMPRESSION", "zlib")
    return path


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keys that a test changes."""
    return configured(tmp_path, monkeypatch)


@pytest.fixture
def stack(tmp_path: Path, keys: Path) -> Iterator[Stack]:
    with Stack(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack with a worker, whose key `old` stays."""
    folder = tmp_path_factory.mktemp("stack")
    with pytest.MonkeyPatch.context() as environment:
        configured(folder, environment)
        with Stack(folder) as running:
            running.worker()
            yield running


def failed_tasks(stack: Stack, execution: str) -> list[str]:
    events = stack.history(execution)
    return [
        e.workflow_task_failed_event_attributes.failure.message
        for e in events
        if e.HasField("workflow_task_failed_event_attributes")
    ]


def failed_activities(stack: Stack, execution: str) -> int:
    events = stack.history(execution)
    return sum(event.HasField("activity_task_failed_event_attributes") for event in events)


def test_a_history_holds_nothing_that_can_be_read(shared: Stack) -> None:
    agent = shared.agent("echo", skills=[SHELL])
    steps = [shell(f"echo {CANARY}"), shell("false"), {"text": f"It said {CANARY}."}]
    execution = shared.execute(script(*steps), agent=agent)
    done = shared.wait(execution)
    assert done["status"] == "completed" and CANARY in done["response"]
    raw = shared.raw_history(execution)
    assert CANARY.encode() not in raw and b"demo:script" not in raw and b"shell" not in raw
    assert raw.count(b"binary/encrypted") > 10
    for process in shared.processes:
        assert key(1) not in "\n".join(process.lines)


def test_the_key_is_rotated_while_a_run_waits(stack: Stack, keys: Path) -> None:
    stack.call("POST", "/approval-rules", ASK)
    worker = stack.worker()
    agent = stack.agent(skills=[SHELL])
    execution = stack.execute(script(shell("echo approve"), {"text": "Done."}), agent=agent)
    asked = stack.first(execution, "approval_requested")
    write(keys, f"new {key(2)}", f"old {key(1)}")
    worker.kill()
    stack.worker()
    assert stack.server is not None
    stack.server.kill()
    stack.start_server()
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
    assert stack.wait(execution)["status"] == "completed"
    raw = stack.raw_history(execution)
    assert b"old" in raw and b"new" in raw


def test_failures_are_encrypted_and_their_reason_arrives(shared: Stack) -> None:
    execution = shared.execute(script({"text": ""}), agent=shared.agent("fails", model_id=f"none/{CANARY}"))
    done = shared.wait(execution)
    assert done["status"] == "failed" and CANARY in str(done["error_message"])
    assert CANARY.encode() not in shared.raw_history(execution)


def test_a_worker_without_the_key_does_not_start(shared: Stack, tmp_path: Path) -> None:
    for variables, says in (
        ({"KUBIYA_PAYLOAD_KEYS_FILE": ""}, "with the key 'old', which is not configured here"),
        ({"KUBIYA_PAYLOAD_KEYS_FILE": str(write(tmp_path / "other", f"x {key(3)}"))}, "which is not in"),
        ({"KUBIYA_PAYLOAD_KEYS_FILE": str(tmp_path / "none")}, "cannot be read: No such file"),
    ):
        worker = shared.worker(ready=False, **variables)
        assert worker.wait() == 78
        assert says in worker.lines[-1], worker.lines


@pytest.mark.slow
def test_a_worker_that_meets_an_unknown_key_says_so_and_loses_no_execution(
    stack: Stack, tmp_path: Path, keys: Path
) -> None:
    """The key is rotated before the worker has it: its workflow tasks fail and are tried again until it has."""
    own = write(tmp_path / "own", f"old {key(1)}")
    write(keys, f"old {key(1)}", f"new {key(2)}")
    worker = stack.worker(KUBIYA_PAYLOAD_KEYS_FILE=str(own))
    write(keys, f"new {key(2)}", f"old {key(1)}")
    assert stack.server is not None
    stack.server.kill()
    stack.start_server()
    execution = stack.execute(script({"text": "Done."}), agent=stack.agent())
    worker.expect(f"payload.unreadable A payload is encrypted with the key 'new', which is not in {own}")
    wait_until(lambda: failed_tasks(stack, execution), 60, "a workflow task has failed")
    assert stack.execution(execution)["status"] in ("pending", "running")
    write(own, f"old {key(1)}", f"new {key(2)}")  # read without a restart
    assert stack.wait(execution)["status"] == "completed"


@pytest.mark.slow
def test_a_tool_call_that_a_worker_cannot_read_runs_on_the_next(stack: Stack) -> None:
    """A tool has one attempt; one that never began does not count."""
    stack.call("POST", "/approval-rules", ASK)
    stack.worker(MAX_CONCURRENT_ACTIVITIES="1")
    agent = stack.agent(skills=[SHELL])
    execution = stack.execute(script(shell("echo approve"), {"text": "Done."}), agent=agent)
    asked = stack.first(execution, "approval_requested")
    gate = stack.folder / "gate"
    free = {"name": "free", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 300}}
    waits = shell(f"sh -c 'until test -e {gate}; do sleep 0.1; done'")
    busy = stack.execute(script(waits, {"text": "Done."}), agent=stack.agent("busy", skills=[free]))
    stack.first(busy, "tool_started")  # so the approved call comes to the worker without a key
    queue = stack.call("GET", "/worker-queues/default")["id"]
    keyless = stack.start([sys.executable, "-m", "tests.support.worker_without_keys", stack.temporal_address, queue])
    keyless.expect("polls")
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
    keyless.expect("payload.unreadable A payload is encrypted with the key 'old', and this process has no keys")
    wait_until(lambda: failed_activities(stack, execution), 60, "its failure is in the history")
    keyless.kill()
    gate.touch()
    assert stack.wait(execution)["status"] == "completed"
    outcomes = [e["data"]["outcome"] for e in stack.events(execution) if e["event"] == "tool_completed"]
    assert outcomes == ["success"]


def test_the_server_refuses_keys_that_others_can_read(shared: Stack, keys: Path) -> None:
    keys.chmod(0o644)
    other = shared.start([*shared.server_command(), "--port", str(free_port())])
    assert other.wait() == 78, other.lines
    assert f"chmod 600 {keys}" in other.lines[-1]


def test_the_converter_reads_what_the_stack_has_written(shared: Stack, keys: Path) -> None:
    execution = shared.execute(script({"text": CANARY}), agent=shared.agent("read"))
    shared.wait(execution)

    async def result() -> Any:
        converter = Payloads.open(PayloadOptions(keys)).converter()
        client = await Client.connect(shared.temporal_address, data_converter=converter)
        return await client.get_workflow_handle(f"agent-execution-{execution}").result()

    assert asyncio.run(result())["response"] == CANARY
