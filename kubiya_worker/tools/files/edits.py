"""Tools of `file_system` that change files: replace a text, append, insert, move, delete."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.base import ToolContext, ToolResult
from kubiya_worker.tools.files import text_change
from kubiya_worker.tools.files.confinement import PathRefused
from kubiya_worker.tools.files.tool import PATH, TIMEOUT, FileLimits, FileTool

CHUNK: Final = 1 << 20  # bytes that are read at once
_CONTENT: Final = {"type": "string", "minLength": 1}


def _spec(
    name: str, description: str, properties: dict[str, Any], required: tuple[str, ...], **fields: Any
) -> ToolSpec:
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
    options = {
        "ruled_as": "save_file",
        "risk": "medium",
        "category": "file_operation",
        "effects": ("write",),
        "timeout": TIMEOUT,
        **fields,
    }
    return ToolSpec(name=name, description=description, parameters=schema, **options)


class ReplaceInFile(FileTool):
    spec = _spec(
        "replace_in_file",
        "Replace a text in a file. The text must stand there exactly once, unless `all` is true.",
        {
            "path": PATH,
            "old": {**_CONTENT, "description": "As it stands in the file, white space and line ends included"},
            "new": {"type": "string", "description": "What stands there afterwards; empty removes the text"},
            "all": {"type": "boolean", "description": "Replace every occurrence; default false"},
        },
        ("path", "old", "new"),
    )

    def work(self, arguments: dict[str, Any], context: ToolContext, check: Callable[[], None]) -> ToolResult:
        path, every = str(arguments["path"]), bool(arguments.get("all"))
        old, new = encoded(arguments["old"]), encoded(arguments["new"])
        if old == new:
            raise PathRefused("`old` and `new` are the same")
        self._limits.check_extension(path)
        with self._alone(path, check), self._limits.folder.file(path) as handle:
            size = self._check_text(handle, path)
            match = text_change.find(chunks(handle, check), old)
            if not match.count and b"\n" in old and b"\r" not in old:  # a file with the line ends of Windows
                old, new = old.replace(b"\n", b"\r\n"), new.replace(b"\n", b"\r\n")
                match = text_change.find(chunks(handle, check), old)
            if not match.count:
                raise PathRefused(
                    f"{path}: does not hold the text. Read the file again: every blank and line end counts"
                )
            if match.count > 1 and not every:
                raise PathRefused(
                    f"{path}: holds the text {match.count} times. Give more of what stands around it, or set `all`"
                )
            self._check_size(path, size + match.count * (len(new) - len(old)))
            diff = text_change.diff_of(handle, path, match.first, old, new)
            place = self._limits.folder.rewrite(path, lambda file: text_change.replaced(chunks(file, check), old, new))
        times = "1 place" if match.count == 1 else f"{match.count} places"
        return ToolResult(f"Replaced in {times} of {place}.", metadata={"path": place, "diff": diff})


class AppendToFile(FileTool):
    spec = _spec(
        "append_to_file",
        "Write a text to the end of a file. A file that is not there is made.",
        {"path": PATH, "content": _CONTENT},
        ("path", "content"),
    )

    def work(self, arguments: dict[str, Any], context: ToolContext, check: Callable[[], None]) -> ToolResult:
        path, data = str(arguments["path"]), encoded(arguments["content"])
        self._limits.check_extension(path)
        self._check_size(path, len(data))
        with self._alone(path, check):
            place, before = self._limits.folder.append(path, data)
        diff = text_change.added(place, data)
        text = f"Appended {len(data)} bytes to {place}, which had {before}."
        return ToolResult(text, metadata={"path": place, "diff": diff})


class InsertInFile(FileTool):
    spec = _spec(
        "insert_in_file",
        "Insert whole lines into a file, behind the line with a number; 0 is the beginning of the file.",
        {
            "path": PATH,
            "line": {"type": "integer", "minimum": 0, "description": "The line behind which the text is inserted"},
            "content": {**_CONTENT, "description": "A line end is added where there is none"},
        },
        ("path", "line", "content"),
    )

    def work(self, arguments: dict[str, Any], context: ToolContext, check: Callable[[], None]) -> ToolResult:
        path, line, data = str(arguments["path"]), int(arguments["line"]), encoded(arguments["content"])
        self._limits.check_extension(path)
        data = data if data.endswith(b"\n") else data + b"\n"
        with self._alone(path, check), self._limits.folder.file(path) as handle:
            size = self._check_text(handle, path)
            self._check_size(path, size + len(data))
            at = text_change.end_of_line(chunks(handle, check), line)
            if at is None:
                raise PathRefused(f"{path}: has fewer than {line} lines")
            if at and os.pread(handle, 1, at - 1) != b"\n":
                data = b"\n" + data  # the last line of the file has no line end
            diff = text_change.diff_of(handle, path, at, b"", data)
            place = self._limits.folder.rewrite(path, lambda file: text_change.inserted(chunks(file, check), at, data))
        return ToolResult(f"Inserted {len(data)} bytes into {place}.", metadata={"path": place, "diff": diff})


class MoveFile(FileTool):
    spec = _spec(
        "move_file",
        "Move or rename a file or a folder within the base folder.",
        {
            "path": PATH,
            "target": {**PATH, "description": "Its new path; missing folders are made"},
            "overwrite": {"type": "boolean", "description": "Replace a file that is there; default false"},
        },
        ("path", "target"),
    )

    def work(self, arguments: dict[str, Any], context: ToolContext, check: Callable[[], None]) -> ToolResult:
        path, target = str(arguments["path"]), str(arguments["target"])
        self._limits.check_extension(path)
        self._limits.check_extension(target)
        check()
        old, new = self._limits.folder.move(path, target, overwrite=bool(arguments.get("overwrite")))
        return ToolResult(f"Moved {old} to {new}.", metadata={"path": new, "moved_from": old})


class DeleteFile(FileTool):
    spec = _spec(
        "delete_file",
        "Delete a file, a symbolic link or an empty folder. A person is asked first, unless a rule allows it.",
        {"path": PATH},
        ("path",),
        risk="high",
        confirms=True,
    )

    def __init__(self, limits: FileLimits, *, confirms: bool = True) -> None:
        super().__init__(limits)
        self.spec = replace(type(self).spec, confirms=confirms)

    def work(self, arguments: dict[str, Any], context: ToolContext, check: Callable[[], None]) -> ToolResult:
        path = str(arguments["path"])
        self._limits.check_extension(path)
        check()
        place, size = self._limits.folder.delete(path)
        return ToolResult(f"Deleted {place} ({size} bytes).", metadata={"path": place, "bytes": size})


EDITS: Final[tuple[type[FileTool], ...]] = (ReplaceInFile, AppendToFile, InsertInFile, MoveFile)


def encoded(text: Any) -> bytes:
    """Return a model's text as UTF-8. Raises PathRefused for half of a surrogate pair, which no file can hold."""
    try:
        return str(text).encode()
    except UnicodeEncodeError:
        raise PathRefused("The text holds half of a surrogate pair") from None


def chunks(handle: int, check: Callable[[], None]) -> Iterator[bytes]:
    """Yield the file from its beginning. `check` raises when the call was cancelled."""
    with io.FileIO(os.dup(handle)) as file:
        file.seek(0)
        while piece := file.read(CHUNK):
            check()
            yield piece
