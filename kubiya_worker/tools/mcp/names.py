"""The names under which models are offered the tools of MCP servers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

NAME_LIMIT: Final = 64


def provider_name(server: str, tool: str, taken: Iterable[str]) -> str:
    """`mcp__server__tool` in the letters and the length that providers take; a hash where something had to go."""
    clean = "__".join(("mcp", *(re.sub(r"[^A-Za-z0-9_-]", "_", part) for part in (server, tool))))
    if len(clean) <= NAME_LIMIT and clean not in taken:
        return clean
    digest = hashlib.sha256(f"{server}/{tool}".encode()).hexdigest()[:8]
    return f"{clean[: NAME_LIMIT - 9]}_{digest}"
