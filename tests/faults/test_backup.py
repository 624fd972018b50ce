"""A backup that was made under load is put back after a crash: the executions that it knows go on to their end."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowFailureError

from kubiya_worker.server.store.address import PostgresAddress
from tests.faults.test_outage import Run
from tests.support import databases, postgres
from tests.support.stack import BIN, Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(params=["sqlite", "postgresql"])
def stack(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stack]:
    made = Stack(tmp_path)
    if request.param == "sqlite":
        made.database = tmp_path / "cp.db"
    elif postgres.programs() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    else:
        made.database = databases.server().database()
    with made as running:
        yield running


def back_up(stack: Stack, copy: Path) -> None:
    if isinstance(stack.database, PostgresAddress):
        arguments = ("--format=custom", f"--file={copy}", stack.database.url)
        databases.server().program("pg_dump", *arguments)
    else:
        assert "4 executions" in server(stack, "backup", str(copy))


def restore(stack: Stack, copy: Path) -> None:
    if isinstance(stack.database, PostgresAddress):
        arguments = ("--clean", "--if-exists", "--single-transaction", f"--dbname={stack.database.url}", str(copy))
        databases.server().program("pg_restore", *arguments)
    else:
        assert "restored:" in server(stack, "restore", str(copy))


def server(stack: Stack, *arguments: str) -> str:
    argv = [f"{BIN}/kubiya", "server", *arguments, "--database", str(stack.database)]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


async def ended(stack: Stack, execution: str) -> None:
    client = await Client.connect(stack.temporal_address)
    with contextlib.suppress(WorkflowFailureError):
        await client.get_workflow_handle(f"agent-execution-{execution}").result()


def test_executions_go_on_after_a_backup_is_put_back(stack: Stack, tmp_path: Path) -> None:
    queue = stack.queue("restored")
    stack.worker(queue)
    runs = [Run(stack, 8, queue, name=f"run{number}") for number in range(4)]
    for run in runs:
        run.until(2)
    back_up(stack, tmp_path / "copy")
    for run in runs:
        run.until(4)  # steps of which the backup knows nothing
    unknown = Run(stack, 8, queue, name="unknown")
    unknown.until(2)
    assert stack.server is not None
    stack.server.kill()
    restore(stack, tmp_path / "copy")
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
    assert stack.call("GET", "/audit/verify")["problems"] == []
