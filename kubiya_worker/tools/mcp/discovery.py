"""This module asks MCP servers for their tools when an execution begins."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from kubiya_worker.errors import ConfigurationError, WorkerError
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.templates import NONE
from kubiya_worker.tools.mcp.answers import Listing
from kubiya_worker.tools.mcp.config import McpServer
from kubiya_worker.tools.mcp.names import provider_name
from kubiya_worker.tools.mcp.pool import SessionPool
from kubiya_worker.tools.mcp.tool_limits import within_limits
from kubiya_worker.tools.mcp.tool_spec import UnusableTool, spec_of
from kubiya_worker.tools.text import clean, cut

TOOLS_READ: Final = 2_000  # tools read of one server; later ones are ignored
INSTRUCTIONS: Final = 4_000  # characters of one server's instructions
ALL_INSTRUCTIONS: Final = 16_000  # characters of all servers' instructions
NOTES_NAMED: Final = 5  # tools that a notice names


@dataclass
class DiscoveredTools:
    """The servers' offers; `faults` name servers that cannot be used, `notices` what is left out of the others."""

    specs: list[ToolSpec] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    instructions: dict[str, str] = field(default_factory=dict)  # server -> its own instructions
    missing: dict[str, str] = field(default_factory=dict)  # server -> the reason why it cannot be used
    starting: list[str] = field(default_factory=list)  # servers that have not answered yet, but still may

    @property
    def briefing(self) -> str:
        """Return the servers' instructions for the end of the model's system prompt."""
        parts: list[str] = []
        room = ALL_INSTRUCTIONS
        for name, words in self.instructions.items():
            words = cut(words, min(INSTRUCTIONS, room))
            room -= len(words)
            if words:
                parts.append(f"# Instructions of the MCP server {name!r} for its tools\n{words}")
        return "\n\n".join(parts)


@dataclass
class ServerTools:
    """One server's offer, each tool under the server's own name."""

    specs: list[ToolSpec]
    notices: list[str]
    instructions: str = ""


async def discover(
    servers: Iterable[McpServer],
    pool: SessionPool,
    environment: Mapping[str, str],
    workspace: Path,
    taken: Iterable[str],
    *,
    secrets: Mapping[str, str] = NONE,
    owner: str = "",
    patience: float | None = None,
) -> DiscoveredTools:
    """Ask all servers at once; `taken` are the names of the tools that the execution has besides.

    `owner` is the execution whose sessions these are. After `patience` seconds the servers that have not answered are
    `starting`, and go on doing so. A server that is `required` and cannot be used raises ConfigurationError.
    """
    servers = list(servers)
    found = DiscoveredTools()
    if not servers:
        return found
    asked = [asyncio.create_task(_list(server, pool, environment, workspace, owner, secrets)) for server in servers]
    try:
        await asyncio.wait(asked, timeout=patience)
    finally:
        for task in asked:
            task.cancel()  # a done task ignores this; the session of another one continues to start
    offers: dict[str, ServerTools] = {}
    for server, task in zip(servers, asked, strict=True):
        if server.ignored:
            found.notices.append(
                f"MCP server {server.name!r}: {', '.join(f'`{key}`' for key in server.ignored)} decides nothing here: "
                "approval rules do"
            )
        if not task.done() or task.cancelled():
            found.starting.append(server.name)
            continue
        answer = task.result()
        if isinstance(answer, str):
            line = f"MCP server {server.name!r} cannot be used: {answer}"
            if server.required:
                raise ConfigurationError(line, remedy="It is `required`; mend it, or set `required` to false")
            found.faults.append(line)
            found.missing[server.name] = answer
            continue
        offers[server.name] = answer
        found.notices += answer.notices
        if answer.instructions:
            found.instructions[server.name] = answer.instructions
    names = set(taken)
    chosen, notices = within_limits({name: offer.specs for name, offer in offers.items()}, len(names))
    found.notices += notices
    for server_name, specs in chosen.items():
        found.specs += with_offered_names(server_name, specs, names)
    return found


def with_offered_names(server: str, specs: Iterable[ToolSpec], taken: set[str]) -> list[ToolSpec]:
    """Return the tools under the names that models are given; these are added to `taken`."""
    renamed: list[ToolSpec] = []
    for spec in specs:
        name = provider_name(server, spec.name, taken)
        taken.add(name)
        renamed.append(replace(spec, name=name))
    return renamed


def tools_of_server(server: McpServer, listing: Listing) -> ServerTools:
    """Return the tools of a server's list that can be offered; a malformed tool does not affect the others."""
    offer = ServerTools([], [], clean(listing.instructions).strip())
    offer.notices += [f"MCP server {server.name!r}: {cut(clean(fault), 300)}" for fault in listing.faults]
    broken: list[str] = []
    changed: list[str] = []
    for tool in listing.tools[:TOOLS_READ]:
        try:
            spec, notes = spec_of(server, tool)
        except UnusableTool as reason:
            name = tool.get("name") if isinstance(tool, Mapping) else None
            broken.append(f"{cut(clean(name or 'a tool without a name'), 80)} ({reason})")
            continue
        if _matches(spec.name, server.tools) and not _matches(spec.name, server.excluded):
            offer.specs.append(spec)
            changed += [f"{spec.name} ({'; '.join(notes[:3])})"] if notes else []
    if broken:
        offer.notices.append(f"MCP server {server.name!r}: left out, since they are malformed: {_first_names(broken)}")
    if changed:
        offer.notices.append(
            f"MCP server {server.name!r}: not all of the schema could be sent of {_first_names(changed)}"
        )
    if len(listing.tools) > TOOLS_READ:
        offer.notices.append(f"MCP server {server.name!r}: only the first {TOOLS_READ} of its tools were read")
    return offer


def _first_names(names: list[str]) -> str:
    more = len(names) - NOTES_NAMED
    return ", ".join(names[:NOTES_NAMED]) + (f" and {more} more" if more > 0 else "")


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


async def _list(
    server: McpServer,
    pool: SessionPool,
    environment: Mapping[str, str],
    workspace: Path,
    owner: str,
    secrets: Mapping[str, str],
) -> ServerTools | str:
    try:
        resolved = await asyncio.to_thread(server.resolved, environment, workspace, secrets)  # `envFile` is read there
        listing = await pool.tools(resolved, workspace, owner)
    except TimeoutError:
        return "it did not list its tools in time"
    except WorkerError as error:
        return error.line()
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    # Off the event loop: a list can be of megabytes, and its schemas are walked several times.
    return await asyncio.to_thread(tools_of_server, server, listing)
