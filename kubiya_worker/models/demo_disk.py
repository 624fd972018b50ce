"""The demo model's main task: find what fills the disk under a folder, with du and find, and report it.

1  du -ak FOLDER (and a listing, when there is a tool for it)
2  find the large files among what du counted: du does not tell files from folders
3  save a report, which usually needs an approval
4  answer from du's own figures
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from ..protocol.messages import TOOL_DENIED, TOOL_EXPIRED, TOOL_FAILED, TOOL_UNKNOWN
from .demo_scene import Act, Call, Move, Scene

SHOWN: Final = 5  # folders and files in an answer
WEIGHED: Final = 10  # the large files that are looked up
BLOCK_SLACK: Final = 8  # KiB by which du's blocks can exceed a file's length
REPORT: Final = "disk-report.md"
TRIES: Final = 2

# Endings and names of what can usually be dealt with safely, and how. The first that fits counts.
_ADVICE: Final = (
    ((".log", ".out", "log"), "rotate or compress it (logrotate), once no service writes to it"),
    ((".core", "core", ".dmp", ".hprof"), "keep it until the crash is understood, then remove it"),
    ((".tmp", ".cache", "cache", "tmp"), "it can usually be made again; check that nothing has it open (lsof)"),
    (
        (".tar", ".gz", ".tgz", ".zip", ".bak", ".dump", ".sql", ".iso"),
        "move it to other storage if it is still needed",
    ),
)


@dataclass(frozen=True)
class Entry:
    """One line of du: KiB on disk and path."""

    kib: int
    path: str


@dataclass(frozen=True)
class Findings:
    """What fills `root`. Lists are largest first; `partial` when du could not read everything."""

    root: str
    total: int  # KiB
    folders: tuple[Entry, ...]
    files: tuple[Entry, ...]
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


def read_du(output: str) -> list[Entry]:
    """Entries of `du -ak`, largest first; lines that are none (errors, exit codes) are passed over."""
    entries = []
    for line in output.splitlines():
        size, tab, path = line.partition("\t")
        if tab and size.strip().isdigit() and path:
            entries.append(Entry(int(size), path))
    return sorted(entries, key=lambda entry: (-entry.kib, entry.path))


def leaves(entries: Sequence[Entry]) -> list[Entry]:
    """Entries that hold no other: files, links and empty folders."""
    parents = {str(PurePosixPath(entry.path).parent) for entry in entries}
    return [entry for entry in entries if _normal(entry.path) not in parents]


def find_findings(root: str, du: Act, find: Act | None) -> Findings | None:
    """The findings, or None when du told nothing."""
    entries = read_du(du.output)
    if not entries:
        return None
    ends = leaves(entries)
    named = {_normal(line) for line in find.output.splitlines()} if find else set()
    files = [entry for entry in ends if _normal(entry.path) in named] or ends
    end_paths = {entry.path for entry in ends}
    top = next((entry for entry in entries if _normal(entry.path) == _normal(root)), None)
    folders = [entry for entry in entries if entry.path not in end_paths and entry is not top]
    # Without du's last line (a capped output) the files that were listed are all that is known.
    total = top.kib if top else sum(entry.kib for entry in ends)
    partial = top is None or "ermission denied" in du.output or "cannot " in du.output
    return Findings(_normal(root), total, tuple(folders[:SHOWN]), tuple(files[:SHOWN]), partial)


def plan_disk(scene: Scene) -> Move:
    root = scene.path() or "."
    if not scene.has("shell"):
        return Move(
            f"To find what fills {root} I need the tool `shell` (for du), which this agent does not have. "
            "Give the agent a shell skill and ask again."
        )
    du = _last_useful(scene, "du ")
    if du is None:
        return _measure(scene, root)
    find = scene.last("shell", "find ")
    if find is None:
        return _look_closer(root, du)
    findings = find_findings(root, du, find)
    if findings is None:
        return Move(f"du told nothing about {root}, so there is nothing to report.")
    if scene.has("save_file") and scene.count("save_file") == 0:
        biggest = findings.files[0] if findings.files else None
        about = f" The largest file is {biggest.path} with {human(biggest.kib)}." if biggest else ""
        return Move(
            f"{findings.root} holds {human(findings.total)}.{about} I will save a short report as {REPORT}.",
            (("save_file", {"path": REPORT, "content": report(findings)}),),
        )
    return Move(answer(findings, scene.last("save_file")))


def _last_useful(scene: Scene, start: str) -> Act | None:
    for act in reversed(scene.acts):
        if act.tool == "shell" and act.command.startswith(start) and read_du(act.output):
            return act
    return None


def _measure(scene: Scene, root: str) -> Move:
    tried = scene.last("shell", "du ")
    command: Call = ("shell", {"command": f"du -ak {shlex.quote(root)}"})
    if tried is None:
        listing: Call = ("list_files", {"path": root})
        calls = (command, listing) if scene.has("list_files") else (command,)
        return Move(f"I will measure what is under {root} with du, then look at the largest files.", calls)
    if tried.status == TOOL_DENIED:
        return Move(f"I was not allowed to run du, so I cannot say what fills {root}. Nothing was changed.")
    if tried.status == TOOL_EXPIRED:
        return Move(f"Nobody answered whether I may run du, so I cannot say what fills {root}. Nothing was changed.")
    if "o such file" in tried.output:
        return Move(f"There is no {root} on this host. Check the path and ask again.")
    if tried.status in (TOOL_FAILED, TOOL_UNKNOWN) and scene.count("shell", "du ") < TRIES:
        what = "was interrupted and its outcome is unknown" if tried.status == TOOL_UNKNOWN else "failed"
        return Move(f"The measurement {what}; du only reads, so I run it once more.", (command,))
    return Move(f"I could not measure {root}: {_first_line(tried.output)} Nothing was changed.")


def _look_closer(root: str, du: Act) -> Move:
    """Lists the large files only: the bound follows from the tenth largest, so that the output stays short."""
    ends = leaves(read_du(du.output))
    bound = max(1, min(entry.kib for entry in ends[:WEIGHED]) - BLOCK_SLACK) if ends else 1
    command = f"find {shlex.quote(root)} -type f -size +{bound}k"
    return Move(f"Now the files of more than {human(bound)} among them.", (("shell", {"command": command}),))


def report(findings: Findings) -> str:
    """The report as Markdown with a table."""
    rows = [
        f"| {human(entry.kib)} | {percent(entry.kib, findings.total)} | folder | `{entry.path}` |"
        for entry in findings.folders
    ]
    rows += [
        f"| {human(entry.kib)} | {percent(entry.kib, findings.total)} | file | `{entry.path}` |"
        for entry in findings.files
    ]
    head = f"# What fills {findings.root}\n\nTotal: {human(findings.total)}\n\n"
    return head + "| size | share | kind | path |\n|---:|---:|---|---|\n" + "\n".join(rows) + "\n"


def answer(findings: Findings, save: Act | None) -> str:
    total = findings.total
    lines = [f"{findings.root} holds {human(total)}."]
    if findings.files:
        first = findings.files[0]
        lines[0] += (
            f" Most of it in one file: {first.path}, {human(first.kib)}."
            if 2 * first.kib > total
            else (f" The largest file is {first.path} with {human(first.kib)} ({percent(first.kib, total)}).")
        )
    for title, entries in (("Largest folders", findings.folders), ("Largest files", findings.files)):
        if entries:
            lines += ["", f"{title}:"]
            lines += [
                f"{number}. {entry.path}: {human(entry.kib)} ({percent(entry.kib, total)})"
                for number, entry in enumerate(entries, start=1)
            ]
    if findings.partial:
        lines += ["", "Some of it could not be read or listed, so the true figures may be higher."]
    if findings.files:
        lines += ["", f"Suggestion: start with {findings.files[0].path}: {advice(findings.files[0].path)}."]
    lines.append(f"Nothing was deleted. {_saved(save)}".strip())
    return "\n".join(lines)


def advice(path: str) -> str:
    name = PurePosixPath(path).name.lower()
    for endings, text in _ADVICE:
        if name.endswith(endings):
            return text
    return "ask its owner whether it is still needed before anything is removed"


def _saved(save: Act | None) -> str:
    if save is None:
        return ""
    if save.ok:
        return f"The report is saved as {save.arguments.get('path', REPORT)}."
    if save.status == TOOL_DENIED:
        return "The report was not saved: saving it was denied."
    if save.status == TOOL_EXPIRED:
        return "The report was not saved: nobody answered the approval in time."
    if save.status == TOOL_UNKNOWN:
        return f"Whether {REPORT} was saved is unknown: the worker was interrupted meanwhile. Please check."
    return f"The report was not saved: {_first_line(save.output)}"


def _first_line(output: str) -> str:
    line = next((line.strip() for line in output.splitlines() if line.strip()), "no explanation")
    return line if line.endswith(".") else line + "."


def _normal(path: str) -> str:
    return path.rstrip("/") or "/"
