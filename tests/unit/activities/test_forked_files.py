"""A fork begins with the files that its origin had stored, and begins without them when they cannot be had."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any, cast

import pytest

from kubiya_worker.activities import forked_files
from kubiya_worker.control_plane.errors import Unreachable
from kubiya_worker.control_plane.run_file_routes import RunFileRoutes
from kubiya_worker.tools.workspace_files import CopyLimits, write_new


class StoredFiles:
    """The routes of a control plane that has these files of an execution."""

    def __init__(self, files: dict[str, bytes], error: Exception | None = None) -> None:
        self.files, self.error, self.asked = files, error, list[str]()

    def of(self, execution_id: str) -> list[dict[str, Any]]:
        if self.error:
            raise self.error
        rows = [
            {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "refused": ""}
            for path, data in self.files.items()
        ]
        return [*rows, {"path": "big", "size": 9, "sha256": "", "refused": "it is too large"}]

    def read(self, execution_id: str, path: str, most: int) -> bytes:
        self.asked.append(path)
        return self.files[path][:most]


def brought(stored: Any, workspace: Path, clock: Any = lambda: 0.0, **limits: Any) -> str:
    work = forked_files.bring(cast(RunFileRoutes, stored), "run", workspace, CopyLimits(**limits), clock)
    return asyncio.run(work)


def test_stored_files_are_written_and_what_is_there_already_stays(tmp_path: Path) -> None:
    workspace = tmp_path / "new"
    plane = StoredFiles({"report.md": b"old", "out/data.bin": bytes(range(256))})
    assert brought(plane, workspace) == ""
    assert (workspace / "out" / "data.bin").read_bytes() == bytes(range(256))
    assert workspace.stat().st_mode & 0o077 == 0 and (workspace / "report.md").stat().st_mode & 0o077 == 0
    (workspace / "report.md").write_bytes(b"newer")  # the begin is tried again after a program has run
    assert brought(plane, workspace) == "" and (workspace / "report.md").read_bytes() == b"newer"


@pytest.mark.parametrize(("limits", "names"), [({"count": 1}, ["a"]), ({"size": 2}, ["b"]), ({"total": 4}, ["a"])])
def test_no_more_is_written_than_the_worker_keeps(tmp_path: Path, limits: Any, names: list[str]) -> None:
    plane = StoredFiles({"a": b"333", "b": b"22"})
    assert "1 of the files" in brought(plane, tmp_path, **limits)
    assert [file.name for file in tmp_path.iterdir()] == plane.asked == names


def test_a_fork_begins_without_files_that_cannot_be_had_and_says_so(tmp_path: Path) -> None:
    told = brought(StoredFiles({}, Unreachable("it is away")), tmp_path)
    assert "it is away" in told and "are not in its workspace" in told
    assert "KUBIYA_RUN_FILES" in brought(StoredFiles({"a": b"1"}), tmp_path, enabled=False)
    times = iter([0.0, 1.0, 30.0])
    assert "the time was up" in brought(StoredFiles({"a": b"1", "b": b"2"}), tmp_path, lambda: next(times))
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    changed = StoredFiles({"c": b"1"})
    rows = changed.of("run")
    changed.files["c"] = b"2"
    changed.of = lambda execution_id: rows  # type: ignore[method-assign]
    assert "'c' is not what was stored" in brought(changed, tmp_path) and not (tmp_path / "c").exists()


def test_no_path_leads_out_of_the_workspace(tmp_path: Path) -> None:
    workspace, outside = tmp_path / "w", tmp_path / "outside"
    outside.mkdir()
    workspace.mkdir()
    (workspace / "link").symlink_to(outside)
    for path in ("../outside/a", "/etc/a", "a//b", "", ".", "x/../../outside/a"):
        assert write_new(workspace, path, b"x") is False, path
    with pytest.raises(OSError, match=r"link"):
        write_new(workspace, "link/a", b"x")
    assert list(outside.iterdir()) == []
