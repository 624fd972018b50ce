"""This module tries an MCP server without a run: start it, list its tools, perhaps call one, and report the result."""

from __future__ import annotations

import asyncio
import importlib
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.templates import NONE
from kubiya_worker.tools.arguments import parse_arguments
from kubiya_worker.tools.base import Tool, ToolArgumentsError, ToolContext, ToolResult
from kubiya_worker.tools.mcp.config import McpServer
from kubiya_worker.tools.mcp.discovery import DiscoveredTools, discover
from kubiya_worker.tools.mcp.names import own_name
from kubiya_worker.tools.mcp.pool import SessionPool
from kubiya_worker.tools.mcp.tool import tools_of


@dataclass
class ServerTrial:
    """The result; `error` says why the server cannot be used, and `seconds` is the time until its tools were listed."""

    server: str
    transport: str
    seconds: float = 0.0
    error: str = ""
    specs: list[ToolSpec] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    instructions: str = ""
    called: str = ""
    result: ToolResult | None = None

    def wire(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        data: dict[str, Any] = {
            "server": self.server,
            "transport": self.transport,
            "ok": not self.error and (self.result is None or not self.result.error),
            "seconds": round(self.seconds, 3),
            "error": self.error or None,
            "tools": [
                {
                    "name": own_name(spec, spec.server),
                    "offered_as": spec.name,
                    "description": spec.description,
                    "parameters": spec.parameters,
                    "renamed": spec.names,
                }
                for spec in self.specs
            ],
            "notices": self.notices,
            "instructions": self.instructions or None,
        }
        if self.result is not None:
            files = [{"type": file.type, "bytes": len(file.data)} for file in self.result.files]
            data["call"] = {
                "tool": self.called,
                "output": self.result.output,
                "error": self.result.error,
                "files": files,
            }
        return data


async def try_server(
    server: McpServer,
    environment: Mapping[str, str],
    tool: str = "",
    arguments: str = "{}",
    secrets: Mapping[str, str] = NONE,
) -> ServerTrial:
    """Try a server in a folder of its own; with `tool` (its own name or the one that models get) call that too."""
    trial = ServerTrial(server.name, server.transport)
    pool = SessionPool()
    with tempfile.TemporaryDirectory(prefix="kubiya-mcp-") as folder:
        workspace = Path(folder)
        try:
            with suppress(ImportError):  # not the server's time; that it is missing is told below
                await asyncio.to_thread(importlib.import_module, "kubiya_worker.tools.mcp.client")
            began = time.monotonic()
            discovered: DiscoveredTools = await discover(
                [replace(server, required=False)], pool, environment, workspace, [], secrets=secrets
            )
            trial.seconds = time.monotonic() - began
            trial.error = "; ".join(discovered.faults)
            trial.specs, trial.notices = discovered.specs, discovered.notices
            trial.instructions = discovered.instructions.get(server.name, "")
            if tool and not trial.error:
                context = ToolContext("mcp-test", "mcp-test", workspace, environment)
                trial.called = tool
                trial.result = await _call(tools_of(discovered.specs, [server], pool), tool, arguments, context)
        finally:
            await pool.close()
    return trial


async def _call(tools: list[Tool], name: str, arguments: str, context: ToolContext) -> ToolResult:
    for tool in tools:
        if name in (tool.spec.name, own_name(tool.spec, tool.spec.server)):
            try:
                return await tool.run(parse_arguments(tool.spec, arguments), context)
            except ToolArgumentsError as error:
                return ToolResult("", error=str(error))
    known = ", ".join(own_name(tool.spec, tool.spec.server) for tool in tools[:20]) or "none"
    return ToolResult("", error=f"it has no tool {name!r}; its tools: {known}")
