"""This module models tests of an agent's model, of MCP servers and of stored models."""

from __future__ import annotations

from kubiya_worker.server.edges.base import Name, Strict


class NewStoredTrial(Strict):
    """Make the test on a worker of `queue`, or of any."""

    queue: Name | None = None


class NewServerTrial(Strict):
    """Test the MCP server with this name, on a worker of `queue`, or of any."""

    mcp_server: Name
    queue: Name | None = None


class NewTrial(Strict):
    """Test the MCP server with this name, or without one the agent's model; on a worker of `queue`, or of any."""

    mcp_server: Name | None = None
    queue: Name | None = None
