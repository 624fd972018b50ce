"""The worker's side of being supervised: the death pipe, SIGUSR2, the status file."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import ROOT, Stack, wait_until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


def test_a_worker_whose_supervisor_is_gone_stops_within_seconds(real: Stack) -> None:
    """The pipe's other end is ours; closing it is what a killed supervisor's kernel does."""
    reader, writer = os.pipe()
    log = real.folder / "orphan.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "kubiya_worker.process.worker", "--queue-id", "default"],
            env={
                **os.environ,
                **real.worker_environment(),
                "PYTHONPATH": str(ROOT),
                "SUPERVISOR_DEATH_FD": str(reader),
            },
            cwd=real.folder,
            stdout=file,
            stderr=file,
            pass_fds=(reader,),
        )
    os.close(reader)
    try:
        wait_until(lambda: "worker.ready" in log.read_text(), 60, "it polls")
        agent = real.agent("orphan", skills=[{"type": "sleep", "name": "sleep"}])
        script = [{"tools": [{"name": "sleep", "arguments": {"seconds": 60}}]}]
        execution = real.execute("demo:script " + json.dumps(script), agent=agent)
        real.first(execution, "tool_started")
        os.close(writer)
        writer = -1
        assert process.wait(60) == 75  # cut off with work that runs: 4 s on an idle machine
        text = log.read_text()
        assert "its supervisor is gone" in text and "worker.disconnected" in text
    finally:
        process.kill()
        process.wait()
        if writer >= 0:
            os.close(writer)


def test_sigusr2_is_ten_minutes_of_debug(real: Stack) -> None:
    queue = real.queue("verbose")
    worker = real.worker(queue, LOG_LEVEL="INFO")
    assert not any(" debug " in line for line in worker.lines)
    worker.signal(signal.SIGUSR2)
    worker.expect("log.verbose lasts=600s")
    execution = real.execute("demo:script " + json.dumps([{"text": "hello"}]), queue=queue)
    real.wait(execution, "completed", "waiting_for_input")
    worker.expect(" debug ")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_the_status_file_follows_the_work_and_is_private(real: Stack, tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    queue = real.queue("status")
    worker = real.worker(queue, KUBIYA_STATUS_FILE=str(path))

    def says(**wanted: object) -> bool:
        found = json.loads(path.read_text()) if path.exists() else {}
        return all(found.get(key) == value for key, value in wanted.items())

    wait_until(lambda: says(polling=True, active_tasks=0, pid=worker.pid), 30, "it says that it polls")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    gate = tmp_path / "gate"
    agent = real.agent("status", skills=[{"type": "shell", "configuration": {"allowed_commands": ["*"]}}])
    wait = {"name": "shell", "arguments": {"command": f"sh -c 'until [ -e {gate} ]; do sleep 0.05; done'"}}
    script = [{"tools": [wait]}, {"text": "over"}]
    execution = real.execute("demo:script " + json.dumps(script), agent=agent, queue=queue)
    wait_until(lambda: says(active_tasks=1, polling=True), 30, "it says that a task runs")
    gate.touch()
    real.wait(execution, "completed", "waiting_for_input")
    wait_until(lambda: says(active_tasks=0, failed_tasks=0), 30, "it says that the task is done")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
