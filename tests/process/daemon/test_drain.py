"""`kubiya worker drain`, and S2: what runs when a daemon ends has finished, or is said not to have."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.service import RPCError

from tests.support.daemon import KUBIYA, Daemons
from tests.support.stack import Process, Stack, wait_until

pytestmark = pytest.mark.timeout(240)
SHELL = {"type": "shell", "name": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 200}}
SHORT = ("--grace-period", "1")
FAILED = (EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED, EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT)


class Load:
    """Executions whose tools run until `gate` exists."""

    def __init__(self, daemons: Daemons, folder: Path, count: int) -> None:
        self.daemons, self.stack = daemons, daemons.stack
        name = uuid.uuid4().hex[:8]
        self.gate = folder / f"gate-{name}"
        self.began = self.stack.trace("began")
        self.began.mkdir()
        command = f"sh -c 'echo > {self.began}/$$; until [ -e {self.gate} ]; do sleep 0.05; done; echo finished'"
        steps = [{"tools": [{"name": "shell", "arguments": {"command": command}}]}, {"text": "all done"}]
        self.prompt = "demo:script " + json.dumps(steps)
        self.agent = self.stack.agent(f"agent-{name}", skills=[SHELL])
        self.executions = [self.stack.execute(self.prompt, agent=self.agent) for _ in range(count)]
        _loads.append(self)
        wait_until(lambda: len(list(self.began.iterdir())) == count, 60, "all tools run")
        # What the worker says of itself, a second later at most.
        wait_until(lambda: daemons.status()["worker"].get("active_tasks", 0) >= count, 60, "all tasks are told")

    def end(self) -> None:
        """Terminate all executions, so that no worker of a later test takes their tasks."""

        async def terminate() -> None:
            client = await Client.connect(self.stack.temporal_address)
            for each in self.executions:
                with contextlib.suppress(RPCError):  # it is over
                    await client.get_workflow_handle(f"agent-execution-{each}").terminate()

        asyncio.run(terminate())

    def finish(self) -> None:
        """Start a new daemon and check that each execution completes and that no step failed or ran twice."""
        self.daemons.start()
        for execution in self.executions:
            assert self.stack.wait(execution)["response"] == "all done"
        assert len(list(self.began.iterdir())) == len(self.executions)

        async def histories() -> list[Any]:
            client = await Client.connect(self.stack.temporal_address)
            handles = [client.get_workflow_handle(f"agent-execution-{each}") for each in self.executions]
            return [event for handle in handles async for event in handle.fetch_history_events()]

        events = asyncio.run(histories())
        assert not [event for event in events if event.event_type in FAILED]
        attempts = [
            event.activity_task_started_event_attributes.attempt
            for event in events
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED
        ]
        assert len(attempts) >= 3 * len(self.executions) and set(attempts) == {1}


_loads: list[Load] = []


@pytest.fixture(autouse=True)
def ended(stack: Stack) -> Iterator[None]:
    yield
    while _loads:
        _loads.pop().end()


class Command(Process):
    """`kubiya …` under way."""

    def __init__(self, daemons: Daemons, *args: str) -> None:
        super().__init__([KUBIYA, *args], daemons.environment(), daemons.home)


@pytest.fixture
def started(daemons: Daemons) -> Iterator[list[Command]]:
    commands: list[Command] = []
    yield commands
    for command in commands:
        command.kill()


def drain(daemons: Daemons, started: list[Command], *args: str) -> Command:
    command = Command(daemons, "worker", "drain", "--queue-id", "default", *args)
    started.append(command)
    return command


def gone(daemons: Daemons) -> bool:
    return not daemons.processes() and not (daemons.folder() / "worker.pid").exists()


def test_a_drain_lets_all_that_runs_finish_takes_up_nothing_new_and_ends(
    daemons: Daemons, started: list[Command], tmp_path: Path
) -> None:
    daemons.start("default", *SHORT)
    load = Load(daemons, tmp_path, 4)
    first = drain(daemons, started)
    first.expect("4 tasks left, the oldest is agent-execution-.*/call_tool")
    assert daemons.status()["state"] == "draining"
    assert "DRAINING" in daemons.run("worker", "status").stdout
    second = drain(daemons, started)
    second.expect("default drains already")
    for refused in ("restart", "start"):
        flags = ["-d"] if refused == "start" else []
        done = daemons.run("worker", refused, "--queue-id", "default", *flags, check=False)
        assert done.returncode == 75 and "drain" in done.stderr, done
    load.executions.append(daemons.stack.execute(load.prompt, agent=load.agent))
    time.sleep(2.5)  # the grace period of a stop is over, and it would have been cut off
    assert first.popen.poll() is None and len(list(load.began.iterdir())) == 4
    load.gate.touch()
    assert first.wait(60) == 0, first.lines
    first.expect(r"^default drained in [\d.]+ s: 4 tasks finished, none was cut off \(pid \d+\)$")
    first.expect(r"^5 executions are not over; the next worker of the queue goes on$")
    assert second.wait(60) == 0 and any("default drained" in line for line in second.lines), second.lines
    assert gone(daemons)
    about = daemons.status("--queue-id", "default")
    assert (about["state"], about["exit_code"]) == ("stopped", 0)
    load.finish()


@pytest.mark.parametrize("by", ["stop", "time"])
def test_a_drain_that_is_stopped_says_what_was_cut_off(
    daemons: Daemons, started: list[Command], tmp_path: Path, by: str
) -> None:
    daemons.start("default", *SHORT)
    Load(daemons, tmp_path, 2)
    command = drain(daemons, started, *(["--timeout", "2s"] if by == "time" else []))
    if by == "stop":
        command.expect("2 tasks left")
        done = daemons.run("worker", "stop", "--queue-id", "default")
        assert "2 running tasks have time to finish" in done.stderr and "exit code 0" in done.stdout
    assert command.wait(60) == 75, command.lines
    limit = "within 2 s" if by == "time" else "to the end"
    command.expect(f"was not drained {limit}, it was stopped: 2 tasks cut off")
    assert gone(daemons)


@pytest.mark.slow
def test_a_stop_of_a_drain_has_the_grace_period(daemons: Daemons, started: list[Command], tmp_path: Path) -> None:
    daemons.start("default", "--grace-period", "120")
    load = Load(daemons, tmp_path, 2)
    command = drain(daemons, started)
    command.expect("2 tasks left")
    stop = Command(daemons, "worker", "stop", "--queue-id", "default")
    started.append(stop)
    stop.expect("2 running tasks have time to finish")
    wait_until(lambda: daemons.state()["state"] == "stopping", 30, "it is being stopped")
    load.gate.touch()
    assert stop.wait(60) == 0 and command.wait(60) == 0, (stop.lines, command.lines)
    command.expect("none was cut off")
    assert gone(daemons)
    load.finish()


@pytest.mark.slow
def test_a_drain_needs_no_control_plane(daemons: Daemons, started: list[Command], tmp_path: Path) -> None:
    daemons.start("default", *SHORT)
    load = Load(daemons, tmp_path, 2)
    assert daemons.stack.server is not None
    daemons.stack.server.kill()
    try:
        command = drain(daemons, started)
        command.expect("2 tasks left")
        load.gate.touch()
        assert command.wait(90) == 0, command.lines
        command.expect("none was cut off")
        assert gone(daemons)
    finally:
        daemons.stack.start_server()
    load.finish()


def test_a_worker_that_dies_while_it_drains_stays_dead_and_that_is_said(
    daemons: Daemons, started: list[Command], tmp_path: Path
) -> None:
    daemons.start()
    Load(daemons, tmp_path, 1)
    command = drain(daemons, started)
    command.expect("1 task left")
    os.kill(daemons.worker_pid(), signal.SIGKILL)
    assert command.wait(60) == 75, command.lines
    command.expect("ended before it was drained: it ended while it drained: SIGKILL")
    assert gone(daemons) and daemons.status("--queue-id", "default")["state"] == "failed"


@pytest.mark.slow
def test_ctrl_c_ends_the_waiting_and_not_the_drain(daemons: Daemons, started: list[Command], tmp_path: Path) -> None:
    daemons.start("default", *SHORT)
    load = Load(daemons, tmp_path, 1)
    command = drain(daemons, started)
    command.expect("1 task left")
    command.signal(signal.SIGINT)
    assert command.wait() == 130
    command.expect("drains on. Look: kubiya worker status --queue-id default")
    assert daemons.state()["state"] == "draining"
    load.gate.touch()
    daemons.wait_until_gone(60)
    load.finish()


def test_an_idle_worker_is_drained_at_once(daemons: Daemons) -> None:
    daemons.start()
    assert "drain --queue-id default" in (daemons.folder() / "daemon_info.txt").read_text()
    done = daemons.run("worker", "drain")
    assert re.match(r"default drained in [\d.]+ s: nothing ran \(pid \d+\)", done.stdout), done.stdout
    assert gone(daemons)


@pytest.mark.slow
def test_what_cannot_be_drained_is_said_in_one_line(daemons: Daemons) -> None:
    for args, code, word in (
        (["--queue-id", "nosuch"], 1, "No worker of nosuch runs here"),
        (["--queue-id", "no/such"], 64, "is not a queue's id or name"),
        (["--queue-id", "default", "--timeout", "soon"], 64, "'soon' is not a time"),
        (["--queue-id", "default", "--timeout", "-1"], 64, "'-1' is not a time"),
    ):
        done = daemons.run("worker", "drain", *args, check=False)
        assert done.returncode == code and word in done.stderr and done.stderr.count("\n") == 1, done
    pid = daemons.start()
    path = daemons.folder() / ".worker.pid.lock"
    about = json.loads(path.read_text())
    del about["drain_signal"]  # as of a version that did not know it: the signal would have killed it
    os.kill(pid, signal.SIGSTOP)  # else it would write its own record again
    path.write_text(json.dumps(about))
    done = daemons.run("worker", "drain", "--queue-id", "default", check=False)
    assert done.returncode == 75 and "cannot drain" in done.stderr
    assert daemons.state()["state"] == "running"
    os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGKILL)
    daemons.wait_until_gone()
    done = daemons.run("worker", "drain", "--queue-id", "default", check=False)
    assert done.returncode == 1 and "stale" in done.stderr


def test_a_sigterm_under_load_loses_nothing(daemons: Daemons, tmp_path: Path) -> None:
    """S2, with `kill PID` as the guide says it."""
    pid = daemons.start()
    load = Load(daemons, tmp_path, 4)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: daemons.state()["state"] == "stopping", 30, "it stops")
    load.gate.touch()
    daemons.wait_until_gone(60)
    assert gone(daemons)
    assert (daemons.state()["state"], daemons.state()["exit_code"]) == ("stopped", 0)
    assert daemons.state()["deaths"][-1]["code"] == 0
    load.finish()


def test_a_second_sigterm_under_load_forces_within_five_seconds(daemons: Daemons, tmp_path: Path) -> None:
    pid = daemons.start(KUBIYA_GRACE_PERIOD="600")
    Load(daemons, tmp_path, 4)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: daemons.state()["state"] == "stopping", 30, "it stops")
    time.sleep(1.2)  # a second signal within a second is the same wish
    os.kill(pid, signal.SIGTERM)
    print(f"forced within {daemons.wait_until_gone():.1f} s")  # up to 5, and what a busy machine adds
    death = daemons.state()["deaths"][-1]
    assert gone(daemons) and (death["code"] == 75 or death["signal"] == "SIGKILL"), death
