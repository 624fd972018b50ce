"""This module chooses the demo model's rule for a task, and has the small ones: logs, files, waiting and so on."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable
from typing import Final

from kubiya_worker.models.demo_disk import plan_disk
from kubiya_worker.models.demo_scene import Act, Move, Scene
from kubiya_worker.models.demo_team import writing
from kubiya_worker.models.disk_usage import human
from kubiya_worker.protocol.messages import TOOL_DENIED, TOOL_EXPIRED, TOOL_FAILED, TOOL_UNKNOWN

LONGEST_WAIT: Final = 600  # seconds
SHOWN_LINES: Final = 10
NOTHING_FOUND: Final = "[exit code 1]"  # grep and some other programs report "no match" this way
ERRORS: Final = "error|fatal|panic|exception|critical"

TALK: Final = (
    "I am the demo model, not an LLM: I follow a few rules and understand a few kinds of tasks. Try "
    '"find what fills the disk under /var/log", "find errors in /var/log/syslog", "what uses memory?", '
    '"read /etc/hosts", "list /tmp" or "run `uptime`". For a real model set OPENAI_API_KEY (and OPENAI_BASE_URL for '
    "another server), or LITELLM_API_BASE and LITELLM_API_KEY, and give the agent a model of that server."
)

_CODE: Final = re.compile(r"\brun\b[^`]*`([^`]+)`|\brun:\s*(.+)", re.IGNORECASE)
_NOTE: Final = re.compile(r"""\b(?:save|write)\s+["'`](.+?)["'`]\s+(?:to|into|in|as)\b""", re.IGNORECASE | re.DOTALL)
_WAIT: Final = re.compile(r"\b(?:wait|sleep|pause)\b(?:\s+for)?\s+(\d+)", re.IGNORECASE)
_RESOLVED: Final = re.compile(r'The alert of the hook "[^"]*" is resolved\.')  # a hook's message to its run
_DISK: Final = re.compile(
    r"\b(disks?|du|space|storage|fills?|filling|full|biggest|largest|(?:large|big) (?:files?|folders?))\b",
    re.IGNORECASE,
)
_LOGS: Final = re.compile(r"\b(errors?|logs?|tail|grep|warnings?|exceptions?|failures?)\b", re.IGNORECASE)
_PROCESSES: Final = re.compile(r"\b(memory|ram|cpu|process(?:es)?|ps|load)\b", re.IGNORECASE)
_READ: Final = re.compile(r"\b(read|cat|show|print|open|what does)\b", re.IGNORECASE)
_LIST: Final = re.compile(r"\b(list|ls|what is in|which files)\b", re.IGNORECASE)


def choose(scene: Scene) -> Move:
    """Return the first rule's step that fits the task's words without its path: `read app.log` is not about logs."""
    task, path = scene.task, scene.path()
    if _RESOLVED.match(task):
        return Move("The alert is resolved, so nothing is left to do.")
    if (report := writing(scene)) is not None:
        return _write_report(scene, *report)
    words = task.replace(path, " ") if path else task
    if _CODE.search(task):
        return _run(scene)
    if _NOTE.search(task) and path:
        return _save(scene, path)
    if _WAIT.search(words):
        return _wait(scene)
    if _PROCESSES.search(words) and not path:
        return _processes(scene)
    if _DISK.search(words):
        return plan_disk(scene)
    if _LOGS.search(words) and path:
        return _logs(scene, path)
    if _LIST.search(words):
        return _list(scene, path or ".")
    if _READ.search(words) and path:
        return _read(scene, path)
    return Move(TALK)


def _one_call(
    scene: Scene, intro: str, tool: str, arguments: dict[str, object], describe: Callable[[Act], str]
) -> Move:
    """Say `intro`, call the tool once, then let `describe` describe the result.

    A call that may have run is not repeated.
    """
    if not scene.has(tool):
        return Move(f"For this I need the tool `{tool}`, which this agent does not have.")
    act = scene.last(tool)
    if act is None:
        return Move(intro, ((tool, arguments),))
    return Move(_trouble(act) or describe(act))


def _trouble(act: Act) -> str:
    """Return a sentence about a call that failed; empty for a successful one."""
    if act.status == TOOL_DENIED:
        return f"The call of `{act.tool}` was denied, so I stop here. Nothing was changed."
    if act.status == TOOL_EXPIRED:
        return f"Nobody answered whether I may call `{act.tool}`, so I stop here. Nothing was changed."
    if act.status == TOOL_UNKNOWN:
        return (
            f"The call of `{act.tool}` was interrupted; whether it took effect is unknown. Please check before a retry."
        )
    if act.status == TOOL_FAILED and NOTHING_FOUND not in act.output:
        return f"The call of `{act.tool}` failed: {_head(act.output, 3)}"
    return ""


def _run(scene: Scene) -> Move:
    match = _CODE.search(scene.task)
    command = ((match.group(1) or match.group(2)) if match else "").strip()
    return _one_call(
        scene, f"I will run `{command}`.", "shell", {"command": command}, lambda act: f"Done:\n{_head(act.output, 20)}"
    )


def _save(scene: Scene, path: str) -> Move:
    match = _NOTE.search(scene.task)
    content = match.group(1) if match else ""
    return _one_call(
        scene,
        f"I will save that to {path}.",
        "save_file",
        {"path": path, "content": content + "\n"},
        lambda act: f"Saved to {path}.",
    )


def _write_report(scene: Scene, path: str, content: str) -> Move:
    arguments: dict[str, object] = {"path": path, "content": content}
    return _one_call(
        scene, f"I will write the report to {path}.", "save_file", arguments, lambda act: f"Saved the report as {path}."
    )


def _wait(scene: Scene) -> Move:
    match = _WAIT.search(scene.task)
    seconds = min(int(match.group(1)) if match else 1, LONGEST_WAIT)
    intro = f"I will wait {seconds} s."
    if scene.has("sleep"):
        return _one_call(scene, intro, "sleep", {"seconds": seconds}, lambda act: f"Waited {seconds} s.")
    return _one_call(scene, intro, "shell", {"command": f"sleep {seconds}"}, lambda act: f"Waited {seconds} s.")


def _processes(scene: Scene) -> Move:
    by_cpu = bool(re.search(r"\b(cpu|load)\b", scene.task, re.IGNORECASE))

    def tell(act: Act) -> str:
        rows = []
        for line in act.output.splitlines():
            fields = line.split(None, 3)
            if len(fields) == 4 and fields[0].isdigit() and fields[1].isdigit():
                rows.append((int(fields[1]), float(fields[2].replace(",", ".")), fields[0], fields[3]))
        if not rows:
            return f"ps told nothing that I can read: {_head(act.output, 3)}"
        rows.sort(key=lambda row: row[1] if by_cpu else row[0], reverse=True)
        lines = [f"{len(rows)} processes run here. The first by {'CPU' if by_cpu else 'memory'}:"]
        lines += [f"- {name} (pid {pid}): {human(rss)}, {cpu:g} % CPU" for rss, cpu, pid, name in rows[:5]]
        return "\n".join(lines)

    return _one_call(scene, "I will look at the processes.", "shell", {"command": "ps -axo pid,rss,pcpu,comm"}, tell)


def _logs(scene: Scene, path: str) -> Move:
    def tell(act: Act) -> str:
        lines = [line for line in act.output.splitlines() if re.search(ERRORS, line, re.IGNORECASE)]
        if "o such file" in act.output:
            return f"There is no {path} on this host."
        if not lines:
            return f"No errors in {path}."
        kinds = Counter(re.sub(r"\d+", "#", re.sub(r"^\S*?\d+:", "", line)).strip() for line in lines)
        many = "kind" if len(kinds) == 1 else "kinds"
        text = f"{len(lines)} lines in {path} speak of errors, of {len(kinds)} {many}. The most frequent:\n"
        text += "\n".join(f"- {count} times: {kind[:200]}" for kind, count in kinds.most_common(3))
        return text + "\nThe last one:\n" + lines[-1][:300]

    intro = f"I will search {path} for errors."
    if scene.has("shell"):
        return _one_call(scene, intro, "shell", {"command": f"grep -rniE '{ERRORS}' {shlex.quote(path)}"}, tell)
    return _one_call(scene, intro, "search_files", {"path": path, "text": "error"}, tell)


def _read(scene: Scene, path: str) -> Move:
    def tell(act: Act) -> str:
        return f"{path} has {len(act.output.splitlines())} lines:\n{_head(act.output, SHOWN_LINES)}"

    if scene.has("read_file") or not scene.has("shell"):
        return _one_call(scene, f"I will read {path}.", "read_file", {"path": path}, tell)
    return _one_call(scene, f"I will read {path}.", "shell", {"command": f"cat {shlex.quote(path)}"}, tell)


def _list(scene: Scene, path: str) -> Move:
    def tell(act: Act) -> str:
        return f"{path} holds:\n{_head(act.output, 20)}"

    if scene.has("list_files") or not scene.has("shell"):
        return _one_call(scene, f"I will list {path}.", "list_files", {"path": path}, tell)
    return _one_call(scene, f"I will list {path}.", "shell", {"command": f"ls -la {shlex.quote(path)}"}, tell)


def _head(text: str, count: int) -> str:
    lines = text.rstrip().splitlines()
    more = f"\n… and {len(lines) - count} lines more" if len(lines) > count else ""
    return "\n".join(lines[:count]) + more if lines else "(no output)"
