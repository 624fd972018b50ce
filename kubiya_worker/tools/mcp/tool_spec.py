"""This module turns a server's description of a tool into the worker's own `ToolSpec`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any, Final

from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools import schemas, text
from kubiya_worker.tools.mcp.config import McpServer

DESCRIPTION: Final = 4_000  # characters of a tool's description that the model is told
_SCHEMAS: Final = ("inputSchema", "input_schema", "parameters")  # the protocol's name, and those of model APIs
NAME: Final = 200  # characters of a tool's own name


class UnusableTool(ValueError):
    """The tool cannot be offered; the message says why."""


def spec_of(server: McpServer, tool: Any) -> tuple[ToolSpec, tuple[str, ...]]:
    """Return the tool as a spec under the server's own name, and the parts of its schema that could not be sent.

    Its hints can make a call stricter, never more trusted. Raises UnusableTool.
    """
    if not isinstance(tool, Mapping):
        raise UnusableTool("it is not an object")
    name = tool.get("name")
    if not isinstance(name, str) or not name.strip() or len(name) > NAME or text.clean(name) != name:
        raise UnusableTool("it has no name that can be used")
    schema = next((tool[key] for key in _SCHEMAS if tool.get(key) is not None), None)
    if isinstance(schema, str):  # some servers write it as a text
        with contextlib.suppress(ValueError, RecursionError):
            schema = json.loads(schema)
    if schema is True:  # JSON Schema's own word for "anything"
        schema = {}
    if not isinstance(schema, Mapping):
        raise UnusableTool("it has no inputSchema" if schema is None else "its inputSchema is not an object")
    hints = tool.get("annotations")
    hints = hints if isinstance(hints, Mapping) else {}
    reads, destroys = hints.get("readOnlyHint") is True, hints.get("destructiveHint") is True
    normalized = schemas.normalized(schema)
    spec = ToolSpec(
        name=name,
        description=text.cut(_described(server, tool, name), DESCRIPTION),
        parameters=normalized.schema,
        idempotent=reads,
        risk="high" if destroys and not reads else "medium",
        category="network" if server.url else "general",
        source="mcp",
        timeout=server.max_call_timeout + 10,
        taints=True,
        remote=True,
        named=True,
        effects=("egress",) if reads else ("egress", "write", "exec"),
        origin=f"{server.name}/{name}",
        server=server.name,
        names=normalized.names,
        confirms=server.confirms,
    )
    return spec, normalized.notes


def _described(server: McpServer, tool: Mapping[str, Any], name: str) -> str:
    for words in (tool.get("description"), tool.get("title")):
        if isinstance(words, str) and words.strip():
            return text.clean(words).strip()
    return f"{name} of the MCP server {server.name}"
