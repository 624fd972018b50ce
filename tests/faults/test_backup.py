"""A backup that was made under load is put back after a crash: the executions that it knows go on to their end."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowFailureError

from tests.faults.test_outage import Run
from tests.support.stack import BIN, Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path) as running:
        yield running


def server(stack: Stack, *arguments: str) -> str:
    argv = [f"{BIN}/kubiya", "server", *arguments, "--database", str(stack.folder / "cp.db")]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


async def ended(stack: Stack, execution: str) -> None:
    client = await Client.connect(stack.temporal_address)
    with contextlib.suppress(WorkflowFailureError):
        await client.get_workflow_handle(f"agent-execution-{execution}").result()


def test_executions_go_on_after_a_backup_is_put_back(stack: Stack, tmp_path: Path) -> None:
    queue = stack.queue("restored")
    stack.worker(queue)
    runs = [Run(stack, 8, queue, agent=f"run{number}") for number in range(4)]
    for run in runs:
        run.until(2)
    told = server(stack, "backup", str(tmp_path / "copy.db"))
    assert "4 executions" in told
    for run in runs:
        run.until(4)  # steps of which the backup knows nothing
    unknown = Run(stack, 8, queue, agent="unknown")
    unknown.until(2)
    assert stack.server is not None
    stack.server.kill()
    assert "restored:" in server(stack, "restore", str(tmp_path / "copy.db"))
    stack.start_server()
    for run in runs:
        row = stack.wait(run.id)
        assert (row["status"], row["error_message"]) == ("completed", None)
        assert run.log.read_text().split() == [str(step) for step in range(8)]  # each tool ran once
        events = stack.call("GET", f"/executions/{run.id}/events?limit=1000")
        assert [event["event_type"] for event in events[-2:]] == ["status", "done"]
    assert stack.http.get(f"{stack.url}/api/v1/executions/{unknown.id}", timeout=30).status_code == 404
    asyncio.run(asyncio.wait_for(ended(stack, unknown.id), 60))
    later = stack.execute("demo:echo after", queue=queue)
    assert stack.wait(later)["status"] == "completed"
    assert stack.call("GET", "/audit/head")
