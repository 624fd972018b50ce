"""`kubiya runs files` lists and downloads, and writes nowhere else than a person said."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubiya_worker.cli import run_files
from kubiya_worker.errors import UsageError
from tests.support.api import Api
from tests.support.commands import Commands


def put(plane: Api, execution: str, path: str, data: bytes) -> None:
    body = {"path": path, "content": base64.b64encode(data).decode()}
    plane.call("POST", f"/executions/{execution}/files", body)


def test_files_are_listed_and_downloaded(plane: Api, kubiya: Commands, tmp_path: Path) -> None:
    execution = plane.execute()
    assert kubiya("runs", "files", execution).err == "It has no files.\n"
    put(plane, execution, "out/chart.png", b"\x89PNG\r\n\x1a\n")
    put(plane, execution, "a\nb", bytes(range(256)))
    plane.call("POST", f"/executions/{execution}/files", {"path": "env", "size": 7, "refused": "a secret is in it"})
    listed = kubiya("runs", "files", execution[:10]).out
    assert "a secret is in it" in listed and len(listed.splitlines()) == 4, "a name with a line break is one line"
    assert [each["path"] for each in kubiya("runs", "files", execution, "-o", "json").json] == [
        *("a\nb", "env", "out/chart.png")
    ]
    told = kubiya("runs", "files", execution, "--to", str(tmp_path / "got")).err
    assert "out/chart.png  8 bytes" in told
    assert (tmp_path / "got" / "a\nb").read_bytes() == bytes(range(256))
    assert (tmp_path / "got" / "out" / "chart.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "got" / "env").exists()
    again = kubiya("runs", "files", execution, "out/chart.png", "--to", str(tmp_path / "got"), code=64).err
    assert "is there already" in again
    for path, says in (("nothing", "has no file 'nothing'"), ("env", "was not stored: a secret is in it")):
        assert says in kubiya("runs", "files", execution, path, code=64).err
    assert "Give --to DIR" in kubiya("runs", "files", execution, "a\nb", "out/chart.png", code=64).err


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a//x", "link/x", "x/", "there", "a\0"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "to"
    folder.mkdir()
    (tmp_path / "out").mkdir()
    (folder / "link").symlink_to(tmp_path / "out")
    (folder / "there").symlink_to(tmp_path / "out" / "new")
    with pytest.raises(UsageError):
        run_files._write(folder, path, iter([b"data"]))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out", "to"] and not list((tmp_path / "out").iterdir())


def test_half_a_file_is_not_left(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise OSError(5, "cut")

    with pytest.raises(UsageError):
        run_files._write(tmp_path, "a", broken())
    assert not list(tmp_path.iterdir())
