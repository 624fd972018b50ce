"""This module is the port of tools: what the code that runs a tool call knows of it, and what it gets back.

A tool is a `ToolSpec` (its description for the model) and a coroutine. It never raises for an error that the model can
correct: a failed program, a missing file and a refusal are all `ToolResult`s with an `error`. An exception is a bug.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from kubiya_worker.protocol.tools import ToolSpec

OUTPUT_LIMIT: Final = 50_000  # characters of one call's output that a model sees
KEEP_LIMIT: Final = 8_000_000  # characters of one call's output that are kept, in a file if the model sees less


def _nobody_watches(line: str) -> None:
    """Ignore a progress line of a call that nobody watches."""


def _nobody_hears(place: str) -> None:
    """Announce nothing, for a call that no activity makes."""


@dataclass(frozen=True)
class LongCommandsPlace:
    """This is the place of commands that outlive the worker, and what a call that starts one has to know.

    `attempt` counts the attempts of this call. `before` is what the one before it has announced: its host, and the id
    of its folder; empty texts if it did not come to that. `announce` tells the id of this one's.

    With `may_wait` a call may leave a wait to the workflow (`ToolResult.wait`). `left` is then what is left of it, in
    seconds, for a call that goes on, and `woken` why it ended early. `stopping` says whether the worker is to stop.

    With `may_move` a call may ask to be made on another host (`ToolResult.elsewhere`). `others` are the commands of
    this execution on other hosts: each one's host, and the queue of that host. `queue` tells the queue of a folder.
    """

    root: Path
    host: str
    workflow_id: str
    attempt: int = 1
    before: tuple[str, str] = ("", "")
    announce: Callable[[str], None] = field(default=_nobody_hears, repr=False, compare=False)
    may_wait: bool = False
    left: float | None = None
    woken: str = ""
    stopping: Callable[[], bool] = field(default=bool, repr=False, compare=False)
    may_move: bool = False
    others: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    queue: Callable[[str], str] = field(default=str, repr=False, compare=False)


@dataclass(frozen=True)
class ToolContext:
    """The surroundings of a call.

    `env` is the environment for tools (an agent's variables), never the worker's secrets. `secrets` are those that the
    tool's own settings reference: for these settings only.

    `tell` shows one line of progress to the people who watch. A tool whose output can be read again in parts (a file)
    returns at most `output_limit` characters. One whose output cannot (of a program, a server) returns up to
    `keep_limit`; the part above `output_limit` goes to a file.
    """

    execution_id: str
    tool_call_id: str
    workspace: Path
    env: Mapping[str, str] = field(default_factory=dict)
    output_limit: int = OUTPUT_LIMIT
    keep_limit: int = OUTPUT_LIMIT
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    tell: Callable[[str], None] = field(default=_nobody_watches, repr=False, compare=False)
    long_commands: LongCommandsPlace | None = None


@dataclass(frozen=True)
class ToolFile:
    """A part of a result that is not text (an image, a sound); `type` is its media type."""

    data: bytes = field(repr=False)
    type: str = "application/octet-stream"
    name: str = ""


@dataclass(frozen=True)
class ToolResult:
    """The result of a call.

    `output` is for the model, `error` is one line or None for success, `metadata` is for events.

    `taints` replaces the spec's statement about results: False for one without text of others (a refusal). `remote`
    says whether that text comes from outside this host. `wait` says that the call is not over: what it waits for, and
    for how many seconds. The workflow waits, and the call goes on with the same arguments. With `elsewhere` beside it,
    a host and its queue, it goes on there. `left` is the key of what the call has left on this host, and its queue.
    """

    output: str
    error: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    taints: bool | None = None
    remote: bool | None = None
    files: tuple[ToolFile, ...] = ()
    wait: tuple[str, float] | None = None
    elsewhere: tuple[str, str] | None = None
    left: tuple[str, str] | None = None


def refusal(message: str) -> ToolResult:
    """Return the result of a call that was not made; `message` has no full stop at its end."""
    return ToolResult(f"{message}.", error=message, metadata={"refused": True}, taints=False)


class Tool(Protocol):
    """One tool; a cancelled call ends everything that it started before CancelledError leaves `run`."""

    @property
    def spec(self) -> ToolSpec: ...

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult: ...


@runtime_checkable
class ExpandingTool(Protocol):
    """A tool whose arguments hold names for several things, such as groups of hosts.

    `expanded` puts the things in their place before the policy judges the call: a person sees and approves them, and
    an approval does not cover what was added to a group since. Arguments without such names stay as they are.
    """

    def expanded(self, arguments: dict[str, Any]) -> dict[str, Any]: ...


def expanded(tool: Tool | None, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments as the policy judges them. Raises ToolArgumentsError."""
    return tool.expanded(arguments) if isinstance(tool, ExpandingTool) else arguments


class ToolArgumentsError(ValueError):
    """The arguments do not fit the tool; the message tells the model what is wrong and what to send."""


class Toolset:
    """The tools of one execution by name, in the order in which the model sees them."""

    def __init__(self, tools: Iterable[Tool] = (), skills: Mapping[str, str] | None = None) -> None:
        """Take the tools; `skills` has the id of the skill that each tool comes from, where it comes from one."""
        self._tools = {tool.spec.name: tool for tool in tools}
        self.skills = dict(skills or {})

    @property
    def specs(self) -> list[ToolSpec]:
        return [tool.spec for tool in self._tools.values()]

    def get(self, name: str) -> Tool | None:
        return self._tools.get(name)

    def __len__(self) -> int:
        return len(self._tools)
