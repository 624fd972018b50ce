"""This module plays the leader of a team: it asks each member for what its description names, then concludes.

    1  all members but the writer, at the same time: logs, disk and processes; others get the task as it is
    2  the writer, if there is one, with the results
    3  the answer, from the members' replies

Members are recognised by their tools' category, and their subjects by the words of their descriptions.
"""

from __future__ import annotations

import re
from typing import Final

from kubiya_worker.models.demo_scene import Act, Call, Move, Scene
from kubiya_worker.protocol.messages import TOOL_DENIED, TOOL_EXPIRED

REPORT: Final = "./incident-report.md"
LOG_FOLDER: Final = "/var/log"

_WRITES: Final = re.compile(r"\b(writes?|writer|reports?)\b", re.IGNORECASE)
_READS_LOGS: Final = re.compile(r"\blogs?\b", re.IGNORECASE)
_SEES_DISK: Final = re.compile(r"\b(disks?|space|storage)\b", re.IGNORECASE)
_SEES_PROCESSES: Final = re.compile(r"\b(process(?:es)?|memory|cpu|load)\b", re.IGNORECASE)
_REPORT_TASK: Final = re.compile(r"\AWrite this report to (\S+):\n\n(.*)\Z", re.DOTALL)


def leads(scene: Scene) -> bool:
    return bool(scene.members)


def lead(scene: Scene) -> Move:
    writers = [(tool, about) for tool, about in scene.members if _WRITES.search(about)]
    others = [(tool, about) for tool, about in scene.members if not _WRITES.search(about)]
    asked = {act.tool for act in scene.acts}
    if others and not asked & {tool for tool, _ in others}:
        calls: list[Call] = []
        for tool, about in others:
            calls += [(tool, {"task": task}) for task in _tasks(scene, about)]
        names = ", ".join(dict.fromkeys(_name(tool) for tool, _ in calls))
        return Move(f"I will have {names} look into it at the same time.", tuple(calls))
    findings = [act for act in scene.acts if act.tool in {tool for tool, _ in others}]
    if writers and not asked & {tool for tool, _ in writers}:
        task = f"Write this report to {REPORT}:\n\n{_report(scene, findings)}"
        return Move("They are back. The report is next.", ((writers[0][0], {"task": task}),))
    return Move(_answer(scene, findings, next((a for a in scene.acts if a.tool in {t for t, _ in writers}), None)))


def _tasks(scene: Scene, about: str) -> list[str]:
    path = scene.path()
    tasks = []
    if _READS_LOGS.search(about):
        tasks.append(f"Find errors in {path or LOG_FOLDER}.")
    if _SEES_DISK.search(about):
        tasks.append(f"Find what fills the disk under {path or LOG_FOLDER}.")
    if _SEES_PROCESSES.search(about):
        tasks.append("Which processes use the most memory?")
    return tasks or [scene.task]


def _name(tool: str) -> str:
    return tool.removeprefix("ask_")


def _report(scene: Scene, findings: list[Act]) -> str:
    parts = [f"# Incident report\n\nTask: {scene.task.strip()}"]
    for act in findings:
        state = "" if act.ok else " (failed)"
        parts.append(f"## {_name(act.tool)}{state}\n\n{act.arguments.get('task', '')}\n\n{act.output.strip()}")
    return "\n\n".join(parts) + "\n"


def _answer(scene: Scene, findings: list[Act], report: Act | None) -> str:
    lines = ["What the team found:"]
    for act in findings:
        said = [line for line in act.output.strip().splitlines() if line.strip()] or ["nothing"]
        lines += [f"- {_name(act.tool)}{'' if act.ok else ' failed'}: {said[0]}", *(f"  {line}" for line in said[1:4])]
    if report is not None:
        lines.append(_saved(report))
    return "\n".join(lines)


def _saved(report: Act) -> str:
    text = report.output.strip()
    if report.ok and text.startswith("Saved"):
        return f"The report is saved as {REPORT.removeprefix('./')} in the team's folder."
    if report.status in (TOOL_DENIED, TOOL_EXPIRED) or not report.ok:
        return f"There is no report: {text}"
    return f"The report: {text}"


def writing(scene: Scene) -> tuple[str, str] | None:
    """Return (path, content) when the task is a leader's report in the words of `lead`; else None."""
    found = _REPORT_TASK.match(scene.task)
    return (found[1], found[2]) if found else None
