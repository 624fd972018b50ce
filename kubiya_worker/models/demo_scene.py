"""This module describes a conversation as the demo model sees it: the task, the tools, and the calls so far."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.protocol.messages import TOOL_SUCCESS, Message
from kubiya_worker.protocol.team import is_member
from kubiya_worker.protocol.tools import ToolSpec

_QUOTED: Final = re.compile(r"""["'`]((?:~|\.{1,2})?/[^"'`\n]*)["'`]""")
_BARE: Final = re.compile(r"""(?:^|(?<=[\s(=:,]))((?:~|\.{1,2})?/[^\s"'`,;:?!()<>|]*|\.{1,2}(?=[\s?!]|$))""")


Call = tuple[str, dict[str, Any] | str]  # a tool's name and its arguments


@dataclass(frozen=True)
class Act:
    """One tool call since the task was given, with its result; `status` is "" while it has none."""

    tool: str
    arguments: dict[str, Any]
    status: str
    output: str

    @property
    def ok(self) -> bool:
        return self.status == TOOL_SUCCESS

    @property
    def command(self) -> str:
        return str(self.arguments.get("command") or "")


@dataclass(frozen=True)
class Scene:
    """The conversation; `replies` counts all its assistant messages, `steps` those since the task was given."""

    task: str
    tools: frozenset[str]
    acts: tuple[Act, ...] = ()
    steps: int = 0
    replies: int = 0
    members: tuple[tuple[str, str], ...] = ()  # members of the team that it leads: (tool, description)

    def has(self, tool: str) -> bool:
        return tool in self.tools

    def last(self, tool: str, start: str = "") -> Act | None:
        """Return the latest call of `tool`, or of a shell command that starts with `start`; None without one."""
        for act in reversed(self.acts):
            if act.tool == tool and act.command.startswith(start):
                return act
        return None

    def count(self, tool: str, start: str = "") -> int:
        return sum(act.tool == tool and act.command.startswith(start) for act in self.acts)

    def path(self) -> str | None:
        """Return the first path that the task names."""
        quoted, bare = _QUOTED.search(self.task), _BARE.search(self.task)
        if quoted and (bare is None or quoted.start() <= bare.start()):
            return tidy(quoted.group(1))
        return tidy(bare.group(1)) if bare else None


@dataclass(frozen=True)
class Move:
    """The demo model's next step: a text and tool calls; arguments given as raw text are sent unchanged."""

    text: str
    calls: tuple[Call, ...] = ()
    finish_reason: str | None = None
    delay_ms: float | None = None


def tidy(path: str) -> str:
    """Return the path without the sentence's full stop and a slash at its end."""
    if path in (".", ".."):
        return path
    return path.rstrip(".").rstrip("/") or "/"


def read_scene(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Scene:
    task_at = max((at for at, message in enumerate(messages) if message.get("role") == "user"), default=-1)
    results = {str(m.get("tool_call_id")): m for m in messages[task_at + 1 :] if m.get("role") == "tool"}
    acts: list[Act] = []
    steps = 0
    for message in messages[task_at + 1 :]:
        if message.get("role") != "assistant":
            continue
        steps += 1
        for call in message.get("tool_calls") or ():
            result = results.get(str(call["id"]), {})
            status = str(result.get("status") or TOOL_SUCCESS) if result else ""
            acts.append(Act(call["name"], _parsed(call.get("arguments")), status, str(result.get("content") or "")))
    return Scene(
        task=str(messages[task_at].get("content") or "") if task_at >= 0 else "",
        tools=frozenset(tool.name for tool in tools),
        acts=tuple(acts),
        steps=steps,
        replies=sum(message.get("role") == "assistant" for message in messages),
        members=tuple((tool.name, f"{tool.name} {tool.description}") for tool in tools if is_member(tool)),
    )


def _parsed(arguments: Any) -> dict[str, Any]:
    try:
        value = json.loads(arguments)
    except (TypeError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
