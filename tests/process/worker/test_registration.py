"""Registration: tried again while nobody can answer, tried once when the answer is no."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.process.worker.conftest import KEY, Start
from tests.support.scripted_plane import Reply, ScriptedPlane
from tests.support.stack import free_port

START = "/start"


def test_it_is_tried_again_until_the_control_plane_is_there(start: Start) -> None:
    port = free_port()
    worker = start(f"http://127.0.0.1:{port}")
    worker.expect("worker.registration_failed .*Connection refused.* retry_in=")
    with ScriptedPlane(port=port) as plane:
        worker.expect("worker.registered queue=default worker_id=worker-1")
        request = plane.expect(START)[0]
    assert request.path == "/api/v1/worker-queues/default/start"
    assert request.key == f"Bearer {KEY}"
    about = request.body["system_info"]
    assert about["pid"] == worker.pid and about["memory_total"] > 0 and about["hostname"]


@pytest.mark.parametrize("status", [408, 500, 502, 503])
def test_a_failing_control_plane_is_asked_again(start: Start, status: int) -> None:
    with ScriptedPlane(Reply(status, {"detail": "not now"})) as plane:
        worker = start(plane.url)
        line = worker.expect("worker.registration_failed")
        assert f"answered {status}: not now" in line
        plane.expect(START, 2)
        worker.expect("worker.registered")


def test_retry_after_is_kept(start: Start) -> None:
    with ScriptedPlane(Reply(429, {"detail": "slow down"}, {"Retry-After": "2"})) as plane:
        start(plane.url)
        first, second = plane.expect(START, 2)
    assert second.at - first.at >= 2.0


@pytest.mark.parametrize(
    ("reply", "code", "says"),
    [
        (Reply(401, {"detail": "Invalid API key"}), 77, "refuses the API key.* Check KUBIYA_API_KEY"),
        (Reply(403, {"detail": "no right"}), 77, "refuses the API key.*no right.* Check KUBIYA_API_KEY"),
        (Reply(404, {"detail": "no such queue"}), 78, "The queue 'default' is not known to .* Check --queue-id"),
        (Reply(400, {"detail": "The queue is paused, not active"}), 78, "The queue is paused, not active"),
        (Reply(200, "<html>hello</html>"), 78, "not JSON.* Is this URL a Kubiya control plane"),
        (Reply(200, {"hello": "world"}), 78, "without 'worker_id'.* Is this URL a Kubiya control plane"),
        (
            Reply(301, "", {"Location": "https://elsewhere.example/"}),
            78,
            "redirected to https://elsewhere.example/. Set CONTROL_PLANE_URL",
        ),
    ],
)
def test_a_no_ends_it_after_one_try_with_one_line(start: Start, reply: Reply, code: int, says: str) -> None:
    with ScriptedPlane(reply) as plane:
        worker = start(plane.url)
        assert worker.wait() == code, worker.lines
        assert len(plane.requests(START)) == 1
        assert not plane.requests("/disconnect")
    assert len(worker.lines) == 1, worker.lines
    worker.expect(f"^kubiya worker: .*{says}")
    assert KEY not in worker.lines[0]


@pytest.mark.parametrize("status", [404, 405, 501])
def test_another_kind_of_server_ends_it_and_is_told_as_such(start: Start, status: int) -> None:
    with ScriptedPlane(Reply(status, "<html>Error response</html>")) as plane:
        plane.others = lambda seen: Reply(404, "<html>Error response</html>")
        worker = start(plane.url)
        assert worker.wait() == 78, worker.lines
        worker.expect(f"^kubiya worker: {plane.url} is no Kubiya control plane: .*404. Set CONTROL_PLANE_URL")
    assert len(worker.lines) == 1, worker.lines


def test_a_policy_file_with_a_mistake_is_told_before_anybody_hears_of_the_worker(start: Start, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("- {scope_type: tool, scope_value: shell, action: block}")
    with ScriptedPlane() as plane:
        worker = start(plane.url, KUBIYA_POLICY_FILE=str(tmp_path / "rules.yaml"))
        assert worker.wait() == 78
        assert not plane.seen
    worker.expect("^kubiya worker: .*rules.yaml: rule 1: unknown action")


def test_a_control_plane_that_echoes_the_key_does_not_put_it_into_the_log(start: Start) -> None:
    with ScriptedPlane(Reply(500, {"detail": f"bad {KEY}"}), Reply(400, {"detail": f"worse {KEY}"})) as plane:
        worker = start(plane.url)
        assert worker.wait() == 78
    text = "\n".join(worker.lines)
    assert KEY not in text and text.count("[redacted]") == 2


def test_a_signal_while_registration_is_tried_again_ends_with_0(start: Start) -> None:
    worker = start(f"http://127.0.0.1:{free_port()}")
    worker.expect("worker.registration_failed")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    worker.expect("worker.stopped reason=SIGTERM registered=False")


def test_a_signal_while_the_control_plane_is_silent_does_not_wait_for_it(start: Start) -> None:
    with ScriptedPlane(Reply(200, {}, delay=60)) as plane:
        worker = start(plane.url)
        plane.expect(START)
        began = time.monotonic()
        worker.signal(signal.SIGINT)
        assert worker.wait() == 0
        assert time.monotonic() - began < 40  # it answers after 60 s


def test_a_registration_that_comes_through_after_the_signal_is_taken_back(start: Start) -> None:
    with ScriptedPlane() as plane:
        plane._starts = [Reply(200, plane.registration, delay=1)]
        worker = start(plane.url)
        plane.expect(START)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        goodbye = plane.expect("/workers/worker-1/disconnect")[0]
    assert goodbye.body == {"reason": "SIGTERM", "exit_code": 0}
