"""Variables of the Kubiya CLI and worker that a running worker keeps to: its id, who waits for it, what failed."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

from tests.process.worker.conftest import Start
from tests.support.scripted_plane import ScriptedPlane
from tests.support.stack import Stack, wait_until


def _ids(stack: Stack) -> list[str]:
    return [worker["id"] for worker in stack.call("GET", "/worker-queues/default/workers")]


def test_the_id_that_is_asked_for_stays_over_restarts(stack: Stack) -> None:
    for _ in range(2):
        worker = stack.worker(WORKER_ID="rack-7.worker_1")
        assert "worker_id=rack-7.worker_1" in worker.expect("worker.registered")
        wait_until(lambda: _ids(stack) == ["rack-7.worker_1"], 30, "its heartbeat")
        execution = stack.execute('demo:script [{"text": "hello"}]')
        assert stack.wait(execution)["response"] == "hello"
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.lines
    assert _ids(stack) == []


def test_a_killed_worker_comes_back_under_its_id(stack: Stack) -> None:
    first = stack.worker(WORKER_ID="killed-once")
    first.kill()
    second = stack.worker(WORKER_ID="killed-once")
    assert _ids(stack) == ["killed-once"]
    second.signal(signal.SIGTERM)
    assert second.wait() == 0


def test_the_server_takes_no_id_that_is_none(stack: Stack) -> None:
    for wrong in ("", " ", "a/b", "x" * 129, "ä"):
        answer = stack.http.post(
            f"{stack.url}/api/v1/worker-queues/default/start", json={"worker_id": wrong}, timeout=30
        )
        assert answer.status_code == (200 if wrong == "" else 422), (wrong, answer.text)


def test_a_control_plane_that_gives_its_own_ids_is_told_of(start: Start) -> None:
    with ScriptedPlane() as plane:
        worker = start(plane.url, WORKER_ID="mine")
        line = worker.expect("worker.id_not_given")
        assert "asked=mine" in line and "given=worker-1" in line
        worker.expect("worker.registered .*worker_id=worker-1")
        assert plane.expect("/start")[0].body["worker_id"] == "mine"


def test_without_it_nothing_is_asked_for(start: Start) -> None:
    with ScriptedPlane() as plane:
        start(plane.url)
        assert "worker_id" not in plane.expect("/start")[0].body


def test_the_readiness_socket_is_told_when_it_polls(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "ready.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(30)
        worker = stack.worker(KUBIYA_READINESS_SOCKET=str(path))
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(30)
            told = json.loads(connection.makefile().read())
    assert (told["pid"], told["queue_id"], told["control_plane_url"]) == (worker.pid, "default", stack.url)
    worker.kill()


def test_what_the_control_plane_does_not_take_is_in_the_file(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    worker = start("http://127.0.0.1:1", KUBIYA_API_LOG_FILE=str(path))
    worker.expect("worker.registration_failed")
    first = json.loads(path.read_text().splitlines()[0])
    assert first["method"] == "POST" and first["url"].endswith("/worker-queues/default/start") and not first["status"]
