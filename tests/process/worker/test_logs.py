"""Log lines: structured, UTC, one line each, as text and as JSON, without secrets."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.process.worker.conftest import KEY, Start
from tests.support.scripted_plane import Reply, ScriptedPlane
from tests.support.stack import Process

LINE = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z) (debug|info|warning|error) (\S+)( \S+=(\"(\\.|[^\"])*\"|[^\s\"]+))*.*"
)


def stopped(worker: Process) -> list[str]:
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.lines
    return worker.lines


def test_text_is_one_line_for_each_event_in_utc(start: Start) -> None:
    evil = 'line one\nline "two"\r\x1b[31mred\u2028three'
    with ScriptedPlane(Reply(500, {"detail": evil})) as plane:
        worker = start(plane.url, TZ="Asia/Tokyo")
        worker.expect("worker.registered")
        lines = stopped(worker)
    for line in lines:
        found = LINE.fullmatch(line)
        assert found, line
        assert abs(datetime.fromisoformat(found[1]) - datetime.now(UTC)) < timedelta(minutes=10)
        assert line.isprintable(), line
    (failed,) = [line for line in lines if "worker.registration_failed" in line]
    assert r"answered 500: line one line \"two\" [31mred three" in failed  # without the control characters


def test_json_is_one_object_a_line(start: Start) -> None:
    with ScriptedPlane(Reply(500, {"detail": 'a "b"\nc'})) as plane:
        worker = start(plane.url, KUBIYA_LOG_FORMAT="json")
        worker.expect("worker.registered")
        events = [json.loads(line) for line in stopped(worker)]
    assert {e["level"] for e in events} <= {"info", "warning"}
    assert [e["event"] for e in events if e["event"].startswith("worker.")][:2] == [
        "worker.registration_failed",
        "worker.registered",
    ]
    assert all(e["timestamp"].endswith("Z") for e in events)


def test_the_level_hides_what_is_below(start: Start) -> None:
    with ScriptedPlane() as plane:
        worker = start(plane.url, LOG_LEVEL="warning")
        worker.expect("temporal.unreachable")
        assert not any(" info " in line for line in stopped(worker))


def test_debug_says_more_and_never_the_key(start: Start) -> None:
    with ScriptedPlane(Reply(401, {"detail": f"unknown key {KEY}"})) as plane:
        worker = start(plane.url, KUBIYA_DEBUG="true")
        assert worker.wait() == 77
    text = "\n".join(worker.lines)
    assert "Traceback" in text and " debug " in text
    assert KEY not in text


def test_a_reader_that_goes_away_does_not_end_the_worker(tmp_path: Path) -> None:
    with ScriptedPlane() as plane:
        worker = subprocess.Popen(
            [sys.executable, "-P", "-m", "kubiya_worker.process.worker", "--queue-id", "default"],
            env={**os.environ, "KUBIYA_API_KEY": KEY, "CONTROL_PLANE_GATEWAY_URL": plane.url, "HOME": str(tmp_path)}
            | {"KUBIYA_ALIVE_FILE": str(tmp_path / "alive"), "KUBIYA_READY_FILE": str(tmp_path / "ready")},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert worker.stdout is not None and worker.stderr is not None
        try:
            plane.expect("/start")
            worker.stdout.close()
            worker.stderr.close()
            plane.expect("/heartbeat")
            worker.terminate()
            assert worker.wait(60) == 0
            assert plane.expect("/disconnect")[0].body["exit_code"] == 0
        finally:
            worker.kill()


def test_a_log_that_cannot_be_written_costs_lines_and_is_said_once() -> None:
    """There is no traceback for each lost line: it would contain the line before its secrets were redacted."""
    code = """
import structlog
from kubiya_worker.process.logging import configure
recent = configure("INFO", "text", lambda text: text.replace("sk-canary", "[hidden]"))
for number in range(3):
    structlog.get_logger().info("an.event", number=number, key="sk-canary")
assert len(recent.take()) == 3
import os; os._exit(0)  # as a worker ends: what is buffered for a full disk is not tried again
"""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    said = "kubiya worker: the log cannot be written (No space left on device); lines are lost\n"
    assert (done.returncode, done.stderr) == (0, said)
