"""This module makes the names under which models see the tools of MCP servers, and finds the server's names again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container
from typing import Final

from kubiya_worker.protocol.tools import ToolSpec

NAME_LIMIT: Final = 64


def provider_name(server: str, tool: str, taken: Container[str]) -> str:
    """Return `mcp__server__tool` in the letters and the length that providers take; a hash where that is not enough.

    Names that look alike after cleaning (`team/tracker`, `team_tracker`) do not mix: the second one gets a hash.
    """
    clean = "__".join(("mcp", *(re.sub(r"[^A-Za-z0-9_-]", "_", part) for part in (server, tool))))
    if len(clean) <= NAME_LIMIT and clean not in taken:
        return clean
    number = 0
    while True:
        digest = hashlib.sha256(f"{server}\0{tool}\0{number or ''}".encode("utf-8", "replace")).hexdigest()[:8]
        name = f"{clean[: NAME_LIMIT - 9]}_{digest}"
        if name not in taken:
            return name
        number += 1


def own_name(spec: ToolSpec, server: str) -> str:
    """Return the server's own name of a tool."""
    return spec.origin[len(server) + 1 :]


def server_of(spec: ToolSpec, servers: Container[str]) -> str | None:
    """Return the name of the configured server that a tool belongs to.

    Return None when that server is no longer configured.
    """
    if spec.server:
        return spec.server if spec.server in servers else None
    parts = spec.origin.split("/")  # a context of an earlier version: it does not say where the server's name ends
    ends = ("/".join(parts[:at]) for at in range(1, len(parts)))
    return next((name for name in ends if name in servers), None)
