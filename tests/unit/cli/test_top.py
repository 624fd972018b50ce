"""The display of `kubiya worker top` fits into a terminal of any size."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.cli.terminal import Paint
from kubiya_worker.cli.top_view import ApprovalCount, ContainerLook, count, frame, moment, plain_lines, short
from kubiya_worker.launch.containers import FoundContainer
from kubiya_worker.launch.exposition import samples
from kubiya_worker.launch.home import Home
from kubiya_worker.launch.live import Look
from kubiya_worker.launch.report import WorkerReport

NOW = 1_800_000_000.0
PAGE = """# HELP kubiya_worker_model_tokens_total Tokens
kubiya_worker_model_tokens_total{model="a\\"b",kind="input"} 1.5e+06
kubiya_worker_model_tokens_total{model="a",kind="output"} 234000
kubiya_worker_model_cost_usd_total{model="a"} 1.25
kubiya_worker_event_lag_seconds 0.012
kubiya_worker_events_held_total 3
kubiya_worker_event_loop_lag_seconds 0.0004
temporal_num_pollers{poller_type="workflow_task"} 5
temporal_num_pollers{poller_type="activity_task"} 5
not a sample
"""


def _look(queue: str = "default", **changes: Any) -> Look:
    child = {"pid": 7, "started_at": "2027-01-15T06:00:00Z"}
    state = {"state": "running", "child": child, "restarts": {"crash": 2, "asked": 1}, "deaths": []}
    status = {"pid": 7, "active_tasks": 2, "slots": 10, "completed_tasks": 12, "failed_tasks": 1, "polling": True}
    report = WorkerReport(Home(Path("/x") / queue), True, 6, "", {"pid": 6}, state, {**status, **changes})
    return Look(report, 3.14159, 96 << 20, samples(PAGE))


def _cells(line: str) -> list[str]:
    return line.replace(" MiB", "MiB").replace(" ms", "ms").replace(" +", "+").split()


def test_a_row_says_all_of_it() -> None:
    head, titles, row = plain_lines([_look()], ApprovalCount(4), NOW, Paint())
    assert head == "1 of 1 workers running, 2 steps active  approvals waiting: 4"
    assert _cells(row) == [
        *(
            "default",
            "RUNNING",
            "2h00m",
            "3",
            "3.1",
            "96.0MiB",
            "2/10",
            "12",
            "1",
            "1.7M",
            "$1.25",
            "12ms+3",
            "0ms",
            "10",
        ),
    ]
    assert len(_cells(titles.replace("CPU %", "CPU").replace(" LAG", "-LAG"))) == len(_cells(row))


@pytest.mark.parametrize(
    ("said", "wanted"), [({"polling": False}, "no"), ({"polling": False, "blocked": True}, "blocked")]
)
def test_a_worker_that_does_not_poll_is_told(said: dict[str, Any], wanted: str) -> None:
    assert plain_lines([_look(**said)], ApprovalCount(), NOW, Paint())[2].endswith(wanted)


@pytest.mark.parametrize("width", [1, 2, 10, 24, 40, 79, 80, 132, 300])
@pytest.mark.parametrize("height", [1, 2, 3, 5, 24])
@pytest.mark.parametrize("colour", [True, False])
def test_it_never_leaves_the_terminal(width: int, height: int, colour: bool) -> None:
    looks = [_look(f"queue-{n}-日本", current_task="agent-execution-1/call_tool") for n in range(9)]
    lines = frame(looks, ApprovalCount(None, "no key"), "host", NOW, Paint(colour), width, height)
    assert len(lines) <= height
    bare = [frame_line for frame_line in lines if "\x1b" not in frame_line]
    assert all(len(line) <= width for line in bare)
    if not colour:
        assert len(bare) == len(lines)
    if height == 5:
        assert any("more" in line or width < 10 for line in lines)


def test_what_workers_say_is_shown_and_not_obeyed() -> None:
    lines = frame([_look(current_task="\x1b[2Jx\ny")], ApprovalCount(0), "h", NOW, Paint(), 100, 24)
    assert any(line.endswith("at x y") for line in lines) and not any("\x1b" in line for line in lines)


def test_figures_are_short() -> None:
    assert [count(n) for n in (0, 999, 9999, 12_345, 1_234_567, 2.5e9)] == ["0", "999", "9999", "12k", "1.2M", "2.5G"]
    assert [short(s) for s in (0, 59, 61, 3_700, 90_000)] == ["0s", "59s", "1m01s", "1h01m", "1d01h"]
    assert [moment(s) for s in (None, 0.0123, 2.34, 75)] == ["", "12 ms", "2.3 s", "1m15s"]


def test_a_container_has_a_row_with_what_is_known_of_it() -> None:
    found = FoundContainer(
        queue="boxed",
        name="kubiya-worker-boxed",
        id="c1",
        image="agent-worker:1",
        status="running",
        started_at="2026-11-26T10:00:00Z",
        ended_at="",
        exit_code=None,
        out_of_memory=False,
        restarts=2,
        health="",
        polling=True,
        grace=30.0,
        worker_status={
            "active_tasks": 3,
            "slots": 10,
            "completed_tasks": 7,
            "failed_tasks": 1,
            "current_task": "step e1",
        },
    )
    now = datetime(2026, 11, 26, 10, 2, 5, tzinfo=UTC).timestamp()
    shown = plain_lines([ContainerLook(found, 12.34, 50 << 20)], ApprovalCount(0), now, Paint(False))
    assert shown[0].startswith("1 of 1 workers running, 3 steps active")
    assert " ".join(shown[2].split()) == "boxed (docker) RUNNING 2m05s 2 12.3 50.0 MiB 3/10 7 1 - - - - yes"
    framed = frame([ContainerLook(found)], ApprovalCount(0), "h", now, Paint(False), 100, 20)
    assert any("container kubiya-worker-boxed of agent-worker:1" in line for line in framed)
    ended = replace(found, status="exited", exit_code=137, out_of_memory=True, polling=None, worker_status={})
    framed = frame([ContainerLook(ended)], ApprovalCount(0), "h", now, Paint(False), 100, 20)
    assert any("ended with exit code 137, out of memory" in line for line in framed)
