"""Files are found and read in a workspace that its own programs may have prepared against us."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubiya_worker.tools import workspace_files
from kubiya_worker.tools.workspace_files import Changed, CopyLimits, LeftFile, left_in, read


def kept(workspace: Path, **limits: object) -> dict[str, str]:
    return {file.path: file.refused for file in left_in(workspace, CopyLimits(**limits))}  # type: ignore[arg-type]


def test_files_are_found_with_their_folders_and_whatever_names_they_have(tmp_path: Path) -> None:
    for name in ("report.md", "out/chart.png", "a\nb.txt", "ü b", "-rf", "tool-results/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    for name in (".env", ".git/config", ".tmp/x", "node_modules/a.js", "__pycache__/a.pyc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("not shown")
    files = left_in(tmp_path, CopyLimits())
    assert {file.path: file.refused for file in files} == dict.fromkeys(
        ["-rf", "a\nb.txt", "out/chart.png", "report.md", "tool-results/x.txt", "ü b"], ""
    )
    assert {file.path: read(tmp_path, file).decode() for file in files} == {file.path: file.path for file in files}


def test_no_link_leads_out_of_the_workspace(tmp_path: Path) -> None:
    workspace, outside = tmp_path / "w", tmp_path / "outside"
    workspace.mkdir()
    outside.mkdir()
    (outside / "key").write_text("secret")
    (workspace / "link").symlink_to(outside / "key")
    (workspace / "folder").symlink_to(outside)
    os.link(outside / "key", workspace / "hard")
    os.mkfifo(workspace / "pipe")
    assert kept(workspace) == {"hard": workspace_files.LINKED}
    stamp = (0, 0, 6)
    for path in ("link", "folder/key", "../outside/key", "pipe", "hard"):
        with pytest.raises((OSError, Changed)):
            read(workspace, LeftFile(path, 6, stamp))


def test_a_file_that_becomes_another_one_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    file = tmp_path / "w" / "a" / "x"
    file.parent.mkdir()
    file.write_text("first")
    (found,) = left_in(tmp_path / "w", CopyLimits())
    file.unlink()
    file.write_text("other")
    with pytest.raises(Changed):
        read(tmp_path / "w", found)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").write_text("there")
    file.unlink()
    file.parent.rmdir()
    file.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        read(tmp_path / "w", found)


def test_large_files_and_many_are_named_and_not_kept(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)  # 1 TB without a block on the disk
    for number in range(5):
        (tmp_path / f"n{number}").write_bytes(b"12345")
    told = kept(tmp_path, size=100, count=3)
    assert told["huge"] == "it is larger than 100 bytes"
    assert [name for name, refused in told.items() if not refused] == ["n0", "n1", "n2"]
    assert told["n3"] == "the run has more than 3 files"
    told = kept(tmp_path, total=12)
    assert [name for name, refused in told.items() if not refused] == ["n0", "n1"]
    assert told["n2"] == "the run's files together have more than 12 bytes"
    assert set(kept(tmp_path, patterns=("n*", "*.md"))) == {"n0", "n1", "n2", "n3", "n4"}


def test_what_is_named_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        (tmp_path / f"{number:03}").write_text("x")
    told = kept(tmp_path, count=10)
    assert len(told) == 10 + workspace_files.NAMED
    monkeypatch.setattr(workspace_files, "LOOKED_AT", 20)
    assert len(kept(tmp_path)) == 20


def test_a_name_that_is_no_text_is_told_and_not_sent(tmp_path: Path) -> None:
    try:
        os.close(os.open(os.fsencode(tmp_path) + b"/\xff.txt", os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError:
        pytest.skip("this file system takes no such name")
    assert kept(tmp_path) == {"\ufffd.txt": workspace_files.NO_TEXT}
