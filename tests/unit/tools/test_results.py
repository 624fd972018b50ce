"""Results made fit for a conversation: clean, bounded, the rest in a file of the workspace."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.tools import results
from kubiya_worker.tools.base import ToolFile, ToolResult


async def test_a_short_text_stays_as_it_is(tmp_path: Path) -> None:
    assert await results.fitted("short", 50, tmp_path, "c") == ("short", None)
    assert not list(tmp_path.iterdir())


async def test_a_long_text_goes_to_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    text = "a" * 100 + "é" * 100 + "z" * 100
    shown, path = await results.fitted(text, 40, tmp_path, "call/../1")
    assert path is not None and shown.startswith("a" * 20 + "\n") and shown.endswith("\n" + "z" * 20)
    assert f"260 characters left out; the whole output, 300 characters, is in the file {path}" in shown
    file = tmp_path / path
    assert file.parent == tmp_path / "tool-results" and file.read_text() == text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700


async def test_a_link_in_the_folders_place_is_not_followed(tmp_path: Path) -> None:
    elsewhere, workspace = tmp_path / "elsewhere", tmp_path / "work"
    elsewhere.mkdir()
    workspace.mkdir()
    (workspace / "tool-results").symlink_to(elsewhere)
    shown, path = await results.fitted("x" * 100, 10, workspace, "c")
    assert path is None and "could not be kept" in shown and not list(elsewhere.iterdir())


async def test_files_are_kept_and_named_and_read_back(tmp_path: Path) -> None:
    files = (ToolFile(b"\x89PNG", "image/png"), ToolFile(b"RIFF", "audio/wav", "voice"))
    lines, found = await results.stored(files, tmp_path, "c1")
    assert "image image/png, 4 bytes" in lines[0] and "audio audio/wav voice, 4 bytes" in lines[1]
    assert found[0]["path"].endswith(".png")
    assert results.read(tmp_path, found[0]["path"], 10) == b"\x89PNG"
    assert results.read(tmp_path, found[0]["path"], 3) is None
    (tmp_path / found[0]["path"]).unlink()
    (tmp_path / found[0]["path"]).symlink_to("/etc/passwd")
    for path in (found[0]["path"], "tool-results/../x", "/etc/passwd", "tool-results/", "tool-results/.."):
        assert results.read(tmp_path, path, 10_000) is None


def test_the_oldest_files_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "KEPT_FILES", 3)
    paths = [results.keep(tmp_path, f"c{n}", "txt", b"x") for n in range(3)]
    for n, path in enumerate(paths):
        os.utime(tmp_path / path, (n, n))
    results.keep(tmp_path, "c4", "txt", b"x")
    assert not (tmp_path / paths[0]).exists() and len(list((tmp_path / "tool-results").iterdir())) == 3


@pytest.mark.parametrize(
    ("raw", "output"),
    [
        (None, "null"),
        ({"a": 1}, '{"a": 1}'),
        (b"caf\xe9", "caf\N{REPLACEMENT CHARACTER}"),
        (ToolResult("half \ud800 \0"), "half \N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}"),
        (ToolResult(5), "5"),  # type: ignore[arg-type]
    ],
)
def test_whatever_a_tool_returns_is_text_that_can_be_sent(raw: Any, output: str) -> None:
    assert results.cleaned(raw).output == output


def test_metadata_and_errors_are_bounded_and_can_be_sent() -> None:
    result = results.cleaned(ToolResult("x", error="e" * 10_000, metadata={"p": Path("/x"), "s": "\ud800"}))
    assert len(result.error or "") == results.ERROR
    assert result.metadata == {"p": "/x", "s": "\N{REPLACEMENT CHARACTER}"}
    assert results.cleaned(ToolResult("x", metadata={"a": "x" * 100_000})).metadata == {}
    assert results.cleaned(ToolResult("x", error="")).error is None
