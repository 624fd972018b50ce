"""The quick checks of a start print a line only for what is wrong, and take no time."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.doctor import quick_checks
from kubiya_worker.settings import Settings


def test_a_host_that_is_well_says_nothing(tmp_path: Path) -> None:
    assert list(quick_checks.faults(tmp_path / "not" / "there" / "yet", {})) == []


@pytest.mark.parametrize(
    ("free", "says"), [(50 * 2**20, "disk: 0.0 GiB free at"), (512 * 2**20, "disk: 0.5 GiB free at")]
)
def test_a_disk_that_is_full_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, says: str) -> None:
    usage: Any = shutil_usage(free)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    (line,) = quick_checks.faults(tmp_path, {})
    assert line.startswith(f"{says} {tmp_path}. ")


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_runs(tmp_path: Path) -> None:
    """`/proc`, in which not even root makes anything, stands for a read-only or full file system."""
    places = Settings(
        queue_id="q", api_key="k", alive_file=str(tmp_path / "alive"), workspace="/proc/x"
    ).written_folders(here=False)
    (line,) = quick_checks.faults(tmp_path, places)
    assert line.startswith("folders: nothing can be written to /proc: ") and "Set KUBIYA_WORKSPACE" in line
    places = Settings(queue_id="q", api_key="k", alive_file=str(tmp_path / "no" / "alive")).written_folders(here=False)
    (line,) = quick_checks.faults(tmp_path, places)
    assert line == (
        f"folders: {tmp_path}/no is not a folder. mkdir -p {tmp_path}/no, or set KUBIYA_ALIVE_FILE to another place"
    )


def test_what_is_not_set_counts_where_the_worker_will_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(queue_id="q", api_key="k")
    assert settings.written_folders(here=True)["KUBIYA_WORKSPACE"] == tmp_path / ".kubiya" / "workspaces"
    assert set(settings.written_folders(here=False)) == {"KUBIYA_ALIVE_FILE", "KUBIYA_READY_FILE"}
    assert "KUBIYA_SPOOL" not in Settings(queue_id="q", api_key="k", spool_max_bytes=0).written_folders(here=True)
    assert list(quick_checks.faults(tmp_path, settings.written_folders(here=True))) == []


def shutil_usage(free: int) -> object:
    return type("usage", (), {"free": free})()


def test_few_open_files_are_told(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        (line,) = quick_checks.faults(tmp_path, {})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert line.startswith("limits: 256 open files allowed. ulimit -n ")


def test_it_imports_nothing_that_a_start_would_have_to_wait_for() -> None:
    heavy = ("temporalio", "requests", "psutil", "structlog", "pydantic_ai", "kubiya_worker.control_plane.client")
    code = f"import sys, kubiya_worker.cli.worker_start; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
