"""Skill `file_system`: list, read, search, save and change files below one folder.

`confinement` keeps every path in that folder, `edits` has the tools that change existing files.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult
from kubiya_worker.tools.files import text_change
from kubiya_worker.tools.files.confinement import Folder, PathRefused
from kubiya_worker.tools.files.edits import EDITS, DeleteFile
from kubiya_worker.tools.files.tool import TIMEOUT, FileLimits, FileTool
from kubiya_worker.tools.processes.output import BoundedOutput
from kubiya_worker.tools.skill_configuration import Skill

TYPES: Final = ("file_system", "file", "files")
KEYS: Final = {
    "base_dir": "The folder that paths cannot leave (the workspace). Where it is not on the host, a folder of its name "
    "in the workspace, if files may be saved",
    "base_directory": "The same",
    "enable_save_file": "Whether files may be saved, changed and moved (true)",
    "enable_delete_file": "Ours: whether files that may be changed may be deleted too (true)",
    "approve_delete": "Ours: whether a person is asked before each deletion that no rule allows (true)",
    "enable_read_file": "Whether files may be read (true)",
    "enable_list_files": "Whether folders may be listed (true)",
    "enable_search_files": "Whether files may be searched (true)",
    "allowed_extensions": "Endings of files that may be read and saved (any)",
    "read_only": "No saving, whatever else is set (false)",
    "max_file_size": 'Bytes, or a string such as "10MB", of a file that is read or saved (any; 10MB to save)',
}
MAX_SAVE: Final = 10 << 20  # bytes of a saved file, unless configured
MAX_COMPARED: Final = 256 << 10  # bytes of a file whose old and new text are compared for a diff
MAX_ENTRIES: Final = 1_000  # listed or found in one call
MAX_VISITED: Final = 100_000  # entries that one call looks at
MAX_SEARCHED: Final = 256 << 20  # bytes that one search reads
MAX_LINES: Final = 2_000  # read in one call unless the model asks for another number
LINE: Final = 65_536  # bytes of a line that are read at once

_PATH: Final = {"type": "string", "description": "Relative to the base folder; default: the base folder itself"}


def build(skill: Skill, workspace: Path) -> list[Tool]:
    configured = skill.text("base_dir") or skill.text("base_directory")
    base = Path(configured or workspace).expanduser()
    if not base.is_absolute():
        base = workspace / base
    base = _existing(skill, base, workspace)
    extensions = skill.strings("allowed_extensions", None)
    limits = FileLimits(
        folder=Folder(base),
        create_base=base.is_relative_to(workspace),
        extensions=frozenset(f".{name.lower().lstrip('.*')}" for name in extensions) if extensions else None,
        max_size=skill.size("max_file_size", None),
    )
    read_only = skill.flag("read_only", False)
    kinds: list[tuple[str, type[FileTool], bool]] = [
        ("enable_list_files", ListFiles, True),
        ("enable_read_file", ReadFile, True),
        ("enable_search_files", SearchFiles, True),
        ("enable_save_file", SaveFile, not read_only),
        *(("enable_save_file", kind, not read_only) for kind in EDITS),
    ]
    tools: list[Tool] = [kind(limits) for key, kind, possible in kinds if skill.flag(key, True) and possible]
    may_delete = not read_only and skill.flag("enable_save_file", True) and skill.flag("enable_delete_file", True)
    return [*tools, DeleteFile(limits, confirms=skill.flag("approve_delete", True))] if may_delete else tools


def _existing(skill: Skill, base: Path, workspace: Path) -> Path:
    """Return `base`, or a folder of its name inside the workspace where it is not on this host and files may be saved.

    Raises ConfigurationError where files may only be read: an empty folder would tell the model that there are none.
    """
    if base.is_relative_to(workspace) or base.is_dir():
        return base
    if skill.flag("read_only", False) or not skill.flag("enable_save_file", True):
        raise ConfigurationError(
            f"skill {skill.name!r} ({skill.type}): the base folder {base} does not exist on this host",
            remedy="Create it, or set `base_dir` to a folder that exists",
        )
    return workspace / base.relative_to(base.anchor)


class ListFiles(FileTool):
    spec = ToolSpec(
        name="list_files",
        description="List a folder: kind, size in bytes, time of change (UTC) and name of each entry.",
        parameters={
            "type": "object",
            "properties": {
                "path": _PATH,
                "recursive": {"type": "boolean", "description": "Also what is in its folders; default false"},
            },
            "additionalProperties": False,
        },
        idempotent=True,
        brief=True,
        category="file_operation",
        taints=True,
        timeout=TIMEOUT,
    )

    def work(self, arguments: dict[str, Any], context: ToolContext, check: Callable[[], None]) -> ToolResult:
        lines: list[str] = []
        more = False
        recursive = bool(arguments.get("recursive"))
        walk = _Walk(self._limits.folder, str(arguments.get("path") or ""), check, recursive=recursive)
        for entry in walk:
            if len(lines) == MAX_ENTRIES:
                more = True
                break
            changed = datetime.fromtimestamp(entry.status.st_mtime, UTC).strftime("%Y-%m-%d %H:%M")
            name = entry.path + ("/" if stat.S_ISDIR(entry.status.st_mode) else "")
            lines.append(f"{_letter(entry.status.st_mode)} {entry.status.st_size:>12} {changed} {_printable(name)}")
        if more or walk.cut:
            lines.append(f"[more than these {len(lines)} entries; list a folder further down]")
        return ToolResult("\n".join(lines) or "[empty]", metadata={"entries": len(lines)})


class ReadFile(FileTool):
    spec = ToolSpec(
        name="read_file",
        description="Read a text file, or some lines of it.",
        parameters={
            "type": "object",
            "properties": {
                "path": {"type": "string", "minLength": 1, "description": "Relative to the base folder"},
                "offset": {"type": "integer", "minimum": 1, "description": "First line to read; default 1"},
                "limit": {"type": "integer", "minimum": 1, "description": f"Lines to read; default {MAX_LINES}"},
                "tail": {"type": "integer", "minimum": 1, "description": "Read this many lines from the file's end"},
            },
            "required": ["path"],
            "additionalProperties": False,
        },
        idempotent=True,
        brief=True,
        category="file_operation",
        taints=True,
        timeout=TIMEOUT,
    )

    def work(self, arguments: dict[str, Any], context: ToolContext, check: Callable[[], None]) -> ToolResult:
        path = str(arguments["path"])
        first = int(arguments.get("offset") or 1)
        limit = int(arguments.get("limit") or MAX_LINES)
        if arguments.get("tail") and (arguments.get("offset") or arguments.get("limit")):
            raise PathRefused("Give either `tail`, or `offset` and `limit`")
        self._limits.check_extension(path)
        with self._limits.folder.file(path) as handle:
            size = self._check_text(handle, path)
            if arguments.get("tail"):
                return _tail(handle, size, int(arguments["tail"]), context.output_limit)
            output = BoundedOutput(context.output_limit)
            number = 1
            more = False
            with os.fdopen(os.dup(handle), "rb") as file:
                while piece := file.readline(LINE):
                    if number % 1024 == 0:
                        check()
                    if number >= first + limit:
                        more = True
                        break
                    if number >= first:
                        output.feed(piece)
                    number += piece.endswith(b"\n")
            text = output.text()
        if more:
            text += f"[more lines follow; read on with offset={first + limit}]\n"
        elif first > 1 and not text:
            text = f"[the file has only {number} lines]\n"
        return ToolResult(
            text or "[the file is empty]", metadata={"bytes": size, "characters_left_out": output.left_out}
        )


def _tail(handle: int, size: int, lines: int, limit: int) -> ToolResult:
    """Return the last lines of a file, reading from its end, so that a large file is not read whole."""
    wanted, at, data = lines, size, b""
    while at > 0 and len(data) <= 4 * limit:  # a character has at most four bytes
        step = min(LINE, at)
        at -= step
        data = os.pread(handle, step, at) + data
        if data.count(b"\n", 0, len(data) - 1) >= wanted:
            break
    begin = len(data)
    for _ in range(wanted):
        begin = data.rfind(b"\n", 0, max(begin - 1, 0))
        if begin < 0:
            break
        begin += 1
    text = data[max(begin, 0) :].decode(errors="replace")
    complete = at == 0 or begin > 0
    left_out = len(text) > limit or not complete
    if left_out:
        text = f"[the beginning of these lines is left out: more than {limit} characters]\n{text[-limit:]}"
    return ToolResult(text or "[the file is empty]", metadata={"bytes": size})


class SearchFiles(FileTool):
    spec = ToolSpec(
        name="search_files",
        description="Find files by name, by a text in them, or by both. A text gives the lines that hold it.",
        parameters={
            "type": "object",
            "properties": {
                "pattern": {"type": "string", "description": "Of the name or path, with * and ?: *.log, etc/*.conf"},
                "text": {
                    "type": "string",
                    "description": "Plain text to look for, upper and lower case alike; it is not a regular expression",
                },
                "path": _PATH,
            },
            "additionalProperties": False,
        },
        idempotent=True,
        category="file_search",
        taints=True,
        timeout=TIMEOUT,
    )

    def work(self, arguments: dict[str, Any], context: ToolContext, check: Callable[[], None]) -> ToolResult:
        pattern = str(arguments.get("pattern") or "")
        text = str(arguments.get("text") or "").lower()
        if not pattern and not text:
            raise PathRefused("Give a pattern, a text, or both")
        matches: list[str] = []
        budget = MAX_SEARCHED
        walk = _Walk(self._limits.folder, str(arguments.get("path") or ""), check, recursive=True)
        full = False
        for entry in walk:
            full = len(matches) >= MAX_ENTRIES or budget <= 0
            if full:
                break
            name = entry.path.rsplit("/", 1)[-1]
            if pattern and not any(fnmatch.fnmatchcase(candidate, pattern) for candidate in (name, entry.path)):
                continue
            if not text:
                matches.append(_printable(entry.path))
            elif stat.S_ISREG(entry.status.st_mode):
                budget -= entry.status.st_size
                matches += self._lines(entry.path, text, check, MAX_ENTRIES - len(matches))
        if full or walk.cut:
            matches.append("[there may be more: search a smaller folder, or for something rarer]")
        output = BoundedOutput(context.output_limit)
        output.feed("\n".join(matches).encode(errors="replace"))
        nothing = "[nothing found]"
        if set(text) & set("*[|^$\\"):
            nothing = "[nothing found; `text` was looked for as it is written, it is not a regular expression]"
        return ToolResult(output.text() or nothing, metadata={"found": len(matches)})

    def _lines(self, path: str, text: str, check: Callable[[], None], most: int) -> list[str]:
        try:
            self._limits.check_extension(path)
            with self._limits.folder.file(path) as handle:
                size = os.fstat(handle).st_size
                if size > (self._limits.max_size or MAX_SEARCHED) or b"\0" in os.pread(handle, 8192, 0):
                    return []
                matches: list[str] = []
                number = 1
                with os.fdopen(os.dup(handle), "rb") as file:
                    while (piece := file.readline(LINE)) and len(matches) < most:
                        if number % 1024 == 0:
                            check()
                        line = piece.decode(errors="replace")
                        if text in line.lower():
                            matches.append(f"{_printable(path)}:{number}: {line.rstrip()[:500]}")
                        number += piece.endswith(b"\n")
                return matches
        except PathRefused:
            return []  # not ours to read, or gone meanwhile


class SaveFile(FileTool):
    spec = ToolSpec(
        name="save_file",
        description="Write a text file, whole: it is created with its folders, or replaced.",
        parameters={
            "type": "object",
            "properties": {
                "path": {"type": "string", "minLength": 1, "description": "Relative to the base folder"},
                "content": {"type": "string"},
                "overwrite": {"type": "boolean", "description": "Replace a file that exists; default true"},
            },
            "required": ["path", "content"],
            "additionalProperties": False,
        },
        idempotent=True,  # the same call leaves the same file; the replacement is atomic
        risk="medium",
        category="file_operation",
        effects=("write",),
        timeout=TIMEOUT,
    )

    def work(self, arguments: dict[str, Any], context: ToolContext, check: Callable[[], None]) -> ToolResult:
        path = str(arguments["path"])
        try:
            data = str(arguments["content"]).encode()
        except UnicodeEncodeError:
            raise PathRefused("The content holds half of a surrogate pair") from None
        limit = self._limits.max_size or MAX_SAVE
        if len(data) > limit:
            raise PathRefused(f"{path}: the content has {len(data)} bytes; {limit} are the most that may be saved")
        self._limits.check_extension(path)
        with self._alone(path, check):
            before = self._before(path)
            place = self._limits.folder.write(path, data, overwrite=bool(arguments.get("overwrite", True)))
        size = f"{len(data)} byte{'' if len(data) == 1 else 's'}"
        about = {} if before is None else {"diff": text_change.diff(place, before, data)}
        return ToolResult(f"Saved {size} to {place}.", metadata={"bytes": len(data), "path": place, **about})

    def _before(self, path: str) -> bytes | None:
        """Return the file's old content, to show the change; None if it is binary or too large to compare."""
        try:
            with self._limits.folder.file(path) as handle:
                if os.fstat(handle).st_size > MAX_COMPARED:
                    return None
                data = os.pread(handle, MAX_COMPARED, 0)
                return None if b"\0" in data else data
        except PathRefused:
            return b""  # not there yet; what else is wrong is told by the write


@dataclass(frozen=True)
class _Entry:
    path: str  # below the base
    status: os.stat_result  # of the entry itself: links are not followed


class _Walk:
    """Yield the entries below a folder by name, a folder before its content, without those that cannot be read."""

    def __init__(self, folder: Folder, path: str, check: Callable[[], None], *, recursive: bool) -> None:
        self._folder = folder
        self._check = check
        self._recursive = recursive
        self._visited = 0
        self.cut = False  # whether there were too many entries to look at them all
        with folder.directory(path) as (top, prefix):
            self._pending = [(_scan(top), prefix)]

    def __iter__(self) -> Iterator[_Entry]:
        while self._pending:
            entries, prefix = self._pending.pop()
            for index, (name, status) in enumerate(entries):
                self._visited += 1
                if self._visited % 256 == 0:
                    self._check()
                if self._visited > MAX_VISITED:
                    self.cut = True
                    return
                path = f"{prefix}/{name}" if prefix else name
                yield _Entry(path, status)
                if self._recursive and stat.S_ISDIR(status.st_mode):
                    self._pending.append((entries[index + 1 :], prefix))
                    try:
                        with self._folder.directory(path) as (handle, _):
                            self._pending.append((_scan(handle), path))
                    except PathRefused:
                        pass  # not ours to read, too deep, or gone meanwhile
                    break


def _scan(handle: int) -> list[tuple[str, os.stat_result]]:
    statuses = []
    with os.scandir(handle) as entries:
        for entry in entries:
            try:
                statuses.append((entry.name, entry.stat(follow_symlinks=False)))
            except OSError:
                continue  # gone meanwhile
    return sorted(statuses, key=lambda item: item[0])


def _letter(mode: int) -> str:
    return "d" if stat.S_ISDIR(mode) else "l" if stat.S_ISLNK(mode) else "-" if stat.S_ISREG(mode) else "?"


def _printable(name: str) -> str:
    """Return a name on one line, also if it has line breaks or bytes that are not UTF-8."""
    return name if name.isprintable() else name.encode("unicode_escape", "backslashreplace").decode()
