"""This module finds the files that a run has left in its workspace, and reads and writes them by no link.

A run's own programs can change the workspace at any moment. So no link is followed, neither of a file nor of a folder,
and what counts is the file that was opened.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LOOKED_AT: Final = 20_000  # files of a workspace; what comes after them is not seen
NAMED: Final = 100  # files that are named with the reason why they are not kept
SKIPPED: Final = frozenset({"node_modules", "__pycache__"})  # folders of others' files; hidden ones are skipped too
TOO_LARGE: Final = "it is larger than {most} bytes"
TOO_MANY: Final = "the run has more than {most} files"
TOO_MUCH: Final = "the run's files together have more than {most} bytes"
LINKED: Final = "another name leads to the same file"
NO_TEXT: Final = "its name is no text"

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class CopyLimits:
    """Limits of what is kept of a run: files, bytes of one, bytes of all; `patterns` of paths, none for all."""

    enabled: bool = True
    count: int = 100
    size: int = 2 << 20
    total: int = 20 << 20
    patterns: Sequence[str] = ()


@dataclass(frozen=True)
class LeftFile:
    """A file of a workspace. `stamp` changes with its content; `refused` says why it is not kept."""

    path: str
    size: int
    stamp: tuple[int, int, int]
    refused: str = ""


class Changed(Exception):
    """A file is not the one any more that was found."""


def left_in(workspace: Path, limits: CopyLimits) -> list[LeftFile]:
    """Return the files to keep, and some of those that are not kept, in the order of their paths."""
    kept: list[LeftFile] = []
    named: list[LeftFile] = []
    total = 0
    for file in _walked(workspace, limits):
        refused = file.refused
        if not refused and file.size > limits.size:
            refused = TOO_LARGE.format(most=f"{limits.size:,}")
        if not refused and len(kept) >= limits.count:
            refused = TOO_MANY.format(most=f"{limits.count:,}")
        if not refused and total + file.size > limits.total:
            refused = TOO_MUCH.format(most=f"{limits.total:,}")
        if not refused:
            kept.append(file)
            total += file.size
        elif len(named) < NAMED:
            named.append(LeftFile(file.path, file.size, file.stamp, refused))
    return sorted([*kept, *named], key=lambda file: file.path)


def _walked(workspace: Path, limits: CopyLimits) -> Iterator[LeftFile]:
    """Yield regular files, without hidden ones and links."""
    seen = 0
    for folder, folders, names, descriptor in os.fwalk(workspace, follow_symlinks=False):
        folders[:] = sorted(each for each in folders if not each.startswith(".") and each not in SKIPPED)
        for name in sorted(names):
            if name.startswith("."):
                continue
            seen += 1
            if seen > LOOKED_AT:
                return
            try:
                about = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except OSError:
                continue
            if not stat.S_ISREG(about.st_mode):
                continue
            path = os.path.relpath(os.path.join(folder, name), workspace)  # noqa: PTH118 - names may be no text
            shown = os.fsencode(path).decode(errors="replace")
            if limits.patterns and not any(fnmatch.fnmatchcase(shown, pattern) for pattern in limits.patterns):
                continue
            refused = LINKED if about.st_nlink > 1 else NO_TEXT if shown != path else ""
            yield LeftFile(shown, about.st_size, _stamp(about), refused)


def read(workspace: Path, file: LeftFile) -> bytes:
    """Return what is in a file. Raises Changed when it is another one by now, OSError when it cannot be read."""
    parts = file.path.split("/")
    folder = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        descriptor = os.open(parts[-1], _FILE, dir_fd=folder)
    finally:
        os.close(folder)
    with os.fdopen(descriptor, "rb") as opened:
        about = os.fstat(opened.fileno())
        if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1 or _stamp(about) != file.stamp:
            raise Changed(file.path)
        data = opened.read(file.size + 1)
    if len(data) != file.size:
        raise Changed(file.path)
    return data


def write_new(workspace: Path, path: str, data: bytes) -> bool:
    """Write a file below a workspace if there is none of this path; return whether it was written.

    No link is followed, and a path that leads out of the workspace is not written. Raises OSError.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        return False
    workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=folder)
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        descriptor = os.open(parts[-1], _NEW, 0o600, dir_fd=folder)
    except FileExistsError:
        return False
    finally:
        os.close(folder)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    return True


def _stamp(about: os.stat_result) -> tuple[int, int, int]:
    return (about.st_ino, about.st_mtime_ns, about.st_size)
