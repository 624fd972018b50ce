"""Skill `file_generation`: files of a known form (JSON, CSV, text, PDF) from the model's data, below one folder."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult, refusal
from kubiya_worker.tools.files import pdf
from kubiya_worker.tools.files.confinement import Folder, PathRefused
from kubiya_worker.tools.skill_configuration import Skill

TYPES: Final = ("file_generation",)
KEYS: Final = {
    "enable_json_generation": "Whether there is generate_json_file (true)",
    "enable_csv_generation": "Whether there is generate_csv_file (true)",
    "enable_pdf_generation": "Whether there is generate_pdf_file (true)",
    "enable_txt_generation": "Whether there is generate_txt_file (true)",
    "output_directory": "The folder of the files, which paths cannot leave (the workspace)",
    "max_file_size": "Megabytes of one file, up to 100 (10)",
}
TIMEOUT: Final = 60.0  # seconds

Make = Callable[[dict[str, Any]], tuple[bytes, str]]  # arguments -> content, and a remark for the model

_TEXT: Final = {"type": "string"}
_CELL: Final = {"type": ["string", "number", "boolean", "null"]}


def build(skill: Skill, workspace: Path) -> list[Tool]:
    base = Path(skill.text("output_directory") or workspace).expanduser()
    folder = Folder(base if base.is_absolute() else workspace / base)
    limit = int(skill.number("max_file_size", 10, 0.001, 100) * (1 << 20))
    return [Generate(folder, limit, kind) for kind in _FORMS if skill.flag(f"enable_{kind}_generation", True)]


class Generate:
    """The tool `generate_<form>_file`, with the arguments `{file_name, …}`."""

    def __init__(self, folder: Folder, limit: int, form: str) -> None:
        self._make, what, properties, needed = _FORMS[form]
        self._folder, self._limit, self._form = folder, limit, form
        self.spec = ToolSpec(
            name=f"generate_{form}_file",
            description=f"Write {what}. The file is created with its folders, or replaced.",
            parameters={
                "type": "object",
                "properties": {
                    "file_name": {"type": "string", "minLength": 1, "description": f"Relative path; ends in .{form}"},
                    **properties,
                },
                "required": ["file_name", *needed],
                "additionalProperties": False,
            },
            idempotent=True,
            risk="medium",
            category="file_operation",
            timeout=TIMEOUT,
            effects=("write",),
        )

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        return await asyncio.to_thread(self._write, arguments)

    def _write(self, arguments: dict[str, Any]) -> ToolResult:
        name = str(arguments["file_name"])
        name = name if name.lower().endswith(f".{self._form}") else f"{name}.{self._form}"
        try:
            data, remark = self._make(arguments)
            if len(data) > self._limit:
                raise PathRefused(f"{name} would have {len(data)} bytes; {self._limit} are the most")
            self._folder.base.mkdir(parents=True, exist_ok=True)
            path = self._folder.write(name, data)
        except PathRefused as refused:
            return refusal(str(refused))
        except OSError as error:
            return refusal(f"The file system says: {error.strerror or error}")
        remark = f" {remark}" if remark else ""
        return ToolResult(f"Saved {len(data)} bytes to {path}.{remark}", metadata={"bytes": len(data), "path": path})


def _json(arguments: dict[str, Any]) -> tuple[bytes, str]:
    return (json.dumps(arguments["data"], ensure_ascii=False, indent=2) + "\n").encode(), ""


def _csv(arguments: dict[str, Any]) -> tuple[bytes, str]:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")  # RFC 4180
    headers, rows = arguments.get("headers"), arguments["rows"]
    for row in ([headers] if headers else []) + rows:
        writer.writerow([_cell(value) for value in row])
    widths = {len(row) for row in [*([headers] if headers else []), *rows]}
    return out.getvalue().encode(), "The rows are of different lengths." if len(widths) > 1 else ""


def _cell(value: Any) -> Any:
    """Return a cell's value.

    A text that a spreadsheet would run as a formula is marked as text, numbers stay numbers.
    """
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        try:
            float(value)
        except ValueError:
            return f"'{value}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value


def _txt(arguments: dict[str, Any]) -> tuple[bytes, str]:
    return str(arguments["content"]).encode("utf-8"), ""


def _pdf(arguments: dict[str, Any]) -> tuple[bytes, str]:
    data, replaced = pdf.render(str(arguments["content"]), str(arguments.get("title") or ""))
    return data, f"{replaced} characters that the font has not are shown as `?`." if replaced else ""


_FORMS: Final[dict[str, tuple[Make, str, dict[str, Any], list[str]]]] = {
    "json": (_json, "data as JSON, indented", {"data": {"description": "Any JSON value"}}, ["data"]),
    "csv": (
        _csv,
        "rows as CSV (RFC 4180). Texts that spreadsheets would run as formulas get an apostrophe before them",
        {
            "headers": {"type": "array", "items": _TEXT},
            "rows": {"type": "array", "items": {"type": "array", "items": _CELL}},
        },
        ["rows"],
    ),
    "txt": (_txt, "a text file", {"content": _TEXT}, ["content"]),
    "pdf": (
        _pdf,
        "plain text as a PDF of A4 pages; a line that begins with # is a heading",
        {"content": _TEXT, "title": _TEXT},
        ["content"],
    ),
}
