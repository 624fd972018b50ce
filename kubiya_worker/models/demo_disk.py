"""This module does the demo model's main task: find what fills the disk under a folder, and report it.

    1  du -ak FOLDER; without du: find FOLDER -type f -ls
    2  find the large files among what du counted: du does not tell files from folders
    3  save a report, which usually needs an approval
    4  answer from the figures

All commands read only, are known to GNU and BSD systems, and need no shell.
"""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath
from typing import Final

from kubiya_worker.models.demo_scene import Act, Call, Move, Scene
from kubiya_worker.models.disk_usage import (
    CUT,
    DiskEntry,
    Findings,
    human,
    leaves,
    listed,
    measured,
    normal,
    percent,
    read_du,
)
from kubiya_worker.protocol.messages import TOOL_DENIED, TOOL_EXPIRED, TOOL_FAILED, TOOL_UNKNOWN

SHOWN: Final = 5  # the most folders and files in an answer
WEIGHED: Final = 10  # the most large files that are looked up
BLOCK_SLACK: Final = 8  # KiB by which du's blocks can exceed a file's length
MOST_NAMED: Final = 50  # the most files in one command
REPORT: Final = "disk-report.md"
TRIES: Final = 2

# Name endings of files that can usually be removed or moved safely, and how. The first match counts.
_ADVICE: Final = (
    (("log", ".out"), "rotate or compress it (logrotate), once no service writes to it"),
    (("core", ".dmp", ".hprof"), "keep it until the crash is understood, then remove it"),
    (("tmp", "cache"), "it can usually be made again; check that nothing has it open (lsof)"),
    (
        (".tar", ".gz", ".tgz", ".zip", ".bak", ".dump", ".sql", ".iso"),
        "move it to other storage if it is still needed",
    ),
)


def plan_disk(scene: Scene) -> Move:
    root = scene.path() or "."
    if not scene.has("shell"):
        return Move(
            f"To find what fills {root} I need the tool `shell` (for du), which this agent does not have. "
            "Give the agent a shell skill and ask again."
        )
    listing = scene.last("shell", "find ")
    if listing is not None and listing.command.endswith(" -ls"):
        findings = listed(root, listing)
        if findings is None and not listing.ok:
            return Move(f"I could not measure {root}: {_first_line(listing.output)} Nothing was changed.")
        return _conclude(scene, findings, root)
    measurements = [act for act in scene.acts if act.command.startswith("du ") and read_du(act.output)]
    if not measurements:
        return _measure(scene, root)
    listing_of_find = scene.last("shell", "find ")
    if listing_of_find is None:
        return _find_large_files(root, measurements[0])
    unknown = _without_size(measurements, listing_of_find)
    # One lookup was used for the folders.
    if unknown and CUT in measurements[0].output and scene.count("shell", "du -k ") < 2:
        command = "du -k " + " ".join(shlex.quote(path) for path in unknown[:MOST_NAMED])
        return Move("And how large these are.", (("shell", {"command": command}),))
    return _conclude(scene, measured(root, measurements, listing_of_find), root)


def _measure(scene: Scene, root: str) -> Move:
    tried = scene.last("shell", "du ")
    command: Call = ("shell", {"command": f"du -ak {shlex.quote(root)}"})
    if tried is None:
        return Move(f"I will measure what is under {root} with du, then look at the largest files.", (command,))
    if tried.status == TOOL_DENIED:
        return Move(f"I was not allowed to run du, so I cannot say what fills {root}. Nothing was changed.")
    if tried.status == TOOL_EXPIRED:
        return Move(f"Nobody answered whether I may run du, so I cannot say what fills {root}. Nothing was changed.")
    if "o such file" in tried.output:
        return Move(f"There is no {root} on this host. Check the path and ask again.")
    if "du is not" in tried.output:  # the tool's configuration forbids du, or it is not installed
        command = ("shell", {"command": f"find {shlex.quote(root)} -type f -ls"})
        return Move("I may not use du here; a list of the files by find will do.", (command,))
    if tried.status in (TOOL_FAILED, TOOL_UNKNOWN) and scene.count("shell", "du ") < TRIES:
        what = "was interrupted and its outcome is unknown" if tried.status == TOOL_UNKNOWN else "failed"
        return Move(f"The measurement {what}; du only reads, so I run it once more.", (command,))
    return Move(f"I could not measure {root}: {_first_line(tried.output)} Nothing was changed.")


def _find_large_files(root: str, du: Act) -> Move:
    """Ask find for large files only, to keep its output short, and also for folders when du's output was cut."""
    entries = read_du(du.output)
    folder = shlex.quote(root)
    if CUT in du.output:
        total = next((entry.kib for entry in entries if entry.path == normal(root)), entries[0].kib)
        bound = max(1, total // 100)
        calls: tuple[Call, ...] = (
            ("shell", {"command": f"du -k -d 2 {folder}"}),
            ("shell", {"command": f"find {folder} -type f -size +{bound}k"}),
        )
        return Move(f"That is a long list. I look at the folders and at files of more than {human(bound)}.", calls)
    ends = leaves(entries)
    bound = max(1, min(entry.kib for entry in ends[:WEIGHED]) - BLOCK_SLACK)
    command = f"find {folder} -type f -size +{bound}k"
    return Move(f"Now the files of more than {human(bound)} among them.", (("shell", {"command": command}),))


def _without_size(measurements: list[Act], found: Act) -> list[str]:
    """Return files that find named and whose size is unknown, because the output of du was cut."""
    known = {entry.path for act in measurements for entry in read_du(act.output)}
    return [line for line in found.output.splitlines() if line.startswith("/") and normal(line) not in known]


def _conclude(scene: Scene, findings: Findings | None, root: str) -> Move:
    if findings is None:
        return Move(f"I found nothing under {root} to report. Nothing was changed.")
    if scene.has("save_file") and scene.count("save_file") == 0:
        biggest = findings.files[0] if findings.files else None
        about = f" The largest file is {biggest.path} with {human(biggest.kib)}." if biggest else ""
        return Move(
            f"{findings.root} holds {human(findings.total)}.{about} I will save a short report as {REPORT}.",
            (("save_file", {"path": REPORT, "content": report(findings)}),),
        )
    return Move(answer(findings, scene.last("save_file")))


def report(findings: Findings) -> str:
    """Return the report as Markdown with a table."""
    rows = [(entry, "folder") for entry in findings.folders[:SHOWN]]
    rows += [(entry, "file") for entry in findings.files[:SHOWN]]
    lines = [f"# What fills {findings.root}", "", f"Total: {human(findings.total)}", ""]
    lines += ["| size | share | kind | path |", "|---:|---:|---|---|"]
    lines += [
        f"| {human(entry.kib)} | {percent(entry.kib, findings.total)} | {kind} | `{entry.path}` |"
        for entry, kind in rows
    ]
    return "\n".join(lines) + "\n"


def answer(findings: Findings, save: Act | None) -> str:
    total = findings.total
    lines = [f"{findings.root} holds {human(total)}.{_headline(findings)}"]
    lines += _ranking("Largest folders", findings.folders, total)
    lines += _ranking("Largest files", findings.files, total)
    if findings.partial:
        lines += ["", "Some of it could not be read or listed, so the true figures may be higher."]
    if findings.files:
        first = findings.files[0].path
        lines += ["", f"Suggestion: start with {first}: {advice(first)}."]
    return "\n".join([*lines, f"Nothing was deleted. {_saved(save)}".strip()])


def _headline(findings: Findings) -> str:
    if not findings.files:
        return ""
    first = findings.files[0]
    size = f"{human(first.kib)} ({percent(first.kib, findings.total)})"
    if 2 * first.kib > findings.total:
        return f" Most of it is one file: {first.path}, {size}."
    return f" The largest file is {first.path}, {size}."


def _ranking(title: str, entries: tuple[DiskEntry, ...], total: int) -> list[str]:
    if not entries:
        return []
    return ["", f"{title}:"] + [
        f"{number}. {entry.path}: {human(entry.kib)} ({percent(entry.kib, total)})"
        for number, entry in enumerate(entries[:SHOWN], start=1)
    ]


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
