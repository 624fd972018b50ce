"""A worker that polls where no work is sent to says so in its log, status file and heartbeats, and doctor does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.stack import ROOT, Stack, wait_until


def test_a_worker_of_another_queue_and_another_temporal_says_so(stack: Stack, tmp_path: Path) -> None:
    with Stack(tmp_path) as other:
        status = tmp_path / "status.json"
        wrong = {"TEMPORAL_HOST": other.temporal_address, "TEMPORAL_TASK_QUEUE": "elsewhere"}
        argv = [sys.executable, "-m", "kubiya_worker.process.worker", "--queue-id", "default"]
        worker = stack.start(argv, stack.worker_environment(KUBIYA_STATUS_FILE=str(status), **wrong))
        worker.expect("worker.ready")
        log = "\n".join(worker.lines)
        assert "worker.elsewhere" in log and "polls the queue 'elsewhere', and work is sent to" in log
        assert f"polls Temporal at {other.temporal_address}, and work is sent to another one" in log
        wait_until(lambda: "elsewhere" in status.read_text(), 30, "the status file has it")
        told = json.loads(status.read_text())["findings"]
        assert {one["name"] for one in told} == {"work"} and len(told) == 2

        def in_heartbeat() -> bool:
            rows = stack.call("GET", "/workers")
            return any(len(row["worker_metadata"].get("findings") or ()) == 2 for row in rows)

        wait_until(in_heartbeat, 60, "a heartbeat has it")
        argv = [sys.executable, "-m", "kubiya_worker.cli.main", "doctor", "--queue-id", "default", "--json"]
        environment = {"PATH": "/usr/bin:/bin", **stack.worker_environment(**wrong)}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, cwd=ROOT)
        poll = next(one for one in json.loads(done.stdout)["checks"] if one["name"] == "poll")
        assert poll["status"] == "warning" and "work is sent to" in poll["message"]
