"""`kubiya dev` follows a log through its rotation."""

from __future__ import annotations

from pathlib import Path

from kubiya_worker.launch.stack import added_lines


def test_lines_come_once_and_whole_through_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    assert added_lines(path, 0) == ([], 0)
    path.write_bytes(b"one\ntwo\nthr")
    lines, at = added_lines(path, 4)
    assert (lines, at) == (["two"], 8)
    with path.open("ab") as file:
        file.write(b"ee\nfour\n")
    path.rename(tmp_path / "x.log.1")
    path.write_bytes(b"5\n6")
    lines, at = added_lines(path, at)
    assert (lines, at) == (["three", "four", "5"], 2)
    path.write_bytes(b"5\n6\n")
    assert added_lines(path, at) == (["6"], 4)
