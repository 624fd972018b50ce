"""This module says what a call of `shell` runs once all of it may run; `shell_start` runs the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.base import ToolContext
from kubiya_worker.tools.processes.programs import Pipe
from kubiya_worker.tools.shell.command_line import CommandLine


@dataclass(frozen=True)
class PreparedPipe:
    """This is what a call runs.

    `refused` is the hint for the model when a confined program fails, since the kernel tells only the program what it
    refused. `remote` says that the output may come from other hosts.
    """

    lines: Sequence[CommandLine]
    pipe: Pipe
    refused: str
    remote: bool


class PreparingShell(Protocol):
    """A skill that decides what may run. `prepared` raises CommandRefused, and ConfigurationError."""

    spec: ToolSpec

    def prepared(self, arguments: dict[str, Any], context: ToolContext) -> PreparedPipe: ...
