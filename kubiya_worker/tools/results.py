"""This module prepares a call's result for a conversation: clean, bounded, and with larger parts in a file.

A conversation is kept in Temporal's history and sent to the model again and again, so a result has a limit there. A
longer one is written whole to `tool-results/` in the execution's workspace, where the model's own tools can read it;
the conversation holds the path, the beginning and the end. Images and other files of a result are stored there, too.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from kubiya_worker.tools.base import ToolFile, ToolResult
from kubiya_worker.tools.text import clean, cut

FOLDER: Final = "tool-results"
KEPT_FILES: Final = 200  # of one workspace; the oldest go first
KEPT_BYTES: Final = 500_000_000
ERROR: Final = 2_000  # characters of a result's one-line error
METADATA: Final = 64_000  # bytes
SUFFIXES: Final = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/svg+xml": "svg",
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "application/pdf": "pdf",
    "application/json": "json",
    "application/zip": "zip",
    "text/html": "html",
    "text/csv": "csv",
    "text/markdown": "md",
}

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def cleaned(result: Any) -> ToolResult:
    """Return a result whose texts JSON and UTF-8 can carry, whatever a tool has returned."""
    if not isinstance(result, ToolResult):
        return ToolResult(_text(result))
    return ToolResult(
        output=_text(result.output),
        error=None if result.error is None else cut(_text(result.error), ERROR) or None,
        metadata=_metadata(result.metadata),
        taints=result.taints,
        remote=result.remote,
        files=tuple(file for file in result.files if isinstance(file, ToolFile)),
        wait=result.wait,
        elsewhere=result.elsewhere,
        left=result.left,
    )


async def fitted(text: str, limit: int, workspace: Path, call_id: str) -> tuple[str, str | None]:
    """Return `text` within about `limit` characters, and the path of the file that has all of it, if there is one."""
    if len(text) <= limit:
        return text, None
    try:
        path = await asyncio.to_thread(keep, workspace, call_id, "txt", text.encode())
    except OSError as error:
        path, where = None, f"the whole could not be kept in a file: {error.strerror or type(error).__name__}"
    else:
        where = f"the whole output, {len(text)} characters, is in the file {path} of the workspace"
    half = max(limit // 2, 1)
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out; {where} …\n{text[-half:]}", path


async def stored(files: tuple[ToolFile, ...], workspace: Path, call_id: str) -> tuple[list[str], list[dict[str, Any]]]:
    """Write a result's files; return a line for each, and {path, type} of each that was kept."""
    lines: list[str] = []
    file_rows: list[dict[str, Any]] = []
    for file in files:
        kind = file.type.partition("/")[0]
        label = f"{kind if kind in ('image', 'audio', 'video') else 'file'} {cut(clean(file.type), 100)}"
        label = f"{label}{f' {cut(clean(file.name), 200)}' if file.name else ''}, {len(file.data)} bytes"
        suffix = SUFFIXES.get(file.type, "bin")
        try:
            path = await asyncio.to_thread(keep, workspace, call_id, suffix, file.data)
        except OSError as error:
            lines.append(f"[{label}; it could not be kept: {error.strerror or type(error).__name__}]")
            continue
        file_rows.append({"path": path, "type": file.type})
        lines.append(f"[{label}, in the file {path} of the workspace]")
    return lines, file_rows


def keep(workspace: Path, call_id: str, suffix: str, data: bytes) -> str:
    """Write a new file that only this user can read; return its path below the workspace. Raises OSError."""
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", call_id)[:60] or "result"
    name = f"{stem}-{secrets.token_hex(3)}.{suffix}"
    with _folder(workspace, create=True) as folder:
        _make_room(folder, len(data))
        handle = os.open(name, _NEW, 0o600, dir_fd=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
        except OSError:
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)
            raise
    return f"{FOLDER}/{name}"


def read(workspace: Path, path: str, limit: int) -> bytes | None:
    """Return a file that `keep` has written; None when it is gone, larger than `limit`, or not there at all."""
    head, _, name = path.partition("/")
    if head != FOLDER or not name or "/" in name or name in (".", ".."):
        return None
    try:
        with _folder(workspace) as folder:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
                about = os.fstat(file.fileno())
                return file.read(limit) if stat.S_ISREG(about.st_mode) and about.st_size <= limit else None
    except OSError:
        return None


@contextmanager
def _folder(workspace: Path, *, create: bool = False) -> Iterator[int]:
    """Yield a descriptor of the folder without following links, as the model's own tools can change the workspace."""
    base = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if create:
            with suppress(FileExistsError):
                os.mkdir(FOLDER, 0o700, dir_fd=base)
        folder = os.open(FOLDER, _DIRECTORY, dir_fd=base)
    finally:
        os.close(base)
    try:
        yield folder
    finally:
        os.close(folder)


def _make_room(folder: int, size: int) -> None:
    """Remove the oldest files where there are too many, or too much is in them."""
    kept_files: list[tuple[float, int, str]] = []
    for name in os.listdir(folder):
        with suppress(OSError):
            about = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(about.st_mode):
                kept_files.append((about.st_mtime, about.st_size, name))
    kept_files.sort()
    total = sum(size for _, size, _ in kept_files) + size
    while kept_files and (len(kept_files) >= KEPT_FILES or total > KEPT_BYTES):
        _, gone, name = kept_files.pop(0)
        total -= gone
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, (bytes, bytearray)):
        return clean(bytes(value).decode("utf-8", "replace"))
    try:
        return clean(json.dumps(value, ensure_ascii=False, default=str))
    except (ValueError, TypeError, RecursionError):
        return clean(repr(value))


def _metadata(value: Any) -> dict[str, Any]:
    """Return the part of it that can be sent as JSON."""
    try:
        raw = json.dumps(value, default=str)
        metadata = json.loads(raw) if len(raw) <= METADATA else {}
    except (ValueError, TypeError, RecursionError):
        return {}
    return _clean_all(metadata) if isinstance(metadata, dict) else {}


def _clean_all(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): _clean_all(member) for key, member in value.items()}
    return [_clean_all(item) for item in value] if isinstance(value, list) else value
