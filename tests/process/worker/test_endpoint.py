"""`/metrics`, `/healthz`, `/readyz` of a real worker, also while its event loop is blocked."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
import requests

from tests.process.worker.conftest import Start
from tests.support.scripted_plane import ScriptedPlane
from tests.support.stack import Stack, free_port, wait_until


def get(port: int, page: str) -> tuple[int, str]:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(f"http://127.0.0.1:{port}{page}", timeout=30)
        return answer.status_code, answer.text


def test_the_page_tells_what_the_worker_has_done(stack: Stack) -> None:
    port = free_port()
    worker = stack.worker(KUBIYA_METRICS_PORT=str(port))
    assert (get(port, "/healthz"), get(port, "/readyz")[0]) == ((200, "ok\n"), 200)
    call = {"name": "shell", "arguments": {"command": "echo hi"}}
    script = json.dumps([{"text": "", "tools": [call]}, {"text": "done"}])
    skill = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["echo"]}}
    agent = stack.agent("measured", skills=[skill])
    assert stack.wait(stack.execute(f"demo:script {script}", agent=agent))["status"] == "completed"
    status, page = get(port, "/metrics")
    assert status == 200
    assert 'kubiya_worker_tool_calls_total{tool="shell",outcome="success"} 1' in page
    assert re.search(r'kubiya_worker_step_seconds_count\{type="call_model",outcome="completed"\} 2', page)
    assert re.search(r"^kubiya_worker_ready 1$", page, re.M)
    assert re.search(r'gen_ai_client_operation_duration_seconds_count\{.*gen_ai_request_model="demo".*\} 2', page)
    assert re.search(r'gen_ai_execute_tool_duration_seconds_count\{gen_ai_tool_name="shell".*\} 1', page)
    assert re.search(r'gen_ai_invoke_agent_duration_seconds_count\{gen_ai_agent_name="measured".*\} 1', page)
    assert re.search(r"^temporal_\w+", page, re.M), "Temporal's own figures"
    assert stack.key not in page
    assert get(port, "/nothing")[0] == 404
    worker.kill()


def test_a_taken_port_is_told_with_its_remedy(stack: Stack) -> None:
    worker = stack.worker(ready=False, KUBIYA_METRICS_PORT=str(stack.port))
    assert worker.wait() == 78
    assert f"127.0.0.1:{stack.port} cannot be used" in worker.lines[-1] and "KUBIYA_METRICS_PORT" in worker.lines[-1]


def test_it_lives_and_is_not_ready_while_the_control_plane_is_away_at_its_start(start: Start, tmp_path: Path) -> None:
    """A restart would not help, so no probe asks for one; every place says the same."""
    port, plane_port, alive, ready = free_port(), free_port(), tmp_path / "alive", tmp_path / "ready"
    files = {"KUBIYA_ALIVE_FILE": str(alive), "KUBIYA_READY_FILE": str(ready)}
    worker = start(f"http://127.0.0.1:{plane_port}", KUBIYA_METRICS_PORT=str(port), **files)
    worker.expect("worker.registration_failed")
    wait_until(alive.exists, 30, "the alive file is there")
    told = json.loads(alive.read_text())
    assert (told["worker_id"], told["pid"]) == ("", worker.pid)
    assert (get(port, "/healthz"), get(port, "/readyz")) == ((200, "ok\n"), (503, "registering\n"))
    assert re.search(r"^kubiya_worker_ready 0$", get(port, "/metrics")[1], re.M)
    assert not ready.exists()
    with ScriptedPlane(port=plane_port):
        worker.expect("worker.registered queue=default worker_id=worker-1")
        wait_until(lambda: get(port, "/readyz") == (503, "connecting\n"), 30, "it is a step further")
        page = get(port, "/metrics")[1]
        assert 'worker_id="worker-1"' in page and page.count("kubiya_worker_info{") == 1
        wait_until(lambda: json.loads(alive.read_text())["worker_id"] == "worker-1", 30, "the file says whose it is")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert not alive.exists()


def test_without_a_port_nothing_listens(stack: Stack) -> None:
    worker = stack.worker()
    assert not any("endpoint.listening" in line for line in worker.lines)
    worker.kill()


def test_health_turns_red_when_the_loop_is_blocked_and_green_with_it(
    stack: Stack, start: Start, tmp_path: Path
) -> None:
    port, gate = free_port(), tmp_path / "gate"
    known = {"KUBIYA_API_KEY": stack.key, "KUBIYA_METRICS_PORT": str(port)}
    worker = start(stack.url, module="tests.support.blocking_worker", BLOCK=str(gate), **known)
    worker.expect("worker.ready")
    wait_until(lambda: get(port, "/healthz")[0] == 200, 30, "/healthz is green")  # it calls 1 s late blocked
    worker.signal(signal.SIGUSR1)
    wait_until(lambda: get(port, "/healthz")[0] == 503, 30, "/healthz is red")
    status, why = get(port, "/readyz")
    assert status == 503 and "blocked" in why
    worker.expect("worker.blocked")  # the watching thread looks four times a second: it must have seen the block
    gate.touch()
    worker.expect("worker.unblocked")
    wait_until(lambda: get(port, "/healthz")[0] == 200, 30, "/healthz is green again")


@pytest.mark.slow
def test_approvals_that_wait_are_told_also_by_a_worker_that_was_started_since(stack: Stack) -> None:
    """A queue of its own: what other tests leave waiting does not count."""
    queue = stack.queue("of-approvals")

    def waiting() -> list[str]:
        return re.findall(
            r'^kubiya_worker_approvals_waiting\{queue="of-approvals"\} (\d+)$', get(port, "/metrics")[1], re.M
        )

    port = free_port()
    worker = stack.worker(queue, KUBIYA_METRICS_PORT=str(port))
    wait_until(lambda: waiting() == ["0"], 30, "the first count")
    call = {"name": "save_file", "arguments": {"path": "x", "content": "y"}}
    script = json.dumps([{"text": "", "tools": [call]}, {"text": "done"}])
    execution = stack.execute(f"demo:script {script}", queue=queue)
    asked = stack.first(execution, "approval_requested")
    worker.kill()
    port = free_port()
    again = stack.worker(queue, KUBIYA_METRICS_PORT=str(port))
    wait_until(lambda: waiting() == ["1"], 30, "the count of another worker")
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
    stack.wait(execution)
    wait_until(lambda: waiting() == ["0"], 30, "the count after the answer")
    again.kill()
