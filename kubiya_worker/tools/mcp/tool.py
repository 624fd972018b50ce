"""One tool of an MCP server, as the worker calls it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kubiya_worker.errors import WorkerError
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult
from kubiya_worker.tools.mcp.config import Server
from kubiya_worker.tools.mcp.names import own_name, server_of
from kubiya_worker.tools.mcp.pool import Pool
from kubiya_worker.tools.mcp.raw import answer_of
from kubiya_worker.tools.mcp.render import render
from kubiya_worker.tools.schemas import own_names


@dataclass(frozen=True)
class McpTool:
    """One tool of a server. The environment of the call, not of the start, fills in the server's templates."""

    spec: ToolSpec
    server: Server
    pool: Pool

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        name = own_name(self.spec, self.server.name)
        try:
            server = self.server.resolved(context.env)
            async with asyncio.timeout(server.call_timeout):
                given = own_names(arguments, self.spec.names)
                result = await self.pool.call(server, name, given, context.workspace)
        except TimeoutError:
            return _failed(f"{name} did not answer within {self.server.call_timeout:g} seconds")
        except WorkerError as error:
            return _failed(error.line())
        except Exception as error:
            return _failed(f"{self.server.name}: {' '.join(str(error).split())[:500] or type(error).__name__}")
        return await asyncio.to_thread(render, answer_of(result), context.keep_limit)


def tools_of(specs: Iterable[ToolSpec], servers: Iterable[Server], pool: Pool) -> list[Tool]:
    """The tools that an execution was given at its start; those of a server that is configured no more are left out."""
    by_name = {server.name: server for server in servers}
    found = ((spec, server_of(spec, by_name)) for spec in specs if spec.source == "mcp")
    return [McpTool(spec, by_name[name], pool) for spec, name in found if name is not None]


def _failed(message: str) -> ToolResult:
    return ToolResult(f"{message}.", error=message)
