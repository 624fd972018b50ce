"""This module changes an execution's context for its MCP servers: tools, notes for the model, missing servers.

The context is fixed at the start with two exceptions: a server that took long to start joins later, and one whose list
of tools has changed offers the new one. Each change adds one to `tools_version`, so that a worker knows whether the
context in its memory is the current one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from kubiya_worker.protocol import events as ev

DEGRADED: Final = "degraded"  # a key of an execution's metadata: [{kind, name, reason}] of parts that it runs without
SERVER: Final = "mcp_server"
SKILL: Final = "skill"
PATIENCE: Final = 6.0  # seconds that an execution waits for a slow server if it can use another one
NAME_LIMIT: Final = 64  # characters of a tool's name
REASON: Final = 500  # characters of a reason
MOST_TOOLS: Final = 128  # tools in one request to a model

Tools = list[dict[str, Any]]


def missing_note(name: str, reason: str) -> str:
    """Return the note for the model about a missing server."""
    return (
        f"The MCP server {name!r} cannot be used in this run, and its tools are not there ({reason}). Say so where the "
        "task needs it."
    )


def starting_note(name: str) -> str:
    """Return the note for the model about a server that is still starting."""
    return f"The MCP server {name!r} is still starting. Its tools are offered as soon as it is ready."


def with_note(prompt: str, note: str) -> str:
    """Return the prompt with this paragraph added."""
    return "\n\n".join(filter(None, (prompt, note)))


def without_note(prompt: str, note: str) -> str:
    """Return the prompt without this paragraph."""
    return "\n\n".join(part for part in prompt.split("\n\n") if part != note)


def replaced(tools: Tools, fresh: Mapping[str, Tools]) -> Tools:
    """Return the tools with those of some servers replaced.

    The new ones come last, so that the others keep their places. A name that is already used gets a hash: two servers
    that join at the same time do not know each other's names.
    """
    offered = [tool for tool in tools if tool.get("source") != "mcp" or tool.get("server") not in fresh]
    names = {str(tool["name"]) for tool in offered}
    for tool in (tool for some in fresh.values() for tool in some):
        name = str(tool["name"])
        if name in names:
            digest = hashlib.sha256(str(tool.get("origin") or name).encode()).hexdigest()[:8]
            name = f"{name[: NAME_LIMIT - 9]}_{digest}"
        if name not in names and len(offered) < MOST_TOOLS:
            names.add(name)
            offered.append({**tool, "name": name})
    return offered


def degrade(metadata: dict[str, Any], kind: str, name: str, reason: str) -> dict[str, Any]:
    """Add a part that an execution runs without to its metadata, and return the entry."""
    known = [entry for entry in metadata.get(DEGRADED) or [] if (entry["kind"], entry["name"]) != (kind, name)]
    entry = {"kind": kind, "name": name, "reason": reason[:REASON]}
    metadata[DEGRADED] = [*known, entry]
    return entry


def message_of(entry: Mapping[str, Any]) -> str:
    """Return the line that tells a person which part an execution runs without."""
    reason = str(entry["reason"])
    return f"MCP server {entry['name']!r} cannot be used: {reason}" if entry["kind"] == SERVER else reason


def notice(event_id: str, execution_id: str, message: str, lacking: Mapping[str, Any] | None = None) -> ev.Event:
    """Return a notice; `lacking` is the entry of a part that the execution runs without, if the notice is about one."""
    more = {"severity": "warning", "kind": DEGRADED, DEGRADED: dict(lacking)} if lacking else {}
    return ev.event(event_id, ev.NOTICE, {"message": message, "execution_id": execution_id, **more})
