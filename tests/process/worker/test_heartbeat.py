"""Heartbeats as the wire has them, from a worker that works."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.worker.conftest import Start
from tests.support.scripted_plane import Reply, ScriptedPlane, Seen
from tests.support.stack import Process, Stack, wait_until

BEAT = "/workers/worker-1/heartbeat"


@pytest.fixture
def plane(stack: Stack) -> Iterator[ScriptedPlane]:
    with ScriptedPlane(temporal=stack.temporal_address) as plane:
        yield plane


def end(worker: Process, code: int = 0) -> None:
    worker.signal(signal.SIGTERM)
    assert worker.wait() == code, worker.lines


def test_the_first_beat_is_full_and_the_others_light(start: Start, plane: ScriptedPlane) -> None:
    worker = start(plane.url, HEARTBEAT_INTERVAL="1", WORKER_HOSTNAME="host-7")

    def polling() -> list[Seen]:
        """Return the beats since it polls: until then, a change of its state sends one before its time."""
        return [beat for beat in plane.requests(BEAT) if beat.body["worker_metadata"]["polling"]]

    wait_until(lambda: len(polling()) >= 4, 60, "four beats of a worker that polls")
    first = plane.requests(BEAT)[0]
    second, third = polling()[2:4]
    assert first.body["status"] == "active"
    assert first.body["system_info"]["pid"] == worker.pid
    assert any("worker.registered" in line for line in first.body["logs"])
    for beat in (first, second, third):
        about = beat.body["worker_metadata"]
        assert about["hostname"] == "host-7"
        assert 10_000_000 < about["memory_bytes"] < 1_000_000_000
        assert about["uptime_seconds"] >= 0 and about["cpu_percent"] >= 0
    assert "system_info" not in second.body and "logs" not in third.body
    # By the worker's clock: on a busy machine the plane may hear of one late. Not the 30 s that are the default.
    apart = third.body["worker_metadata"]["uptime_seconds"] - second.body["worker_metadata"]["uptime_seconds"]
    assert 0.85 < apart < 25
    end(worker)
    beats = len(plane.requests(BEAT))
    goodbye = plane.requests("/disconnect")
    assert [g.body for g in goodbye] == [{"reason": "SIGTERM", "exit_code": 0}]
    assert plane.seen[-1] is goodbye[0] and len(plane.requests(BEAT)) == beats


def test_a_beat_says_at_once_that_it_polls(start: Start, plane: ScriptedPlane) -> None:
    """The second heartbeat follows at once, so that the control plane shows the worker as polling after `start -d`."""
    worker = start(plane.url, HEARTBEAT_INTERVAL="3600")
    worker.expect("worker.ready")
    told = [beat.body["worker_metadata"] for beat in plane.expect(BEAT, 2)]
    assert told[1]["state"] == "polling" and told[1]["polling"] is True
    end(worker)


def test_beats_go_on_and_say_so_while_temporal_is_away(start: Start) -> None:
    with ScriptedPlane(temporal="127.0.0.1:1") as plane:
        worker = start(plane.url, HEARTBEAT_INTERVAL="1")
        beats = plane.expect(BEAT, 3)
        worker.expect("temporal.unreachable address=127.0.0.1:1 tls=False .*retry_in=")
        assert all(b.body["worker_metadata"]["polling"] is False for b in beats)
        assert beats[-1].body["worker_metadata"]["state"] == "connecting"
        end(worker)
        assert plane.expect("/disconnect")[0].body["exit_code"] == 0


def test_a_failing_control_plane_does_not_end_the_beats(start: Start, plane: ScriptedPlane) -> None:
    plane.others = lambda seen: Reply(503 if len(plane.requests(BEAT)) <= 2 else 204, {"detail": "down"})
    worker = start(plane.url, HEARTBEAT_INTERVAL="1")
    worker.expect("heartbeat.failing")
    worker.expect("heartbeat.recovered")
    assert sum("heartbeat.failing" in line for line in worker.lines) == 1
    end(worker)


def test_counts_are_those_of_the_work(stack: Stack, tmp_path: Path) -> None:
    queue = stack.queue("counted")
    worker = stack.worker(queue, HEARTBEAT_INTERVAL="1")
    gate = tmp_path / "gate"
    agent = stack.agent("counted", skills=[{"type": "shell", "configuration": {"allowed_commands": ["*"]}}])
    wait = {"name": "shell", "arguments": {"command": f"sh -c 'until [ -e {gate} ]; do sleep 0.05; done'"}}
    script = "demo:script " + json.dumps([{"tools": [wait]}, {"text": "done"}])
    execution = stack.execute(script, agent=agent, queue=queue)
    stack.first(execution, "tool_started")

    def reported(wanted: Any) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def look() -> bool:
            (detail,) = stack.call("GET", f"/worker-queues/{queue}/workers")
            found[:] = [detail]
            return bool(wanted(detail))

        wait_until(look, 30, "a heartbeat that says it")
        return found[0]

    task = f"agent-execution-{execution}/call_tool"  # an earlier heartbeat tells of an earlier task
    reported(lambda d: d["worker_metadata"].get("active_tasks") == 1 and d["current_task_id"] == task)
    gate.touch()
    stack.wait(execution)
    # Between two tasks there is a moment without any: a heartbeat of then tells of fewer that are completed.
    idle = reported(lambda d: d["worker_metadata"].get("active_tasks") == 0 and d["tasks_processed"] >= 3)
    assert idle["tasks_processed"] == idle["worker_metadata"]["completed_tasks"]
    assert idle["worker_metadata"]["failed_tasks"] == 0 and idle["current_task_id"] is None, worker.lines
    end(worker)


def test_a_blocked_event_loop_is_said_by_the_beats_that_go_on(
    start: Start, plane: ScriptedPlane, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    worker = start(plane.url, module="tests.support.blocking_worker", HEARTBEAT_INTERVAL="1", BLOCK=str(gate))
    worker.expect("worker.ready")
    worker.signal(signal.SIGUSR1)
    wait_until(lambda: _blocked(plane.requests(BEAT)), 60, "a beat that says it")
    worker.expect("worker.blocked")  # the watching thread must have seen the block before it ends
    gate.touch()
    worker.expect("worker.unblocked")
    wait_until(lambda: not _blocked(plane.requests(BEAT)), 60, "a beat that says that it is over")
    end(worker)


def _blocked(beats: list[Seen]) -> bool:
    """Return whether the last two heartbeats tell of a blocked loop; one alone may come from a loop that was late."""
    return len(beats) >= 2 and all(b.body["worker_metadata"]["event_loop_blocked"] for b in beats[-2:])
