"""`kubiya workers drain|undrain|restart`: a worker under a supervisor follows what is asked at the control plane."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemons
from tests.support.demo_scripts import script
from tests.support.stack import Stack, wait_until

pytestmark = pytest.mark.timeout(240)
SHELL = {"type": "shell", "name": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 200}}


@pytest.fixture
def worker(stack: Stack, daemons: Daemons) -> Iterator[str]:
    """Start a worker that beats each second, and return its id."""
    name = f"w-{uuid.uuid4()}"
    daemons.start(HEARTBEAT_INTERVAL="1", WORKER_HOSTNAME=name[:10], WORKER_ID=name)
    yield name


def told(stack: Stack, worker: str) -> dict[str, Any]:
    found = next((one for one in stack.call("GET", "/workers") if one["id"] == worker), None)
    if found is None:
        return {"state": "gone"}
    return {**found["worker_metadata"], "wish": found["wish"], "pid": found["system_info"].get("pid")}


def test_a_drained_worker_finishes_what_runs_and_stays_until_it_takes_work_again(
    stack: Stack, daemons: Daemons, worker: str, tmp_path: Path
) -> None:
    gate, pid = tmp_path / "gate", daemons.worker_pid()
    agent = stack.agent("gated", skills=[SHELL])
    command = f"sh -c 'until [ -e {gate} ]; do sleep 0.05; done'"
    steps = ({"tools": [{"name": "shell", "arguments": {"command": command}}]}, {"text": "It finished."})
    running = stack.execute(script(*steps), agent=agent)
    stack.first(running, "tool_started")
    asked = daemons.run("workers", "drain", worker[:10], "--reason", "new kernel")
    assert asked.stdout == f"drain asked: worker {worker} on {worker[:10]}\n"
    wait_until(lambda: told(stack, worker)["state"] == "draining", 30, "it drains")
    wait_until(lambda: "it stays, drained by " in daemons.state()["child"]["status"], 30, "the supervisor knows why")
    gate.touch()
    # The step is finished; what follows it waits for a worker that takes work.
    wait_until(lambda: told(stack, worker)["state"] == "drained", 30, "it is drained")
    assert stack.first(running, "tool_completed")
    listed = daemons.run("workers", "ls", "-o", "wide").stdout
    assert "drained" in listed and "new kernel" in listed
    waiting = stack.execute("hello")
    assert daemons.state()["state"] == "running" and daemons.worker_pid() == pid
    assert "drained by " in daemons.run("worker", "status", "--queue-id", "default", check=False).stdout
    assert stack.execution(waiting)["status"] == "pending"
    daemons.run("workers", "undrain", worker)
    assert stack.wait(running)["response"] == "It finished."
    assert stack.wait(waiting)["status"] == "completed"
    assert daemons.worker_pid() == pid and told(stack, worker)["state"] == "polling"


def test_a_worker_that_is_drained_is_drained_after_a_restart_too_and_can_be_stopped(
    stack: Stack, daemons: Daemons, worker: str
) -> None:
    daemons.run("workers", "drain", worker)
    wait_until(lambda: told(stack, worker)["state"] == "drained", 30, "it is drained")
    pid = daemons.worker_pid()
    daemons.run("workers", "restart", worker)
    wait_until(lambda: daemons.state()["child"] and daemons.worker_pid() != pid, 60, "it is started again")
    wait_until(lambda: told(stack, worker).get("state") == "drained", 60, "the next one is drained too")
    assert daemons.worker_pid() != pid
    assert "restart asked by " in told(stack, worker)["last_death"]["why"]
    daemons.run("worker", "stop", "--queue-id", "default")
    assert not daemons.processes()


def test_a_restart_is_done_by_the_supervisor_and_its_reason_is_told(
    stack: Stack, daemons: Daemons, worker: str
) -> None:
    pid = daemons.worker_pid()
    daemons.run("workers", "restart", worker, "--reason", "it leaks")
    wait_until(lambda: daemons.state()["child"] and daemons.worker_pid() != pid, 60, "it is started again")
    wait_until(lambda: told(stack, worker).get("state") == "polling", 60, "it polls again")
    now = told(stack, worker)
    assert now["wish"] is None
    assert now["last_death"]["code"] == 75 and "restart asked by " in now["last_death"]["why"], now
    assert "it leaks" in now["last_death"]["why"]
    assert "crash" not in now["restarts"]
    assert stack.wait(stack.execute("hello"))["status"] == "completed"
    shown = json.loads(daemons.run("workers", "show", worker, "-o", "json").stdout)
    assert shown["worker_metadata"]["wishes"] == ["drain", "restart"]
