"""`kubiya doctor` against the real local stack."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.stack import Stack, free_port


def _doctor(stack: Stack, *arguments: str, **changes: str) -> tuple[int, dict[str, Any], str]:
    environment = {"PATH": "/usr/bin:/bin", **stack.worker_environment(), **changes}
    argv = [sys.executable, "-m", "kubiya_worker.cli.main", "doctor", "--json", *arguments]
    run = subprocess.run(
        argv, env=environment, capture_output=True, text=True, timeout=110, cwd=Path(__file__).parents[3]
    )
    told = json.loads(run.stdout)
    return run.returncode, {check["name"]: check for check in told["checks"]}, run.stdout + run.stderr


def _workers(stack: Stack) -> set[str]:
    """Return the ids of the queue's workers: killed ones of other tests stay for some minutes."""
    return {worker["id"] for worker in stack.call("GET", "/worker-queues/default/workers")}


def test_a_healthy_stack_passes_and_is_left_as_it_was(stack: Stack) -> None:
    before = _workers(stack)
    code, found, said = _doctor(stack, "--queue-id", "default")
    assert code == 0, said
    assert {found[name]["status"] for name in ("health", "clock", "api key", "queue", "registration", "poll")} == {
        "pass"
    }
    assert _workers(stack) <= before
    assert stack.key not in said
    told = found["api key"]["message"]
    assert told.startswith("organization local, as local@localhost, key ") and "with all rights, made 20" in told


def test_a_wrong_key_is_the_first_thing_that_fails(stack: Stack) -> None:
    code, found, said = _doctor(stack, "--queue-id", "default", KUBIYA_API_KEY="kby_wrong")
    assert (code, found["api key"]["status"], found["queue"]["status"]) == (1, "fail", "skip")
    assert "KUBIYA_API_KEY" in found["api key"]["remediation"]
    assert "kby_wrong" not in said


def test_an_unknown_queue_is_named(stack: Stack) -> None:
    code, found, _ = _doctor(stack, "--queue-id", "nowhere")
    assert (code, found["queue"]["message"]) == (1, "there is no queue 'nowhere'")
    assert found["registration"]["status"] == "skip"


def test_a_control_plane_that_is_not_there(stack: Stack) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    code, found, _ = _doctor(stack, "--queue-id", "default", CONTROL_PLANE_GATEWAY_URL=url)
    assert (code, found["health"]["status"], found["poll"]["status"]) == (1, "fail", "skip")


def test_a_temporal_that_is_not_there(stack: Stack) -> None:
    port, before = free_port(), _workers(stack)
    code, found, _ = _doctor(stack, "--queue-id", "default", TEMPORAL_HOST=f"127.0.0.1:{port}")
    assert (code, found["poll"]["status"]) == (1, "fail")
    assert found["poll"]["remediation"] == f"Check the address, and that it runs: nc -vz 127.0.0.1 {port}"
    assert _workers(stack) <= before


def test_without_a_queue_the_host_is_examined_all_the_same(stack: Stack) -> None:
    code, found, _ = _doctor(stack)
    assert (code, found["settings"]["status"], found["python"]["status"]) == (1, "fail", "pass")
    assert "--queue-id" in found["settings"]["remediation"]
