"""Some heartbeats are full and the rest are short; these tests pass in the clock."""

from __future__ import annotations

from typing import Any

from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.errors import Unreachable
from kubiya_worker.process.counters import ActivityCounters
from kubiya_worker.process.heartbeat import FULL_EVERY, BeatSchedule, Heartbeat, HeartbeatReport


def test_the_first_is_full_and_one_each_300_seconds() -> None:
    schedule = BeatSchedule()
    assert [schedule.is_full(t) for t in (10.0, 40.0, 309.9, 310.0, 311.0, 2000.0)] == [
        True,
        False,
        False,
        True,
        False,
        True,
    ]
    assert FULL_EVERY == 300


class Plane(ControlPlane):
    def __init__(self) -> None:
        self.beats: list[dict[str, Any]] = []
        self.away = False

    def heartbeat(self, worker_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        if self.away:
            raise Unreachable("away")
        self.beats.append(payload)
        return {"wish": None}


def test_beats_carry_counts_health_and_in_full_ones_system_and_logs() -> None:
    plane, counters, now = Plane(), ActivityCounters(), [0.0]
    report = HeartbeatReport(counters, "h", health=lambda: {"polling": True}, logs=lambda: ["a line"])
    heartbeat = Heartbeat(plane, "w1", report, interval=30, clock=lambda: now[0])
    counters.begin(b"1", "wf/call_tool")
    counters.begin(b"2", "wf/call_model")
    heartbeat.beat()
    counters.end(b"1", failed=False)
    counters.end(b"2", failed=True)
    now[0] = 30.0
    heartbeat.beat()
    plane.away = True
    now[0] = 60.0
    heartbeat.beat()
    plane.away = False
    now[0] = 300.0
    heartbeat.beat()
    first, second, third = plane.beats
    assert first["worker_metadata"].items() >= {"active_tasks": 2, "completed_tasks": 0, "polling": True}.items()
    assert first["current_task_id"] == "wf/call_tool" and first["logs"] == ["a line"]
    assert second["worker_metadata"].items() >= {"active_tasks": 0, "completed_tasks": 1, "failed_tasks": 1}.items()
    assert second["current_task_id"] is None and "system_info" not in second
    assert third["system_info"]["hostname"] == "h"
