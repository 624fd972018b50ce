"""The file tools on a real file system."""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.tools.base import ToolContext, ToolResult
from kubiya_worker.tools.files import skill as files
from kubiya_worker.tools.toolset import build_toolset


def call(
    workspace: Path, name: str, arguments: dict[str, Any], limit: int = 50_000, **configuration: Any
) -> ToolResult:
    tools = build_toolset(
        [{"name": "files", "type": "file_system", "configuration": configuration}], workspace=workspace
    )
    tool = tools.get(name)
    assert tool is not None
    return asyncio.run(tool.run(arguments, ToolContext("e1", "t1", workspace, output_limit=limit)))


def test_what_is_saved_is_read_listed_and_found(tmp_path: Path) -> None:
    workspace = tmp_path / "made when needed"
    saved = call(workspace, "save_file", {"path": "notes/a.txt", "content": "one\nTwo words\nthree\n"})
    assert (saved.output, saved.error) == ("Saved 20 bytes to notes/a.txt.", None)
    assert call(workspace, "read_file", {"path": "notes/a.txt"}).output == "one\nTwo words\nthree\n"
    assert call(workspace, "search_files", {"text": "two W"}).output == "notes/a.txt:2: Two words"
    assert call(workspace, "search_files", {"pattern": "*.txt"}).output == "notes/a.txt"
    assert call(workspace, "search_files", {"pattern": "notes/*", "text": "four"}).output == "[nothing found]"
    listed = call(workspace, "list_files", {"recursive": True}).output.splitlines()
    assert [line.split()[0] + line.split()[-1] for line in listed] == ["dnotes/", "-notes/a.txt"]


def test_a_file_is_read_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("".join(f"{number}\n" for number in range(1, 101)))
    result = call(tmp_path, "read_file", {"path": "a", "offset": 10, "limit": 3})
    assert result.output == "10\n11\n12\n[more lines follow; read on with offset=13]\n"
    assert call(tmp_path, "read_file", {"path": "a", "offset": 99, "limit": 3}).output == "99\n100\n"
    assert "has only" in call(tmp_path, "read_file", {"path": "a", "offset": 500}).output


def test_one_endless_line_does_not_fill_memory(tmp_path: Path) -> None:
    with (tmp_path / "a").open("w") as file:
        file.write("x" * 50_000_000)
    result = call(tmp_path, "read_file", {"path": "a"}, limit=1000)
    assert len(result.output) < 1100 and "49999000 characters left out" in result.output


def test_binary_files_and_what_is_no_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x7fELF\0\0")
    os.mkfifo(tmp_path / "pipe")
    assert "binary file of 6 bytes" in str(call(tmp_path, "read_file", {"path": "a"}).error)
    assert "is a FIFO" in str(call(tmp_path, "read_file", {"path": "pipe"}).error)
    assert "is a folder" in str(call(tmp_path, "read_file", {"path": "."}).error)
    assert "does not exist" in str(call(tmp_path, "read_file", {"path": "b"}).error)
    assert call(tmp_path, "search_files", {"text": "elf"}).output == "[nothing found]"


def test_links_are_listed_but_not_walked(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (workspace / "up").symlink_to(tmp_path)
    (workspace / "file").symlink_to(tmp_path / "secret.txt")
    assert "secret.txt" not in call(workspace, "list_files", {"recursive": True}).output
    assert call(workspace, "search_files", {"text": "secret"}).output == "[nothing found]"
    assert "leads out" in str(call(workspace, "list_files", {"path": "up"}).error)


def test_the_configuration_is_honoured(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.md").write_text("text")
    (tmp_path / "data" / "a.key").write_text("text")
    only: dict[str, Any] = {
        "base_dir": str(tmp_path / "data"),
        "allowed_extensions": ["md", ".TXT"],
        "max_file_size": 10,
    }
    assert call(tmp_path, "read_file", {"path": "a.md"}, **only).output == "text"
    assert "only files with" in str(call(tmp_path, "read_file", {"path": "a.key"}, **only).error)
    assert call(tmp_path, "search_files", {"text": "text"}, **only).output == "a.md:1: text"
    assert call(tmp_path, "save_file", {"path": "b.txt", "content": "1234567890"}, **only).error is None
    assert "at most" not in call(tmp_path, "read_file", {"path": "b.txt"}, **only).output
    for arguments in ({"path": "c.txt", "content": "12345678901"}, {"path": "c.sh", "content": ""}):
        assert call(tmp_path, "save_file", arguments, **only).error
    (tmp_path / "data" / "big.md").write_text("x" * 11)
    assert "10 are the most" in str(call(tmp_path, "read_file", {"path": "big.md"}, **only).error)
    assert sorted(entry.name for entry in (tmp_path / "data").iterdir()) == ["a.key", "a.md", "b.txt", "big.md"]


def test_an_existing_file_is_kept_when_it_is_not_to_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    result = call(tmp_path, "save_file", {"path": "a", "content": "new", "overwrite": False})
    assert "exists already" in str(result.error) and (tmp_path / "a").read_text() == "old"


def test_a_long_listing_is_cut_and_says_so(tmp_path: Path) -> None:
    for number in range(files.MAX_ENTRIES + 5):
        (tmp_path / f"{number:05}").touch()
    lines = call(tmp_path, "list_files", {}).output.splitlines()
    assert len(lines) == files.MAX_ENTRIES + 1 and "more than" in lines[-1]


def test_odd_names_stay_on_their_line(tmp_path: Path) -> None:
    (tmp_path / "a\nb").touch()
    (tmp_path / "ü").touch()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).touch()
    output = call(tmp_path, "list_files", {}).output
    assert len(output.splitlines()) == 3 and "a\\nb" in output and "ü" in output
    output.encode()


async def test_a_cancelled_search_has_stopped_when_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "a").open("w") as file:
        file.writelines("line\n" for _ in range(2_000_000))
    tool = build_toolset([{"name": "files", "type": "file"}], workspace=tmp_path).get("search_files")
    assert tool is not None
    begun, ended = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    original = files.SearchFiles.work

    def watched(self: files.SearchFiles, *arguments: Any) -> ToolResult:
        loop.call_soon_threadsafe(begun.set)
        try:
            return original(self, *arguments)
        finally:
            ended.set()

    monkeypatch.setattr(files.SearchFiles, "work", watched)
    task = asyncio.create_task(tool.run({"text": "nowhere"}, ToolContext("e1", "t1", tmp_path)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_sleep_waits_and_can_be_cancelled(tmp_path: Path) -> None:
    tool = build_toolset([{"name": "sleep", "type": "sleep"}], workspace=tmp_path).get("sleep")
    assert tool is not None
    context = ToolContext("e1", "t1", tmp_path)
    assert (await tool.run({"seconds": 0.01}, context)).output == "Waited 0.01 seconds."
    task = asyncio.create_task(tool.run({"seconds": 3600}, context))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
