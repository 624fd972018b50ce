"""The port of tools: what runs a tool call knows of it, and what it gets back.

A tool is a `ToolSpec` (what the model is told) and a coroutine. It never raises for what the model can mend: a
program that fails, a file that is not there, a refusal are all `ToolResult`s with an `error`. An exception is a bug.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from kubiya_worker.protocol.tools import ToolSpec

OUTPUT_LIMIT: Final = 50_000  # characters of output that a model is shown of one call
KEEP_LIMIT: Final = 8_000_000  # characters of output that are kept of one call, in a file when a model is shown less


def _nobody_watches(line: str) -> None:
    """Take a line about a call that is shown to nobody."""


@dataclass(frozen=True)
class ToolContext:
    """Where a call runs: `env` is the environment for tools (an agent's variables), never the worker's own secrets.
    `tell` shows whoever watches one line about how far the call is.

    A tool whose output can be had again in parts (a file) gives `output_limit` characters. One whose output cannot
    (a program's, a server's answer) gives up to `keep_limit`; what is above `output_limit` goes to a file.
    """

    execution_id: str
    tool_call_id: str
    workspace: Path
    env: Mapping[str, str] = field(default_factory=dict)
    output_limit: int = OUTPUT_LIMIT
    keep_limit: int = OUTPUT_LIMIT
    tell: Callable[[str], None] = field(default=_nobody_watches, repr=False, compare=False)


@dataclass(frozen=True)
class ToolFile:
    """A part of a result that is no text: an image, a sound. `type` is its media type."""

    data: bytes = field(repr=False)
    type: str = "application/octet-stream"
    name: str = ""


@dataclass(frozen=True)
class ToolResult:
    """`output` is what the model reads; `error` is one line, None means success. `metadata` is for events and logs.

    `taints` overrides what the tool's spec says of its results: False for one that holds nothing of others (a refusal);
    `remote` whether those others are outside this host.
    """

    output: str
    error: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    taints: bool | None = None
    remote: bool | None = None
    files: tuple[ToolFile, ...] = ()


def refusal(message: str) -> ToolResult:
    """The result of a call that was not made; `message` has no full stop at its end."""
    return ToolResult(f"{message}.", error=message, metadata={"refused": True}, taints=False)


class Tool(Protocol):
    """One tool. A call that is cancelled ends everything it has started before CancelledError leaves `run`."""

    @property
    def spec(self) -> ToolSpec: ...

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult: ...


class ToolArgumentsError(ValueError):
    """The model's arguments do not fit the tool. The message is written for the model: what is wrong, what to send."""


class Toolset:
    """The tools of one execution by name, in the order in which the model is told of them."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools = {tool.spec.name: tool for tool in tools}

    @property
    def specs(self) -> list[ToolSpec]:
        return [tool.spec for tool in self._tools.values()]

    def get(self, name: str) -> Tool | None:
        return self._tools.get(name)

    def __len__(self) -> int:
        return len(self._tools)
