"""This module reads a server's unchanged answers: the pages of its list of tools, and the results of calls."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

RAW: Final = "kubiya-worker/raw"  # the key below `_meta` under which an answer passes the SDK
PAGES: Final = 20  # of a server's list of tools


@dataclass
class Listing:
    """A server's tools as it describes them, each once, and its instructions."""

    tools: list[Any] = field(default_factory=list)
    instructions: str = ""
    faults: list[str] = field(default_factory=list)  # what is missing of the list, and why


def answer_of(result: Any) -> dict[str, Any]:
    """Return the server's own answer out of the SDK's object for it."""
    meta = getattr(result, "meta", None)
    raw = meta.get(RAW) if isinstance(meta, Mapping) else None
    if isinstance(raw, Mapping):
        return dict(raw)
    return dict(result) if isinstance(result, Mapping) else {}


async def listing(client: Any) -> Listing:
    """Return the server's tools and instructions.

    A page that was read before, or that holds nothing new, is the last.
    """
    from mcp import MCPError
    from mcp.types import PaginatedRequestParams

    complete = Listing(instructions=str(getattr(client, "instructions", None) or ""))
    names: set[str] = set()
    cursors: set[str] = set()
    cursor: Any = None
    for number in range(PAGES + 1):
        if number == PAGES:
            complete.faults.append(f"only the first {PAGES} pages of its list of tools were read")
            break
        try:
            page = answer_of(await client.list_tools(params=PaginatedRequestParams(cursor=cursor) if cursor else None))
        except MCPError as error:
            if not complete.tools:
                raise
            words = " ".join(error.message.split())[:200]
            complete.faults.append(f"its list of tools ends after page {number}, as the next one failed: {words}")
            break
        tools = _tools_of(page)
        if tools is None:
            complete.faults.append("its answer holds no list of tools")
        new = [tool for tool in tools or () if _name_of(tool) not in names]
        for tool in new:
            if _name_of(tool) not in names or not _name_of(tool):
                complete.tools.append(tool)
            names.add(_name_of(tool))
        cursor = page.get("nextCursor", page.get("next_cursor"))
        if isinstance(cursor, int) and not isinstance(cursor, bool):
            cursor = str(cursor)
        if isinstance(cursor, (dict, list)):
            complete.faults.append("its list of tools names a next page in a form that cannot be asked for")
        if not isinstance(cursor, str) or not cursor or cursor in cursors or (tools and not new):
            break
        cursors.add(cursor)
    return complete


def _tools_of(page: Mapping[str, Any]) -> list[Any] | None:
    """Return the tools of a page, also by their names, alone, or as the APIs of models have them; None without any."""
    tools = page.get("tools")
    if tools is None and set(page) == {"content"}:  # the answer is the list itself
        with contextlib.suppress(ValueError, RecursionError, KeyError, TypeError, IndexError):
            tools = json.loads(page["content"][0]["text"])
    if isinstance(tools, Mapping):
        tools = [{"name": name, **tool} for name, tool in tools.items() if isinstance(tool, Mapping)]
    if not isinstance(tools, list):
        return None
    return [
        tool["function"]
        if isinstance(tool, Mapping) and "name" not in tool and isinstance(tool.get("function"), Mapping)
        else tool
        for tool in tools
    ]


def _name_of(tool: Any) -> str:
    return str(tool.get("name") or "") if isinstance(tool, Mapping) else ""
