"""This package offers MCP servers as tools (docs/protocol.md#d4): configuration in, tools out.

A server's tools are asked for once, when the execution begins, and then stay the same: the specs are part of the
execution's context, and `origin` names each one's server and tool.
"""

from kubiya_worker.tools.mcp.config import KEYS, Server, merged, parse
from kubiya_worker.tools.mcp.discover import Found, discover
from kubiya_worker.tools.mcp.names import provider_name
from kubiya_worker.tools.mcp.offer import MOST_TOOLS
from kubiya_worker.tools.mcp.pool import Pool
from kubiya_worker.tools.mcp.render import render
from kubiya_worker.tools.mcp.schema import spec_of
from kubiya_worker.tools.mcp.tool import McpTool, tools_of

__all__ = [
    "KEYS",
    "MOST_TOOLS",
    "Found",
    "McpTool",
    "Pool",
    "Server",
    "discover",
    "merged",
    "parse",
    "provider_name",
    "render",
    "spec_of",
    "tools_of",
]
