"""The file tools that change files, on a real file system."""

import asyncio
import resource
import sys
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.tools.base import Tool, ToolContext, ToolResult
from kubiya_worker.tools.policy import rules
from kubiya_worker.tools.toolset import build_toolset


def tool_of(workspace: Path, name: str, **configuration: Any) -> Tool:
    skill = {"name": "files", "type": "file_system", "configuration": configuration}
    tool = build_toolset([skill], workspace=workspace).get(name)
    assert tool is not None
    return tool


def call(workspace: Path, name: str, configuration: dict[str, Any] | None = None, **arguments: Any) -> ToolResult:
    tool = tool_of(workspace, name, **(configuration or {}))
    return asyncio.run(tool.run(arguments, ToolContext("e1", "t1", workspace)))


def test_a_text_is_replaced_where_it_stands_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\ntwo\nthree\ntwo\n")
    result = call(tmp_path, "replace_in_file", path="a", old="one\ntwo", new="1\n2")
    assert result.output == "Replaced in 1 place of a."
    assert (tmp_path / "a").read_text() == "1\n2\nthree\ntwo\n"
    assert "-one\n-two\n+1\n+2\n" in result.metadata["diff"]


def test_a_text_that_stands_there_twice_is_replaced_only_when_all_are_meant(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x = 1\nx = 1\n")
    assert "holds the text 2 times" in str(call(tmp_path, "replace_in_file", path="a", old="x = 1", new="y").error)
    assert "Replaced in 2 places" in call(tmp_path, "replace_in_file", path="a", old="x = 1", new="y", all=True).output
    assert (tmp_path / "a").read_text() == "y\ny\n"
    assert "does not hold the text" in str(call(tmp_path, "replace_in_file", path="a", old="x", new="y").error)


def test_line_ends_of_windows_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\r\ntwo\r\n")
    assert call(tmp_path, "replace_in_file", path="a", old="one\ntwo", new="1\n2").error is None
    assert (tmp_path / "a").read_bytes() == b"1\r\n2\r\n"


def test_text_is_appended_and_inserted(tmp_path: Path) -> None:
    assert "which had 0" in call(tmp_path, "append_to_file", path="new/log", content="first").output
    assert call(tmp_path, "insert_in_file", path="new/log", line=1, content="second").error is None
    assert call(tmp_path, "insert_in_file", path="new/log", line=0, content="zeroth\n").error is None
    result = call(tmp_path, "append_to_file", path="new/log", content="last\n")
    assert (tmp_path / "new" / "log").read_text() == "zeroth\nfirst\nsecond\nlast\n"
    assert "+last\n" in result.metadata["diff"]
    assert "fewer than 9 lines" in str(call(tmp_path, "insert_in_file", path="new/log", line=9, content="x").error)


def test_files_are_moved_and_deleted(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    assert "exists already" in str(call(tmp_path, "move_file", path="a", target="b").error)
    assert call(tmp_path, "move_file", path="a", target="deep/er/c").output == "Moved a to deep/er/c."
    assert call(tmp_path, "move_file", path="b", target="deep/er/c", overwrite=True).error is None
    assert (tmp_path / "deep" / "er" / "c").read_text() == "b"
    assert call(tmp_path, "delete_file", path="deep/er/c").output == "Deleted deep/er/c (1 bytes)."
    assert call(tmp_path, "delete_file", path="deep/er").error is None
    assert "does not exist" in str(call(tmp_path, "delete_file", path="deep/er").error)


def test_a_link_is_deleted_and_moved_itself_and_never_leads_out(tmp_path: Path) -> None:
    workspace, outside = tmp_path / "ws", tmp_path / "outside"
    workspace.mkdir()
    outside.write_text("keep")
    (workspace / "link").symlink_to(outside)
    assert "link" in str(call(workspace, "replace_in_file", path="link", old="keep", new="x").error)
    assert "link" in str(call(workspace, "append_to_file", path="link", content="x").error)
    assert call(workspace, "move_file", path="link", target="other").error is None
    assert call(workspace, "delete_file", path="other").error is None
    assert outside.read_text() == "keep" and list(workspace.iterdir()) == []
    for path in ("../outside", str(outside), ".git/config"):
        assert call(workspace, "delete_file", path=path).error
        assert call(workspace, "append_to_file", path=path, content="x").error
        assert call(workspace, "move_file", path=path, target="x").error
    assert outside.read_text() == "keep"


def test_the_limits_of_the_configuration_hold(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("12345")
    small = {"max_file_size": 6, "allowed_extensions": ["txt"]}
    assert "6 are the most" in str(call(tmp_path, "replace_in_file", small, path="a.txt", old="5", new="6789").error)
    assert "only files with .txt" in str(call(tmp_path, "append_to_file", small, path="a.sh", content="x").error)
    assert "only files with .txt" in str(call(tmp_path, "move_file", small, path="a.txt", target="a.sh").error)
    read_only = {spec.name for spec in _specs(tmp_path, read_only=True)}
    assert read_only == {"list_files", "read_file", "search_files"}
    assert "delete_file" not in {spec.name for spec in _specs(tmp_path, enable_delete_file=False)}


def _specs(workspace: Path, **configuration: Any) -> list[Any]:
    skill = {"name": "files", "type": "file_system", "configuration": configuration}
    return build_toolset([skill], workspace=workspace).specs


def test_a_person_decides_a_deletion_unless_a_rule_allows_it(tmp_path: Path) -> None:
    allow = {"id": "r1", "scope_type": "tool", "scope_value": "delete_file", "action": "allow"}
    spec = tool_of(tmp_path, "delete_file").spec
    assert rules.decide(spec, {"path": "a"}, []).kind == "ask"
    assert rules.decide(spec, {"path": "a"}, [allow]).kind == "allow"
    assert rules.decide(tool_of(tmp_path, "delete_file", approve_delete=False).spec, {"path": "a"}, []).kind == "allow"


@pytest.mark.parametrize("name", ["replace_in_file", "append_to_file", "insert_in_file", "move_file", "delete_file"])
def test_a_rule_for_saving_holds_for_every_change_and_an_allowance_only_for_saving(name: str, tmp_path: Path) -> None:
    spec = tool_of(tmp_path, name, approve_delete=False).spec
    deny = {"id": "r1", "scope_type": "tool", "scope_value": "save_file", "action": "deny"}
    everything = {"id": "r2", "scope_type": "all", "action": "ask", "priority": -1}
    assert rules.decide(spec, {"path": "a"}, [deny]).kind == "deny"
    assert rules.decide(spec, {"path": "a"}, [{**deny, "action": "allow"}, everything]).kind == "ask"


def test_edits_of_one_file_at_the_same_time_are_all_made(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("".join(f"<{number}>\n" for number in range(20)))
    tool = tool_of(tmp_path, "replace_in_file")

    async def all_at_once() -> list[ToolResult]:
        calls = ({"path": "a", "old": f"<{number}>", "new": f"[{number}]"} for number in range(20))
        return await asyncio.gather(*(tool.run(each, ToolContext("e1", "t1", tmp_path)) for each in calls))

    assert [result.error for result in asyncio.run(all_at_once())] == [None] * 20
    assert (tmp_path / "a").read_text() == "".join(f"[{number}]\n" for number in range(20))


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is in kilobytes here")
def test_a_file_larger_than_memory_allows_is_read_from_its_end_and_edited(tmp_path: Path) -> None:
    path = tmp_path / "big"
    with path.open("wb") as file:
        for number in range(300):
            file.write(b"x" * ((1 << 20) - 8) + b"%07d\n" % number)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tail = call(tmp_path, "read_file", path="big", tail=1).output
    assert tail.endswith("0000299\n")
    assert call(tmp_path, "replace_in_file", path="big", old="0000150\n", new="found\n").error is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000
    with path.open("rb") as file:
        file.seek(151 * (1 << 20) - 8)
        assert file.read(6) == b"found\n"
    assert path.stat().st_size == 300 * (1 << 20) - 2


def test_the_last_lines_are_the_last_lines(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("".join(f"{number}\n" for number in range(1, 20_001)))
    assert call(tmp_path, "read_file", path="a", tail=3).output == "19998\n19999\n20000\n"
    (tmp_path / "b").write_text("one\ntwo")
    assert call(tmp_path, "read_file", path="b", tail=1).output == "two"
    assert call(tmp_path, "read_file", path="b", tail=5).output == "one\ntwo"
    assert "left out" in call(tmp_path, "read_file", path="a", tail=20_000).output
    assert "either" in str(call(tmp_path, "read_file", path="a", tail=1, offset=3).error)


def test_a_saved_file_shows_what_changed(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old\nsame\n")
    diff = call(tmp_path, "save_file", path="a", content="new\nsame\n").metadata["diff"]
    assert "-old\n+new\n same\n" in diff


def test_a_search_says_that_it_takes_no_patterns(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("error 42\n")
    assert "not a regular expression" in call(tmp_path, "search_files", text="error.*42").output
    assert "regular expression" in str(tool_of(tmp_path, "search_files").spec.parameters)
