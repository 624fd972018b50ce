"""A file that cannot be written (a full disk, a folder in its place) leaves no draft beside it."""

from __future__ import annotations

from pathlib import Path

from kubiya_worker.process.health import ProbeFile
from kubiya_worker.process.worker_state import StatusFile


def test_a_probe_file_that_cannot_be_written_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "alive").mkdir()
    ProbeFile(str(tmp_path / "alive"), "w1").write()
    assert [path.name for path in tmp_path.iterdir()] == ["alive"]


def test_a_status_file_that_cannot_be_written_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "status.json").mkdir()
    status = StatusFile(str(tmp_path / "status.json"), lambda: {"state": "polling"})
    status._write({"state": "polling"})
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]
