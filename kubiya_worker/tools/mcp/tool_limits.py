"""This module limits the MCP tools of an execution to what a model's request, and a history, can carry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools import schemas, text
from kubiya_worker.tools.mcp.names import own_name

MOST_TOOLS: Final = 128  # tools in one request to a model, by the strictest provider
TOOL_BYTES: Final = 64_000  # of one tool's description and schema
ALL_BYTES: Final = 300_000  # of all servers' tools: they are in every request, and in the history once
SHORTER: Final = (1_000, 300, 100, 0)  # characters of descriptions, tried in this order
NAMED: Final = 5  # tools that a notice names

Tools = dict[str, list[ToolSpec]]  # server -> its tools, in its own order


def within_limits(tools: Tools, other_tools: int) -> tuple[Tools, list[str]]:
    """Return the MCP tools to offer beside `other_tools` other tools, and a notice for the tools that are left out.

    Each server gets the same share; what one does not need goes to the rest.
    """
    notices: list[str] = []
    shares = _shares([len(specs) for specs in tools.values()], max(MOST_TOOLS - other_tools, 0))
    chosen = {name: specs[:share] for (name, specs), share in zip(tools.items(), shares, strict=True)}
    reason = f"a request to a model carries at most {MOST_TOOLS} tools, and {other_tools} are of other kinds"
    for name, specs in tools.items():
        notices += _left_out(name, specs, chosen[name], reason)
    fitting = {name: list(specs) for name, specs in chosen.items()}
    sizes = [sum(map(size_of, specs)) for specs in fitting.values()]
    rooms = dict(zip(fitting, _shares(sizes, ALL_BYTES), strict=True))
    for name, specs in fitting.items():
        fitting[name], words = _within(specs, rooms[name])
        if words:
            notices.append(f"MCP server {name!r}: {words}")
        reason = f"their descriptions take more than {rooms[name]} bytes"
        notices += _left_out(name, specs, fitting[name], reason)
    return fitting, notices


def _within(specs: list[ToolSpec], room: int) -> tuple[list[ToolSpec], str]:
    """Return the tools with descriptions short enough, and without those which are too large all the same."""
    words = ""
    for limit in (None, *SHORTER):
        if limit is not None:
            specs = [_shortened(spec, limit) if _is_large(spec, specs, room) else spec for spec in specs]
            words = "descriptions of its tools are shortened, they are too long for a request to a model"
        if sum(map(size_of, specs)) <= room and all(size_of(spec) <= TOOL_BYTES for spec in specs):
            return specs, words
    fitting: list[ToolSpec] = []
    used = 0
    for spec in sorted(specs, key=size_of):
        used += size_of(spec)
        if used <= room and size_of(spec) <= TOOL_BYTES:
            fitting.append(spec)
    return [spec for spec in specs if spec in fitting], words


def _is_large(spec: ToolSpec, specs: Sequence[ToolSpec], room: int) -> bool:
    """Return True for a tool that takes more than its part of the room: only such ones are shortened."""
    return size_of(spec) > TOOL_BYTES or size_of(spec) > room / max(len(specs), 1)


def _shortened(spec: ToolSpec, characters: int) -> ToolSpec:
    about = text.cut(spec.description, max(characters, 200))
    return replace(spec, description=about, parameters=schemas.shortened(spec.parameters, characters))


def size_of(spec: ToolSpec) -> int:
    """Return the bytes that a tool takes in a request."""
    return schemas.size_of(spec.parameters) + len(spec.description.encode("utf-8", "replace")) + len(spec.name)


def _shares(wanted: Sequence[int], room: int) -> list[int]:
    """Return how much of `room` each gets: as much as it wants, or the same as the others that want more."""
    shares = [0] * len(wanted)
    pending = sorted(range(len(wanted)), key=lambda at: wanted[at])
    for done, at in enumerate(pending):
        shares[at] = min(wanted[at], room // (len(pending) - done))
        room -= shares[at]
    return shares


def _left_out(server: str, before: Sequence[ToolSpec], after: Sequence[ToolSpec], reason: str) -> list[str]:
    kept = {spec.origin for spec in after}
    gone = [own_name(spec, server) for spec in before if spec.origin not in kept]
    if not gone:
        return []
    named = ", ".join(text.cut(name, 80) for name in gone[:NAMED])
    named += f" and {len(gone) - NAMED} more" if len(gone) > NAMED else ""
    return [
        f"MCP server {server!r}: {len(gone)} of its {len(before)} tools are left out ({named}): {reason}. "
        f"Choose with `tools` in its settings"
    ]
