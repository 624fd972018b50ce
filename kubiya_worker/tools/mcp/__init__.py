"""This package offers MCP servers as tools (docs/protocol.md#d4): configuration in, tools out.

A server's tools are asked for once, when the execution begins, and then stay the same: the specs are part of the
execution's context, and `origin` names each one's server and tool.
"""

from kubiya_worker.tools.mcp.config import CONFIGURATION_KEYS, KEYS, McpServer, merged, of_environment, parse
from kubiya_worker.tools.mcp.discovery import DiscoveredTools, discover
from kubiya_worker.tools.mcp.names import provider_name
from kubiya_worker.tools.mcp.pool import SessionPool
from kubiya_worker.tools.mcp.render import render
from kubiya_worker.tools.mcp.tool import McpTool, tools_of
from kubiya_worker.tools.mcp.tool_limits import MOST_TOOLS
from kubiya_worker.tools.mcp.tool_spec import spec_of

__all__ = [
    "CONFIGURATION_KEYS",
    "KEYS",
    "MOST_TOOLS",
    "DiscoveredTools",
    "McpServer",
    "McpTool",
    "SessionPool",
    "discover",
    "merged",
    "of_environment",
    "parse",
    "provider_name",
    "render",
    "spec_of",
    "tools_of",
]
