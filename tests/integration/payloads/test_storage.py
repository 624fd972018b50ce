"""Large payloads outside of Temporal: the same runs, small histories, on any worker that has the folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.payloads.test_encryption import CANARY, key, write
from tests.support.bucket import NAME, bucket
from tests.support.stack import Stack, wait_until

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["seq", "echo"], "timeout": 30}}
ASK = {"name": "ask", "scope_type": "tool", "scope_value": "shell", "argument_pattern": "approve", "action": "ask"}
SCRIPT = "demo:script " + json.dumps(
    [
        {"text": "", "tools": [{"name": "shell", "arguments": {"command": "seq 100000 104000"}}]},
        {"text": "", "tools": [{"name": "shell", "arguments": {"command": "echo approve"}}]},
        {"text": "Done."},
    ]
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("payloads")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KUBIYA_PAYLOAD_STORAGE", str(folder / "store"))
        environment.setenv("KUBIYA_PAYLOAD_STORAGE_FROM", "4096")
        environment.setenv("KUBIYA_PAYLOAD_KEYS_FILE", str(write(folder / "payload-keys", f"one {key(1)}")))
        yield folder / "store"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def stack(shared: Stack) -> Iterator[Stack]:
    """The stack of this module, without the workers of other tests."""
    with shared.lent() as lent:
        yield lent


def test_large_payloads_are_in_the_folder_and_another_worker_goes_on(stack: Stack, store: Path) -> None:
    stack.call("POST", "/approval-rules", ASK)
    first = stack.worker()
    prompt = f"{SCRIPT} {CANARY * 2000}"
    execution = stack.execute(prompt, agent=stack.agent(skills=[SHELL]))
    asked = stack.first(execution, "approval_requested")
    first.kill()
    stack.worker()
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
    assert stack.wait(execution)["status"] == "completed"
    stored = [path for path in store.rglob("*") if path.is_file()]
    assert len(stored) > 2
    assert {path.stat().st_mode & 0o777 for path in stored} == {0o600}
    history = stack.raw_history(execution)
    # The prompt alone has 24 kB, the tool's output 28 kB; both are in the payloads several times.
    assert len(history) < 60_000 and b"kubiya.folder" in history
    for place in (history, *(path.read_bytes() for path in stored)):
        assert CANARY.encode() not in place
    told = [e["data"] for e in stack.events(execution) if e["event"] == "tool_completed"]
    assert [data["outcome"] for data in told] == ["success", "success"]
    assert "104000" in json.dumps(stack.call("GET", f"/executions/{execution}/session"))


def test_a_folder_that_cannot_be_written_is_refused_at_the_start(stack: Stack) -> None:
    worker = stack.worker(ready=False, KUBIYA_PAYLOAD_STORAGE="/proc/nowhere")
    assert worker.wait() == 78
    assert "Payloads cannot be stored in /proc/nowhere" in worker.lines[-1]


def test_a_result_that_cannot_be_stored_is_kept_all_the_same(
    stack: Stack, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tool is not idempotent: it is not run again, and what it said is not lost."""
    monkeypatch.setenv("KUBIYA_PAYLOAD_STORAGE_FROM", "20000")
    worker = stack.worker()
    gate, ran = tmp_path / "gate", stack.trace("ran")
    command = f"sh -c 'echo x >> {ran}; until test -e {gate}; do sleep 0.05; done; seq 100000 104000'"
    moves = [{"text": "", "tools": [{"name": "shell", "arguments": {"command": command}}]}, {"text": "Done."}]
    shell = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
    execution = stack.execute(f"demo:script {json.dumps(moves)}", agent=stack.agent("kept", skills=[shell]))
    wait_until(ran.exists, 60, "the tool runs")
    aside = store.rename(store.with_name("aside"))
    store.write_text("no folder any more")
    gate.touch()
    assert stack.wait(execution)["status"] == "completed"
    worker.expect("payload.not_stored")
    [told] = [e["data"] for e in stack.events(execution) if e["event"] == "tool_completed"]
    assert told["outcome"] == "success"
    assert "104000" in json.dumps(stack.call("GET", f"/executions/{execution}/session"))
    assert ran.read_text() == "x\n"
    store.unlink()
    aside.rename(store)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.slow
def test_large_payloads_are_in_a_bucket_and_another_worker_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bucket() as (environment, client):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("KUBIYA_PAYLOAD_STORAGE", f"s3://{NAME}")
        monkeypatch.setenv("KUBIYA_PAYLOAD_STORAGE_FROM", "4096")
        with Stack(tmp_path) as stack:
            stack.call("POST", "/approval-rules", ASK)
            first = stack.worker()
            execution = stack.execute(f"{SCRIPT} {CANARY * 2000}", agent=stack.agent(skills=[SHELL]))
            asked = stack.first(execution, "approval_requested")
            first.kill()
            stack.worker()
            stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
            assert stack.wait(execution)["status"] == "completed"
            assert client.list_objects_v2(Bucket=NAME)["KeyCount"] > 2
            assert len(stack.raw_history(execution)) < 60_000
            assert "104000" in json.dumps(stack.call("GET", f"/executions/{execution}/session"))
