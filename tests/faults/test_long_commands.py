"""A long command through the death of each program around it: no outcome is lost, and none is started twice."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.daemon import Daemons
from tests.support.processes import runs
from tests.support.stack import Stack, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
PATIENCE = 120.0  # seconds: a busy machine is no failure
HELD = 60.0  # seconds of a wait that an activity makes
PARKED = 7200.0  # of one that the workflow makes
SETTING = {"KUBIYA_KEEP_LONG_COMMANDS": "true"}


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemons]:
    folder = tmp_path_factory.mktemp("long")
    with Stack(folder, persistent=True) as stack, Daemons(stack, folder) as made:
        yield made


class LongRun:
    """An execution whose agent has started a command that ends once there is a gate."""

    def __init__(self, daemons: Daemons, *, seconds: float = HELD) -> None:
        self.daemons, self.stack = daemons, daemons.stack
        self.count, self.gate = self.stack.trace("count"), self.stack.trace("gate")
        program = f"echo x >> {self.count}; until test -e {self.gate}; do sleep 0.1; done; echo finished; exit 3"
        steps: list[dict[str, Any]] = [
            {"tools": [{"name": "shell_start", "arguments": {"command": f"sh -c '{program}'"}}]},
            *(
                {"tools": [{"name": "shell_wait", "arguments": {"seconds": seconds}}]}
                for _ in range(3 if seconds <= HELD else 1)
            ),
            {"text": "done"},
        ]
        configuration = {"allowed_commands": ["sh"], "long_commands": True, "long_timeout_seconds": 7200}
        skill = {"name": "shell", "type": "shell", "configuration": configuration}
        agent = self.stack.agent(f"long-{uuid.uuid4().hex[:6]}", skills=[skill])
        self.execution = self.stack.execute("demo:script " + json.dumps(steps), agent=agent)
        wait_until(lambda: self.count.exists() and self.keepers(), PATIENCE, "the command runs")
        started = (event for event in self.stack.events(self.execution) if event["event"] == "tool_started")
        for _ in range(2):  # the second one is the wait, which is what is to be struck
            next(started)
        if seconds > HELD:
            wait_until(self.parked, PATIENCE, "the workflow waits")

    def parked(self) -> bool:
        """Return whether the workflow has taken the wait over: no activity is under way then."""
        history = self.stack.history(self.execution)
        return any(event.HasField("timer_started_event_attributes") for event in history)

    def model_calls(self) -> int:
        every = [each.activity_task_scheduled_event_attributes for each in self.stack.history(self.execution)]
        return sum(each.activity_type.name == "call_model" for each in every)

    def keepers(self) -> list[dict[str, Any]]:
        found = self.daemons.workers.glob("default/commands/*/*/keeper")
        every = [json.loads(each.read_text()) for each in found if not (each.parent / "outcome").exists()]
        return [each for each in every if runs(each["pid"])]

    def ended(self) -> str:
        """Let the command end, and return what the model was told last."""
        self.gate.touch()
        self.stack.wait(self.execution, timeout=PATIENCE)
        told = [each["data"] for each in self.stack.events(self.execution) if each["event"] == "tool_completed"]
        assert self.count.read_text() == "x\n", "started once"
        return json.dumps(told[-1])


def running(daemons: Daemons) -> None:
    if daemons.status("--queue-id", "default").get("state") != "running":
        daemons.run("worker", "stop", "--queue-id", "default", check=False)
        daemons.start(**SETTING)


def strike(daemons: Daemons, struck: str) -> None:
    stack = daemons.stack
    if struck == "worker":
        os.kill(daemons.worker_pid(), signal.SIGKILL)
    elif struck == "supervisor":
        os.kill(int(daemons.pid_file()["pid"]), signal.SIGKILL)
        daemons.start(**SETTING)
    elif struck == "both":
        for pid in (int(daemons.pid_file()["pid"]), daemons.worker_pid()):
            os.kill(pid, signal.SIGKILL)
        daemons.start(**SETTING)
    elif struck == "control plane":
        assert stack.server
        stack.server.kill()
        stack.start_server()
    elif struck == "Temporal":
        assert stack.temporal
        stack.temporal.kill()
        stack.start_temporal()
    elif struck == "restart":
        daemons.run("worker", "restart", "--queue-id", "default")
    else:
        daemons.run("worker", "stop", "--queue-id", "default")
        daemons.start(**SETTING)


@pytest.mark.parametrize("seconds", [HELD, PARKED])
@pytest.mark.parametrize(
    "struck", ["worker", "supervisor", "both", "control plane", "Temporal", "restart", "stop and start"]
)
def test_the_outcome_arrives_and_nothing_starts_twice(daemons: Daemons, struck: str, seconds: float) -> None:
    running(daemons)
    run = LongRun(daemons, seconds=seconds)
    (before,) = run.keepers()
    began = time.monotonic()
    strike(daemons, struck)
    struck_for = time.monotonic() - began
    assert run.keepers() == [before], "it goes on"
    told = run.ended()
    took = time.monotonic() - began
    print(f"{struck}, a wait of {seconds:g} s: {struck_for:.1f} s to strike, the outcome {took:.1f} s after the kill")
    assert "finished" in told and "exit code 3" in told
    assert run.keepers() == []
    if seconds == PARKED:
        assert run.model_calls() == 3, "start, wait, answer: each wait is one call, whatever was killed"
    if struck in ("restart", "stop and start"):
        assert struck_for < 25, "a drain does not wait for the wait"


def test_a_killed_keeper_is_told_and_not_replaced(daemons: Daemons) -> None:
    running(daemons)
    run = LongRun(daemons)
    os.kill(run.keepers()[0]["pid"], signal.SIGKILL)
    assert "its keeper was killed" in run.ended()


def test_a_cancelled_execution_ends_its_command_and_status_shows_it_before(daemons: Daemons) -> None:
    running(daemons)
    run = LongRun(daemons)
    wait_until(lambda: "long command" in daemons.run("worker", "status").stdout, PATIENCE, "status shows it")
    run.stack.call("POST", f"/executions/{run.execution}/cancel", {})
    began = time.monotonic()
    wait_until(lambda: not run.keepers(), PATIENCE, "its keeper has ended")
    print(f"ended {time.monotonic() - began:.1f} s after the cancellation")


def test_a_cancellation_while_no_worker_runs_is_found_by_the_next_one(daemons: Daemons) -> None:
    running(daemons)
    run = LongRun(daemons)
    daemons.run("worker", "stop", "--queue-id", "default")
    assert run.keepers()
    run.stack.call("POST", f"/executions/{run.execution}/cancel", {})
    daemons.start(**SETTING)
    wait_until(lambda: not run.keepers(), PATIENCE, "its keeper has ended")


def test_without_the_setting_a_stop_ends_it(daemons: Daemons) -> None:
    daemons.run("worker", "stop", "--queue-id", "default", check=False)
    daemons.start()
    run = LongRun(daemons)
    (keeper,) = run.keepers()
    family = [keeper["pid"], *(each.pid for each in psutil.Process(keeper["pid"]).children(recursive=True))]
    daemons.run("worker", "stop", "--queue-id", "default")
    assert not any(map(runs, family))
    daemons.start(**SETTING)
    assert "stopped" in run.ended()
    assert Path(daemons.folder() / "kept").is_dir()
