"""This module describes one operation of the skill `docker`: its text for the model, and its coroutine."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kubiya_worker.tools.base import ToolContext, ToolResult
from kubiya_worker.tools.docker import policy
from kubiya_worker.tools.docker.engine import Engine, segment

ROWS: Final = 200  # of a list that a model is shown

Call = Callable[[Engine, policy.DockerLimits, dict[str, Any], ToolContext], Awaitable[ToolResult]]


@dataclass(frozen=True)
class Operation:
    """One operation: `changes` says that it changes the engine, `runs` that it starts a program of the model's choice.

    `timeout` is in seconds; 0 means the skill's. `properties` may depend on what the configuration allows.
    """

    name: str
    description: str
    call: Call
    arguments: Mapping[str, Any] = field(default_factory=dict)
    required: Sequence[str] = ()
    changes: bool = False
    runs: bool = False
    taints: bool = False
    timeout: float = 90.0
    more: Callable[[policy.DockerLimits], Mapping[str, Any]] = lambda limits: {}

    def properties(self, limits: policy.DockerLimits) -> dict[str, Any]:
        return {**self.arguments, **self.more(limits)}


def text(description: str, most: int = 300) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": most, "description": description}


async def container_of(engine: Engine, limits: policy.DockerLimits, given: str) -> dict[str, Any]:
    """Return the engine's description of a container that may be used; raise DockerRefused.

    All further calls use its id, so that another container cannot take its name meanwhile.
    """
    container: dict[str, Any] = await engine.get(f"/containers/{segment(policy.name(given, 'container'))}/json")
    name = str(container.get("Name") or "").removeprefix("/")
    if ((container.get("Config") or {}).get("Labels") or {}).get(policy.WORKER_LABEL) == "true":
        raise policy.DockerRefused(f"The container {name} is one of the worker's own")
    policy.check(limits.containers, name, "container")
    return container


def table(header: Sequence[str], rows: Iterable[Sequence[str]], nothing: str) -> ToolResult:
    """Return a table with tabs between the columns, at most ROWS rows."""
    lines = ["\t".join(" ".join(cell.split()) for cell in row) for row in rows]
    if not lines:
        return ToolResult(nothing)
    left_out = len(lines) - ROWS
    shown = [header_line := "\t".join(header), *lines[:ROWS]]
    if left_out > 0:
        shown.append(f"[{left_out} more are not shown]")
    return ToolResult("\n".join(shown), metadata={"count": len(lines), "columns": header_line.count("\t") + 1})


def described(value: Mapping[str, Any], limit: int) -> ToolResult:
    """Return the value as JSON without empty members, at most `limit` characters."""
    kept = {key: member for key, member in value.items() if member not in (None, "", [], {})}
    written = json.dumps(kept, indent=1, ensure_ascii=False)
    left_out = len(written) - limit
    return ToolResult(written[:limit] + (f"\n… {left_out} characters left out …" if left_out > 0 else ""))


def size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
