"""This module has the calls for MCP servers."""

from __future__ import annotations

from typing import Any

from kubiya_worker.cli.connection import Api


class McpServersApi:
    """The calls of a person's commands for MCP servers."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def all(self) -> list[dict[str, Any]]:
        """Return the MCP servers that definitions name; none where this key or this control plane has no such list."""
        return self._api.objects_or_none("/mcp-servers")

    def try_on_worker(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Let a worker test the MCP server of what has this path; return the outcome, within two minutes."""
        return self._api.object("POST", f"{path}/test", body, timeout=(5.0, 130.0))
