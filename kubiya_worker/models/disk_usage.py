"""This module combines the outputs of du and find about a folder, for the demo model's disk task. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from kubiya_worker.models.demo_scene import Act

CUT: Final = "characters left out"  # the shell tool's note in an output that was cut
_LISTED: Final = re.compile(r"^\s*\d+\s+\d+\s+-\S{9,}\s+\d+\s+\S+\s+\S+\s+(\d+)\s+\S+\s+\S+\s+\S+\s+(/?.*\S)$")

_ESCAPED: Final = re.compile(rb"\\([0-3][0-7]{2}|.)")


@dataclass(frozen=True)
class DiskEntry:
    """One line of du: KiB on disk, and a path."""

    kib: int
    path: str


@dataclass(frozen=True)
class Findings:
    """The findings about `root`, largest first; `partial` says that some of it could not be read or listed."""

    root: str
    total: int  # KiB
    folders: tuple[DiskEntry, ...]
    files: tuple[DiskEntry, ...]
    partial: bool


def human(kib: int) -> str:
    size = float(kib)
    for unit in ("KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "KiB" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def normal(path: str) -> str:
    return path.rstrip("/") or "/"


def read_du(output: str) -> list[DiskEntry]:
    """Return the entries of du -k, largest first, without other lines (errors, notes in brackets)."""
    entries = []
    for line in output.splitlines():
        size, tab, path = line.partition("\t")
        if tab and size.strip().isdigit() and path:
            entries.append(DiskEntry(int(size), normal(path)))
    return _sorted(entries)


def read_listing(output: str) -> list[DiskEntry]:
    """Return the files of `find -type f -ls` (GNU or BSD) by length, largest first."""
    matches = (_LISTED.match(line) for line in output.splitlines())
    return _sorted(DiskEntry(-(-int(match[1]) // 1024), normal(_unescaped(match[2]))) for match in matches if match)


def _unescaped(name: str) -> str:
    r"""Return a name as it is on disk: GNU find writes a blank as `\ ` and other bytes as three octal digits."""
    if "\\" not in name:
        return name
    raw = _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]) if len(match[1]) == 3 else match[1], name.encode())
    return raw.decode(errors="replace")


def leaves(entries: Sequence[DiskEntry]) -> list[DiskEntry]:
    """Return entries that contain no other entry: files, links and empty folders."""
    parents = {str(PurePosixPath(entry.path).parent) for entry in entries}
    return [entry for entry in entries if entry.path not in parents]


def measured(root: str, measurements: Sequence[Act], find_act: Act | None) -> Findings | None:
    """Return the findings from outputs of du (the first one with -a) and of find, or None when du told nothing.

    du does not tell files from folders. An entry that contains others is a folder, and one that find named is a file;
    in an output that was cut, any other entry may be either and is left out.
    """
    entries = _sorted({entry.path: entry for act in measurements for entry in read_du(act.output)}.values())
    if not entries:
        return None
    root = normal(root)
    du_output = measurements[0].output
    cut = CUT in du_output
    ends = leaves(entries)
    found_paths = {normal(line) for line in find_act.output.splitlines()} if find_act else set()
    files = [entry for entry in entries if entry.path in found_paths] or ([] if cut else ends)
    end_paths = {entry.path for entry in ends}
    for act in measurements[1:]:
        end_paths -= {entry.path for entry in read_du(act.output)} - found_paths  # du without -a lists folders only
    folders = [entry for entry in entries if entry.path not in end_paths | found_paths and entry.path != root]
    top = next((entry.kib for entry in entries if entry.path == root), None)
    partial = top is None or "ermission denied" in du_output or "cannot " in du_output
    # Without du's last line, only the listed parts are known.
    total = top if top is not None else sum(entry.kib for entry in ends)
    return Findings(root, total, tuple(folders), tuple(files), partial)


def listed(root: str, listing: Act) -> Findings | None:
    """Return the findings from `find -ls` alone: lengths of files, summed up for the folders above them."""
    root = normal(root)
    files = read_listing(listing.output)
    if not files:
        return None
    sums: dict[str, int] = {}
    for entry in files:
        for parent in PurePosixPath(entry.path).parents:
            if str(parent) == root or not str(parent).startswith(root):
                break
            sums[str(parent)] = sums.get(str(parent), 0) + entry.kib
    folders = _sorted(DiskEntry(kib, path) for path, kib in sums.items())
    partial = CUT in listing.output or "ermission denied" in listing.output or not listing.ok
    return Findings(root, sum(entry.kib for entry in files), tuple(folders), tuple(files), partial)


def _sorted(entries: Iterable[DiskEntry]) -> list[DiskEntry]:
    return sorted(entries, key=lambda entry: (-entry.kib, entry.path))
