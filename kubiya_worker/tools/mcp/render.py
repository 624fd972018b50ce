"""What a call of an MCP tool returned, as text for the model."""

from __future__ import annotations

import json
from typing import Any

from kubiya_worker.tools.base import ToolResult


def render(result: Any, limit: int) -> ToolResult:
    """Content blocks as text; what is no text is named. At most `limit` characters."""
    pieces = []
    for block in result.content:
        kind = block.type
        if kind == "text":
            pieces.append(block.text)
        elif kind in ("image", "audio"):
            pieces.append(f"[{kind}, {block.mime_type}, {len(block.data) * 3 // 4} bytes, not shown]")
        elif kind == "resource_link":
            pieces.append(f"[resource {block.uri}]")
        elif kind == "resource":
            inner = block.resource
            pieces.append(getattr(inner, "text", None) or f"[resource {inner.uri}, not text]")
    if not pieces and result.structured_content is not None:
        pieces.append(json.dumps(result.structured_content, ensure_ascii=False))
    text = "\n".join(pieces).replace("\0", "\N{REPLACEMENT CHARACTER}")
    left_out = max(len(text) - limit, 0)
    if left_out:
        text = f"{text[:limit]}\n… {left_out} characters left out …"
    error = None
    if result.is_error:
        error = " ".join(text.split())[:300] or "the server reported an error"
    return ToolResult(text or "[no output]", error=error, metadata={"characters_left_out": left_out})
