"""The control plane's API as the MCP server uses it. Everything goes through it, with the caller's own key.

So a client can do what that key can do and no more, and the audit has who did it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class PlaneRefused(Exception):
    """The control plane refused or could not be asked; the message is for the client's person and model."""


class AgentsApi(Protocol):
    """One caller's view of the control plane."""

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the answer of a route below /api/v1. Raises PlaneRefused."""

    def link(self, execution_id: str) -> str:
        """Return the address of an execution's page."""
