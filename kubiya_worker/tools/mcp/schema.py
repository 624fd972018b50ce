"""A server's description of a tool as the worker's own `ToolSpec`."""

from __future__ import annotations

from typing import Any, Final

from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.mcp.config import Server

DESCRIPTION: Final = 4_000  # characters of a tool's description that the model is told


def spec_of(server: Server, tool: Any) -> ToolSpec:
    """What a server says of its tool. Its hints can make a call stricter, never more trusted."""
    hints = tool.annotations
    reads = bool(hints and hints.read_only_hint)
    schema = dict(tool.input_schema or {})
    schema.setdefault("type", "object")
    schema.setdefault("properties", {})
    return ToolSpec(
        name=tool.name,
        description=(tool.description or tool.title or f"{tool.name} of the MCP server {server.name}")[:DESCRIPTION],
        parameters=schema,
        idempotent=reads,
        risk="high" if hints and hints.destructive_hint and not reads else "medium",
        category="network" if server.url else "general",
        source="mcp",
        timeout=server.call_timeout + 10,
        taints=True,
        remote=True,
        named=True,
        effects=("egress",) if reads else ("egress", "write", "exec"),
        origin=f"{server.name}/{tool.name}",
    )
