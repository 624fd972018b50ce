"""The chaos run reads logs, and knows which processes are not its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scripts.chaos import slow, watch

TIME = "2026-11-26T09:10:53.699677Z"


def numbered(number: int, pid: int = 7) -> str:
    return f"{TIME} info chaos.line pid={pid} n={number} {'x' * 40} end"


def test_numbers_and_losses_are_read_across_rotations(tmp_path: Path) -> None:
    (tmp_path / "worker.log.2").write_text(numbered(1) + "\n")
    (tmp_path / "worker.log.10").write_text(f"{TIME} info supervisor.started name=worker pid=3\n")
    (tmp_path / "worker.log.1").write_text(f"{TIME} warning supervisor.log_lost bytes=525 lines=5 reason=ENOSPC\n")
    (tmp_path / "worker.log").write_text(numbered(7) + "\nkubiya worker: its supervisor is gone; stopping\n")
    files = watch.log_files(tmp_path)
    assert [path.name for path in files] == ["worker.log.10", "worker.log.2", "worker.log.1", "worker.log"]
    log = watch.read_log(files)
    assert (log.numbers, log.told, log.torn, log.looked) == ({7: [1, 7]}, 5, [], 5)


@pytest.mark.parametrize(
    "line",
    [
        numbered(3)[:-10],
        numbered(3)[20:],
        numbered(3) + numbered(4),
        f"{TIME} info worker.ready queue=q {numbered(3)}",
        "",
        "info worker.ready",
    ],
)
def test_a_torn_line_is_seen(tmp_path: Path, line: str) -> None:
    (tmp_path / "worker.log").write_text(f"{numbered(1)}\n{line}\n")
    assert watch.read_log([tmp_path / "worker.log"]).torn == [line]


def test_a_file_that_ends_within_a_line_is_torn(tmp_path: Path) -> None:
    (tmp_path / "worker.log").write_text(numbered(1))
    assert watch.read_log([tmp_path / "worker.log"]).torn


def test_files_that_do_not_agree_are_named(tmp_path: Path) -> None:
    assert "no daemon_info.txt" in watch.disagreement(tmp_path)
    (tmp_path / "daemon_info.txt").write_text("Supervisor PID 1")
    assert "state.json" in watch.disagreement(tmp_path)
    state = f'{{"state": "running", "supervisor": {{"pid": {os.getppid()}}}, "child": {{"pid": {os.getpid()}}}}}'
    (tmp_path / "state.json").write_text(state)
    assert "worker.pid says None" in watch.disagreement(tmp_path)
    (tmp_path / "worker.pid").write_text(f'{{"pid": {os.getppid()}}}')
    assert "does not name" in watch.disagreement(tmp_path)
    (tmp_path / "daemon_info.txt").write_text(f"{os.getppid()} {os.getpid()}")
    assert watch.disagreement(tmp_path) == ""
    (tmp_path / "state.json.1.draft").touch()
    assert "drafts" in watch.disagreement(tmp_path)


def test_the_longest_gaps_of_a_history_are_told() -> None:
    events = [(0.0, "A"), (1.0, "B"), (13.0, "C"), (17.0, "D"), (18.0, "E")]
    assert slow.told(events) == ["12.0 s from B to C", "4.0 s from C to D"]
