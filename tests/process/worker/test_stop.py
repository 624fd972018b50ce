"""Stopping: a drain lets running steps finish, a second signal forces, nothing is left, the control plane is told."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.process.worker.conftest import Start
from tests.support.scripted_plane import Reply, ScriptedPlane
from tests.support.stack import BIN, Process, Stack, wait_until

SHELL = {"type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 120}}


class Running:
    """An execution whose tool runs until `gate` exists."""

    def __init__(self, stack: Stack, folder: Path, **env: str) -> None:
        name = f"q-{uuid.uuid4().hex[:8]}"
        self.stack, self.gate, self.pid_file = stack, folder / f"{name}-gate", stack.trace("pid")
        self.queue = stack.queue(name)
        self.worker = stack.worker(self.queue, ready=True, **env)
        command = f"sh -c 'echo $$ > {self.pid_file}; until [ -e {self.gate} ]; do sleep 0.05; done; echo finished'"
        steps = [{"tools": [{"name": "shell", "arguments": {"command": command}}]}, {"text": "all done"}]
        agent = stack.agent(f"agent-{name}", skills=[SHELL])
        self.execution = stack.execute("demo:script " + json.dumps(steps), agent=agent, queue=self.queue)
        stack.first(self.execution, "tool_started")
        wait_until(lambda: self.pid_file.exists() and self.pid_file.read_text().strip(), 30, "the tool runs")
        self.tool = psutil.Process(int(self.pid_file.read_text()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda n: n.name)
def test_a_drain_lets_a_running_tool_finish(stack: Stack, tmp_path: Path, number: signal.Signals) -> None:
    run = Running(stack, tmp_path)
    run.worker.signal(number)
    run.worker.expect(f"worker.draining reason={number.name} active=1")
    assert run.tool.is_running()
    run.gate.touch()
    assert run.worker.wait() == 0, run.worker.lines
    run.worker.expect("worker.drained")
    run.worker.expect("worker.disconnected .*exit_code=0")
    (completed,) = [e for e in stack.events(run.execution, until="tool_completed") if e["event"] == "tool_completed"]
    assert completed["data"]["status"] == "success" and "finished" in completed["data"]["tool_output"]
    stack.worker(run.queue)
    row = stack.wait(run.execution)
    assert row["status"] == "completed" and row["response"] == "all done"


def test_a_second_signal_at_once_does_not_force(stack: Stack, tmp_path: Path) -> None:
    """A Ctrl-C in a terminal can reach a process twice."""
    run = Running(stack, tmp_path)
    run.worker.signal(signal.SIGINT)
    run.worker.signal(signal.SIGINT)
    run.worker.expect("worker.draining")
    run.gate.touch()
    assert run.worker.wait() == 0
    run.worker.expect("worker.drained")


def test_a_second_signal_later_forces_within_five_seconds(stack: Stack, tmp_path: Path) -> None:
    run = Running(stack, tmp_path, KUBIYA_GRACE_PERIOD="600")
    run.worker.signal(signal.SIGTERM)
    run.worker.expect("worker.draining")
    time.sleep(1.1)  # the contract's second, and nothing to wait for
    began = time.monotonic()
    run.worker.signal(signal.SIGTERM)
    assert run.worker.wait() == 75, run.worker.lines  # it takes up to 5 s, and what a busy machine adds
    print(f"forced within {time.monotonic() - began:.1f} s")
    run.worker.expect("worker.forced active=1")
    run.worker.expect("worker.disconnected .*exit_code=75")
    wait_until(lambda: not run.tool.is_running(), 30, "the tool's end")


def test_the_end_of_the_grace_period_cuts_off(stack: Stack, tmp_path: Path) -> None:
    run = Running(stack, tmp_path, KUBIYA_GRACE_PERIOD="1")
    run.worker.signal(signal.SIGTERM)
    code = run.worker.wait()
    assert code in (0, 75), run.worker.lines
    wait_until(lambda: not run.tool.is_running(), 30, "the tool's end")


def test_sigquit_drains_without_a_limit(stack: Stack, tmp_path: Path) -> None:
    run = Running(stack, tmp_path, KUBIYA_GRACE_PERIOD="1")
    run.worker.signal(signal.SIGQUIT)
    run.worker.expect("worker.draining reason=SIGQUIT active=1 grace=none")
    time.sleep(2.5)  # a second one as late as this would force a stop, whose grace period is over besides
    run.worker.signal(signal.SIGQUIT)
    run.worker.expect("worker.drains_already")
    assert run.tool.is_running()
    run.gate.touch()
    assert run.worker.wait() == 0, run.worker.lines
    run.worker.expect("worker.drained cut=0")
    run.worker.expect("worker.disconnected .*exit_code=0")
    (completed,) = [e for e in stack.events(run.execution, until="tool_completed") if e["event"] == "tool_completed"]
    assert completed["data"]["status"] == "success"


def test_a_stop_takes_a_drain_over(stack: Stack, tmp_path: Path) -> None:
    run = Running(stack, tmp_path, KUBIYA_GRACE_PERIOD="5")
    run.worker.signal(signal.SIGQUIT)
    run.worker.expect("worker.draining reason=SIGQUIT")
    run.worker.signal(signal.SIGTERM)
    run.worker.expect("worker.drain_limited reason=SIGTERM active=1 grace=5s")
    run.worker.signal(signal.SIGQUIT)
    run.worker.expect("worker.stops_already")
    assert run.worker.wait() == 0, run.worker.lines
    run.worker.expect("worker.cut_off steps=1")
    wait_until(lambda: not run.tool.is_running(), 30, "the tool's end")
    (completed,) = [e for e in stack.events(run.execution, until="tool_completed") if e["event"] == "tool_completed"]
    assert completed["data"]["outcome"] == "unknown"


def test_a_drained_worker_is_forced_as_any_other(stack: Stack, tmp_path: Path) -> None:
    run = Running(stack, tmp_path)
    run.worker.signal(signal.SIGQUIT)
    run.worker.expect("worker.draining reason=SIGQUIT")
    time.sleep(1.1)  # so the first SIGTERM comes later than a second signal would have to
    run.worker.signal(signal.SIGTERM)
    run.worker.expect("worker.drain_limited")
    assert run.tool.is_running()
    time.sleep(1.1)
    run.worker.signal(signal.SIGTERM)
    assert run.worker.wait() == 75, run.worker.lines
    run.worker.expect("worker.forced active=1")


def test_a_cancel_while_its_worker_drains_is_no_lost_worker(stack: Stack, tmp_path: Path) -> None:
    """The workflow goes on elsewhere; its tool is still run by the worker that drains, and hears of the cancel."""
    run = Running(stack, tmp_path)
    run.worker.signal(signal.SIGQUIT)
    run.worker.expect("worker.draining reason=SIGQUIT active=1")
    stack.worker(run.queue)
    stack.call("POST", f"/executions/{run.execution}/cancel")
    assert run.worker.wait(60) == 0, run.worker.lines
    wait_until(lambda: not run.tool.is_running(), 30, "the tool's end")
    run.worker.expect("worker.drained cut=0")
    # The stream may have ended before: the execution was cancelled at once.
    log = stack.call("GET", f"/executions/{run.execution}/events?limit=1000")
    assert [e["data"]["tool_error"] for e in log if e["event_type"] == "tool_completed"] == ["cancelled"]


def test_no_environment_or_command_line_of_a_tool_has_the_key(stack: Stack, tmp_path: Path) -> None:
    run = Running(stack, tmp_path)
    for process in [run.tool, *psutil.Process(run.worker.pid).children(recursive=True)]:
        try:
            told = [*process.environ().values(), *process.cmdline()]
        except psutil.NoSuchProcess:  # one of the `sleep`s of the tool's loop
            assert process.pid != run.tool.pid
            continue
        assert stack.key not in " ".join(told)
    assert stack.key not in " ".join(psutil.Process(run.worker.pid).cmdline())
    assert stack.key not in "\n".join(run.worker.lines)
    run.gate.touch()
    stack.wait(run.execution)
    run.worker.signal(signal.SIGTERM)
    assert run.worker.wait() == 0


@pytest.fixture
def plane(stack: Stack) -> Iterator[ScriptedPlane]:
    with ScriptedPlane(temporal=stack.temporal_address) as plane:
        yield plane


def test_a_signal_while_temporal_is_away_ends_with_0(start: Start) -> None:
    with ScriptedPlane(temporal="127.0.0.1:1") as plane:
        worker = start(plane.url)
        worker.expect("temporal.unreachable")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert [g.body["exit_code"] for g in plane.expect("/disconnect")] == [0]


def test_polls_that_a_hanging_temporal_does_not_end_do_not_hold_the_exit(tmp_path: Path) -> None:
    with Stack(tmp_path, ends_polls=True) as stack:
        worker = stack.worker()
        assert stack.temporal
        stack.temporal.freeze()
        worker.signal(signal.SIGQUIT)
        assert worker.wait(45) == 0, worker.lines
        worker.expect("worker.drained_without_temporal")


def test_a_namespace_that_is_not_there_is_a_configuration_error(start: Start, plane: ScriptedPlane) -> None:
    worker = start(plane.url, TEMPORAL_NAMESPACE="nowhere")
    assert worker.wait() == 78, worker.lines
    worker.expect("^kubiya worker: Temporal at .* refuses namespace 'nowhere'.*Check the queue's Temporal settings")
    (goodbye,) = plane.expect("/disconnect")
    assert goodbye.body["reason"] == "error" and goodbye.body["exit_code"] == 78
    assert "refuses namespace 'nowhere'" in goodbye.body["error_message"]


def test_a_hanging_control_plane_does_not_hold_the_exit(start: Start, plane: ScriptedPlane) -> None:
    plane.others = lambda seen: Reply(204, delay=60)
    worker = start(plane.url, HEARTBEAT_INTERVAL="1")
    worker.expect("worker.ready")
    began = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert time.monotonic() - began < 40  # it answers after 60 s
    worker.expect("worker.disconnect_failed")


def test_a_blocked_event_loop_does_not_hold_a_forced_stop(start: Start, plane: ScriptedPlane, tmp_path: Path) -> None:
    worker = start(plane.url, module="tests.support.blocking_worker", BLOCK=str(tmp_path / "never"))
    worker.expect("worker.ready")
    worker.signal(signal.SIGUSR1)
    worker.expect("worker.blocked")

    def ended() -> bool:
        """A signal counts as a second one when it is felt more than 1 s after the first, and nothing tells when."""
        worker.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.popen.wait(1.5)
        return worker.popen.poll() is not None

    wait_until(ended, 60, "the end of a worker whose loop is blocked")
    assert worker.wait() == 75, worker.lines
    assert plane.expect("/disconnect")[0].body["exit_code"] == 75


def test_a_signal_in_the_first_moments_ends_with_0(start: Start) -> None:
    worker = start("http://127.0.0.1:1")

    def handles() -> bool:
        status = Path(f"/proc/{worker.pid}/status").read_text()
        caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    wait_until(handles, 60, "a handler of SIGTERM")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.lines
    assert any("stopped" in line for line in worker.lines), worker.lines


@pytest.mark.slow
def test_thirty_clean_stops_are_thirty_zeros(start: Start, plane: ScriptedPlane) -> None:
    """sdk-python#300: an interpreter that ran a worker may crash in its own exit."""
    workers: list[Process] = []
    codes: list[Any] = []
    for _ in range(10):
        workers = [start(plane.url) for _ in range(3)]
        for worker in workers:
            worker.expect("worker.ready", 60)
            worker.signal(signal.SIGTERM)
        codes += [worker.wait(60) for worker in workers]
    assert codes == [0] * 30


def test_it_is_called_worker_py_in_ps(stack: Stack) -> None:
    """The guide's `ps aux | grep worker.py`: started as `kubiya worker start` starts it."""
    environment = stack.worker_environment()
    process = stack.start(
        [str(BIN / "kubiya"), "worker", "start", "--queue-id", "default"],
        environment,
    )
    process.expect("worker.ready")
    assert "worker.py" in " ".join(psutil.Process(process.pid).cmdline())
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
