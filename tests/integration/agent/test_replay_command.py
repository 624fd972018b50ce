"""`kubiya worker replay` on a queue with open executions."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from tests.support.stack import ROOT, Stack, wait_until

CHAT: dict[str, Any] = {"execution_metadata": {"interactive": True}}


def replay(stack: Stack, queue: str, *more: str, **env: str) -> subprocess.CompletedProcess[str]:
    given = {"KUBIYA_API_KEY": stack.key, "CONTROL_PLANE_URL": stack.url, "PYTHONPATH": str(ROOT), **env}
    argv = [sys.executable, "-m", "kubiya_worker.cli.main", "worker", "replay", "--queue-id", queue, *more]
    return subprocess.run(argv, env={**os.environ, **given}, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_what_is_open_is_replayed_and_what_does_not_suit_is_named(stack: Stack) -> None:
    queue = stack.queue(f"replay-{uuid.uuid4().hex[:6]}")
    none = replay(stack, queue)
    assert (none.returncode, none.stdout.split()[0]) == (0, "0"), none.stderr
    stack.worker(queue)
    agent = stack.agent(f"chat-{uuid.uuid4().hex[:6]}", skills=[])
    execution = stack.execute("hello", agent=agent, queue=queue, **CHAT)
    stack.wait_for_turn(execution, 1)

    async def listed(count: int) -> bool:
        """Temporal's lists come a moment after what they tell of."""
        client = await Client.connect(stack.temporal_address)
        return len([x async for x in client.list_workflows(f"TaskQueue = '{queue}'")]) == count

    wait_until(lambda: asyncio.run(listed(1)), 60, "the execution is in Temporal's list")
    good = replay(stack, queue)
    assert good.returncode == 0, good.stderr
    assert f"ok    agent-execution-{execution}" in good.stdout
    assert "1 open executions of this queue go on with kubiya-worker" in good.stdout

    async def stranger() -> str:
        client = await Client.connect(stack.temporal_address)
        workflow_id = f"stranger-{uuid.uuid4().hex[:6]}"
        await client.start_workflow("NobodyHasThis", id=workflow_id, task_queue=queue)
        return workflow_id

    workflow_id = asyncio.run(stranger())
    wait_until(lambda: asyncio.run(listed(2)), 60, "the stranger is there too")
    bad = replay(stack, queue, "--json")
    assert bad.returncode == 1, bad.stderr
    assert all(line.startswith("{") for line in bad.stdout.splitlines()), bad.stdout
    lines = [json.loads(line) for line in bad.stdout.splitlines()]
    (fault,) = [line for line in lines if line.get("workflow_id") == workflow_id]
    assert "NobodyHasThis" in fault["fault"]
    assert lines[-1]["failed"] == 1 and lines[-1]["replayed"] == 1
    assert stack.execution(execution)["status"] == "waiting_for_input", "nothing was changed"


def test_nobody_to_ask_is_one_line(stack: Stack, tmp_path: Path) -> None:
    gone = replay(stack, "default", CONTROL_PLANE_URL="http://127.0.0.1:9")
    assert gone.returncode == 69 and gone.stdout == "" and len(gone.stderr.splitlines()) == 1
