"""The file generation tools write JSON, CSV, text and PDF."""

import csv
import io
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult
from kubiya_worker.tools.files.generation import build
from kubiya_worker.tools.skill_configuration import Skill


def tools(workspace: Path, **configuration: Any) -> dict[str, Tool]:
    return {tool.spec.name: tool for tool in build(Skill("reports", "file_generation", configuration), workspace)}


async def make(workspace: Path, form: str, configuration: dict[str, Any] | None = None, **arguments: Any) -> ToolResult:
    tool = tools(workspace, **(configuration or {}))[f"generate_{form}_file"]
    return await tool.run({"file_name": "out/report", **arguments}, ToolContext("e", "c", workspace))


async def test_json_is_what_was_given(tmp_path: Path) -> None:
    data = {"größe": [1, None, "x"]}
    assert (await make(tmp_path, "json", data=data)).error is None
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == data


async def test_csv_reads_back_and_runs_no_formula(tmp_path: Path) -> None:
    rows = [["a,b", 'q"q', 1, True], ["=HYPERLINK(1)", "-5", "@x", None]]
    result = await make(tmp_path, "csv", headers=["w", "x", "y", "z"], rows=rows)
    assert result.error is None
    back = list(csv.reader(io.StringIO((tmp_path / "out" / "report.csv").read_text())))
    assert back[1:] == [["a,b", 'q"q', "1", "true"], ["'=HYPERLINK(1)", "-5", "'@x", ""]]


async def test_text_is_written_as_it_is(tmp_path: Path) -> None:
    await make(tmp_path, "txt", content="a\nß\n")
    assert (tmp_path / "out" / "report.txt").read_text() == "a\nß\n"


async def test_a_pdf_has_its_pages_its_text_and_a_table_that_points_at_its_objects(tmp_path: Path) -> None:
    content = "# Head (1)\n" + "\n".join(f"line {n} €" for n in range(150)) + "\n漢"
    result = await make(tmp_path, "pdf", content=content, title="My report")
    assert "1 characters that the font has not" in result.output
    raw = (tmp_path / "out" / "report.pdf").read_bytes()
    assert raw.startswith(b"%PDF-1.4") and raw.endswith(b"%%EOF\n") and b"/Count 3" in raw
    streams = [zlib.decompress(m) for m in re.findall(rb"stream\n(.*?)\nendstream", raw, re.DOTALL)]
    text = b"".join(streams)
    assert len(streams) == 3 and b"(Head \\(1\\)) Tj" in text and b"(line 149 \x80) Tj" in text and b"(3 / 3)" in text
    table = int(re.findall(rb"startxref\n(\d+)", raw)[0])
    places = re.findall(rb"(\d{10}) 00000 n", raw[table:])
    assert len(places) == 11
    for number, place in enumerate(places, 1):
        assert raw[int(place) :].startswith(f"{number} 0 obj".encode())


async def test_paths_sizes_and_switches_are_kept_to(tmp_path: Path) -> None:
    assert (await make(tmp_path, "txt", file_name="../x", content="a")).error
    assert not (tmp_path.parent / "x.txt").exists()
    assert "are the most" in str((await make(tmp_path, "txt", {"max_file_size": 0.001}, content="a" * 2000)).error)
    await make(tmp_path, "txt", {"output_directory": "made"}, content="a")
    assert (tmp_path / "made" / "out" / "report.txt").read_text() == "a"
    assert list(tools(tmp_path, enable_pdf_generation=False, enable_csv_generation=False)) == [
        "generate_json_file",
        "generate_txt_file",
    ]
    with pytest.raises(ConfigurationError, match="max_file_size"):
        tools(tmp_path, max_file_size=101)
