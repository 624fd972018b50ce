"""Probe files and the notify protocol say whether the worker takes work; a real Temporal is the witness."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.worker.conftest import Start
from tests.support.scripted_plane import ScriptedPlane
from tests.support.stack import Stack, wait_until


@pytest.fixture
def plane(stack: Stack) -> Iterator[ScriptedPlane]:
    with ScriptedPlane(temporal=stack.temporal_address) as plane:
        yield plane


class Supervisor:
    """The receiving end of NOTIFY_SOCKET, read all the time: the kernel keeps ten messages, and no worker waits."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while message := self._socket.recv(4096):
            self.lines += message.decode().splitlines()

    def expect(self, beginning: str, count: int = 1) -> str:
        """The first line that begins so, once there are `count` of them."""

        def found() -> list[str]:
            return [line for line in self.lines if line.startswith(beginning)]

        try:
            wait_until(lambda: len(found()) >= count, 60, f"{count} of {beginning!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.lines}") from None
        return found()[0]

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RD)  # its reader gets an empty message
        self._reader.join(10)
        self._socket.close()


def test_probe_files_are_there_while_it_polls_and_go_at_the_drain(
    start: Start, plane: ScriptedPlane, tmp_path: Path
) -> None:
    alive, ready = tmp_path / "alive", tmp_path / "ready"
    worker = start(plane.url)
    worker.expect("worker.registered")
    worker.expect("worker.ready")
    assert json.loads(ready.read_text())["worker_id"] == "worker-1"
    assert json.loads(alive.read_text())["pid"] == worker.pid
    worker.signal(signal.SIGTERM)
    worker.expect("worker.draining")
    wait_until(lambda: not ready.exists(), 30, "the ready file goes")
    assert worker.wait() == 0
    assert not alive.exists()


def test_it_is_alive_and_not_ready_while_temporal_is_away(start: Start, tmp_path: Path) -> None:
    with ScriptedPlane(temporal="127.0.0.1:1") as plane:
        worker = start(plane.url)
        worker.expect("temporal.unreachable")
        wait_until((tmp_path / "alive").exists, 30, "the alive file")
        assert not (tmp_path / "ready").exists()


def test_files_of_another_worker_are_left(start: Start, plane: ScriptedPlane, tmp_path: Path) -> None:
    worker = start(plane.url)
    worker.expect("worker.ready")
    other = json.dumps({"worker_id": "another", "pid": 1})
    (tmp_path / "ready").write_text(other)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert (tmp_path / "ready").read_text() == other


def test_a_folder_that_cannot_be_written_is_said_once_and_stops_nothing(start: Start, plane: ScriptedPlane) -> None:
    worker = start(plane.url, KUBIYA_ALIVE_FILE="/nowhere/alive", KUBIYA_READY_FILE="/proc/ready")
    worker.expect("worker.ready")
    assert sum("health.file_not_written" in line for line in worker.lines) == 2, worker.lines


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_the_notify_protocol(start: Start, plane: ScriptedPlane, tmp_path: Path, kind: str) -> None:
    address = str(tmp_path / "notify") if kind == "path" else f"@kubiya-{uuid.uuid4().hex}"
    supervisor = Supervisor(address)
    try:
        worker = start(plane.url, NOTIFY_SOCKET=address, WATCHDOG_USEC="400000")
        supervisor.expect("STATUS=registering with")
        supervisor.expect("STATUS=connecting to Temporal")
        supervisor.expect("READY=1")
        assert supervisor.expect("STATUS=polling") == "STATUS=polling queue default"
        supervisor.expect("WATCHDOG=1", 5)
        worker.signal(signal.SIGTERM)
        supervisor.expect("STOPPING=1")
        supervisor.expect("STATUS=draining 0 tasks")
        assert worker.wait() == 0
        assert supervisor.lines.index("READY=1") < supervisor.lines.index("STOPPING=1")
    finally:
        supervisor.close()


def test_a_drain_starts_no_clock_of_a_supervisor(start: Start, stack: Stack, tmp_path: Path) -> None:
    """STOPPING=1 starts systemd's TimeoutStopSec, so the worker sends it only when all steps have finished."""
    supervisor = Supervisor(str(tmp_path / "notify"))
    gate = tmp_path / "gate"
    try:
        queue = stack.queue(f"q-{uuid.uuid4().hex[:8]}")
        worker = stack.worker(queue, NOTIFY_SOCKET=str(tmp_path / "notify"))
        command = {"command": f"sh -c 'until [ -e {gate} ]; do sleep 0.05; done'"}
        steps = [{"tools": [{"name": "shell", "arguments": command}]}, {"text": "all done"}]
        shell = {"type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 120}}
        agent = stack.agent(f"agent-{queue}", skills=[shell])
        stack.first(stack.execute("demo:script " + json.dumps(steps), agent=agent, queue=queue), "tool_started")
        worker.signal(signal.SIGQUIT)
        supervisor.expect("DRAINING=1")
        supervisor.expect("STATUS=draining 1 tasks")
        assert "STOPPING=1" not in supervisor.lines
        gate.touch()
        assert worker.wait() == 0
        supervisor.expect("STOPPING=1")
    finally:
        supervisor.close()


def test_a_watchdog_of_another_process_is_not_served(start: Start, plane: ScriptedPlane, tmp_path: Path) -> None:
    supervisor = Supervisor(str(tmp_path / "notify"))
    try:
        start(plane.url, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="10000", WATCHDOG_PID=str(os.getpid()))
        supervisor.expect("READY=1")
        assert supervisor.lines.count("WATCHDOG=1") < 50  # each 5 s, its own pace, and not each 5 ms
    finally:
        supervisor.close()


def test_a_blocked_event_loop_is_not_alive(start: Start, plane: ScriptedPlane, tmp_path: Path) -> None:
    """A probe that only cats the file fails; the watchdog is not fed; both come back with the loop."""
    supervisor = Supervisor(str(tmp_path / "notify"))
    alive, gate = tmp_path / "alive", tmp_path / "gate"
    notified = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    try:
        worker = start(plane.url, module="tests.support.blocking_worker", BLOCK=str(gate), **notified)
        worker.expect("worker.ready")
        wait_until(alive.exists, 30, "the alive file")
        worker.signal(signal.SIGUSR1)
        worker.expect("worker.blocked")
        wait_until(lambda: not alive.exists(), 30, "the alive file goes")
        fed = supervisor.lines.count("WATCHDOG=1")
        time.sleep(1)  # four beats of a loop that turns
        assert supervisor.lines.count("WATCHDOG=1") <= fed + 1  # one may have been on its way
        assert not alive.exists()
        gate.touch()
        worker.expect("worker.unblocked")
        wait_until(alive.exists, 30, "the alive file comes back")
        supervisor.expect("WATCHDOG=1", fed + 1)
    finally:
        supervisor.close()


def test_ready_goes_with_temporal_and_comes_back_with_it(tmp_path: Path) -> None:
    supervisor = Supervisor(str(tmp_path / "notify"))
    with Stack(tmp_path, persistent=True) as stack:
        worker = stack.worker(NOTIFY_SOCKET=str(tmp_path / "notify"), HEARTBEAT_INTERVAL="1")
        ready, alive = tmp_path / "ready1", tmp_path / "alive1"
        assert ready.exists()
        assert stack.temporal is not None
        stack.temporal.kill()
        worker.expect("worker.not_ready .*Temporal does not answer")
        assert not ready.exists() and alive.exists()
        supervisor.expect("STATUS=not ready: Temporal does not answer")

        def queue_health() -> str:
            return str(stack.call("GET", "/workers/default/health")["status"])

        wait_until(lambda: queue_health() == "degraded", 30, "the queue's health says that nobody polls")
        stack.start_temporal()
        worker.expect("worker.ready_again", 90)
        assert ready.exists()
        wait_until(lambda: queue_health() == "healthy", 30, "the queue is healthy again")
        assert stack.wait(stack.execute('demo:script [{"text": "still here"}]'))["response"] == "still here"
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    supervisor.close()
