"""MCP servers as tools (PROTOCOL D.4): configuration in, tools out. Sessions and processes are `mcp_pool`.

A server's tools are asked for once, when the execution begins, and stay what they were: the specs are part of the
execution's context, `origin` says which tool of which server each is. Values in `{{…}}` are filled in when a session is
needed, from the execution's own environment.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from kubiya_worker.errors import ConfigurationError, WorkerError
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools import templates
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult

if TYPE_CHECKING:
    from kubiya_worker.tools.mcp_pool import Pool

KEYS: Final = {
    "command": "A program to start; the server speaks over its input and output (stdio)",
    "args": "Its arguments",
    "env": "Its variables; it has no others but PATH, HOME, LANG and USER",
    "url": "Where the server is (streamable HTTP or SSE)",
    "type": "stdio, http (streamable HTTP) or sse; told from `command` and `url` when absent",
    "transport_type": "The same",
    "headers": "Headers of each request",
    "enabled": "Whether the server is used at all (true)",
    "timeout": "Ours: seconds that the server has to start and to list its tools, 1 to 45 (20)",
    "call_timeout": "Ours: seconds of one call, 1 to 3600 (120)",
    "required": "Ours: whether the execution is refused when the server cannot be used (false: it runs without)",
    "tools": "Ours: the tools that are offered, with `*` as a wildcard (all)",
}
TRANSPORTS: Final = {
    "stdio": "stdio",
    "http": "http",
    "streamable_http": "http",
    "streamable-http": "http",
    "streamablehttp": "http",
    "sse": "sse",
}
NAME_LIMIT: Final = 64
DESCRIPTION: Final = 4_000  # characters of a tool's description that the model is told
MAX_TOOLS: Final = 200  # of one server


@dataclass(frozen=True)
class Server:
    """One configured server; strings may hold `{{…}}` still."""

    name: str
    transport: str  # stdio | http | sse
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 20.0
    call_timeout: float = 120.0
    required: bool = False
    tools: tuple[str, ...] = ("*",)

    def resolved(self, environment: Mapping[str, str]) -> Server:
        """With all templates filled in. Raises ConfigurationError."""
        where = f"MCP server {self.name!r}"
        values = {
            key: templates.resolve(getattr(self, key), environment, where)
            for key in ("command", "args", "env", "url", "headers")
        }
        return Server(**{**vars(self), **values, "args": tuple(values["args"])})

    @property
    def key(self) -> str:
        """The same for servers that can share a session: everything that they are started or reached with."""
        parts = [self.transport, self.command, list(self.args), dict(self.env), self.url, dict(self.headers)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def parse(raw: Any) -> list[Server]:
    """The enabled servers of a map name -> server. Raises ConfigurationError that names the server and the key."""
    if raw is None:
        return []
    if not isinstance(raw, Mapping):
        raise ConfigurationError("mcp_servers is not an object", remedy="Map each server's name to its settings")
    servers = (_server(str(name), value) for name, value in raw.items())
    return [server for server in servers if server is not None]


def merged(*maps: Any) -> dict[str, Any]:
    """Later maps win, by the server's name; null counts as none."""
    together: dict[str, Any] = {}
    for servers in maps:
        if servers is not None and not isinstance(servers, Mapping):
            raise ConfigurationError("mcp_servers is not an object", remedy="Map each server's name to its settings")
        together |= servers or {}
    return together


def _server(name: str, raw: Any) -> Server | None:
    def wrong(message: str) -> ConfigurationError:
        return ConfigurationError(f"MCP server {name!r}: {message}")

    if not isinstance(raw, Mapping):
        raise wrong("its settings are not an object")
    for key in raw:
        if key not in KEYS:
            raise wrong(f"unknown key `{key}`. Known keys: {', '.join(KEYS)}")
    given = {key: value for key, value in raw.items() if value is not None}
    for key in ("enabled", "required"):
        if not isinstance(given.get(key, True), bool):
            raise wrong(f"`{key}` has to be true or false")
    if given.get("enabled") is False:
        return None
    if bool(given.get("command")) == bool(given.get("url")):
        raise wrong("exactly one of `command` and `url` is needed")
    kind = str(given.get("type") or given.get("transport_type") or ("stdio" if given.get("command") else "http"))
    transport = TRANSPORTS.get(kind.lower())
    if transport is None or (transport == "stdio") != bool(given.get("command")):
        raise wrong(f"`type` {kind!r} does not fit; it is stdio with a `command`, http or sse with a `url`")
    args = given.get("args", [])
    if not isinstance(args, (list, tuple)) or not all(isinstance(item, (str, int, float)) for item in args):
        raise wrong("`args` is not a list of strings")
    tools = given.get("tools", ["*"])
    if not isinstance(tools, (list, tuple)) or not all(isinstance(item, str) for item in tools):
        raise wrong("`tools` is not a list of names")
    url = str(given.get("url") or "")
    if url and "{{" not in url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise wrong("`url` is not an http(s) URL")
    return Server(
        name=name,
        transport=transport,
        command=str(given.get("command") or ""),
        args=tuple(map(str, args)),
        env=_strings(given, "env", wrong),
        url=url,
        headers=_strings(given, "headers", wrong),
        timeout=_seconds(given, "timeout", 20.0, 45.0, wrong),
        call_timeout=_seconds(given, "call_timeout", 120.0, 3600.0, wrong),
        required=given.get("required") is True,
        tools=tuple(tools),
    )


def _strings(given: Mapping[str, Any], key: str, wrong: Any) -> dict[str, str]:
    value = given.get(key, {})
    if not isinstance(value, Mapping):
        raise wrong(f"`{key}` is not an object")
    return {str(name): str(member) for name, member in value.items() if member is not None}


def _seconds(given: Mapping[str, Any], key: str, default: float, most: float, wrong: Any) -> float:
    value = given.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= most:
        raise wrong(f"`{key}` is not a number of seconds from 1 to {most:g}")
    return float(value)


async def discover(
    servers: Iterable[Server], pool: Pool, environment: Mapping[str, str], workspace: Path, taken: Iterable[str]
) -> tuple[list[ToolSpec], list[str]]:
    """The tools of all servers, and a line for each server that the execution has to do without.

    All are asked at once. A server that is `required` and cannot be used raises ConfigurationError.
    """
    servers = list(servers)
    answers = await asyncio.gather(*(_list(server, pool, environment, workspace) for server in servers))
    specs: list[ToolSpec] = []
    faults: list[str] = []
    names = set(taken)
    for server, answer in zip(servers, answers, strict=True):
        if isinstance(answer, str):
            line = f"MCP server {server.name!r} cannot be used: {answer}"
            if server.required:
                raise ConfigurationError(line, remedy="It is `required`; mend it, or set `required` to false")
            faults.append(line)
            continue
        for spec in answer:
            name = provider_name(server.name, spec.name, names)
            names.add(name)
            specs.append(ToolSpec(**{**vars(spec), "name": name}))
    return specs, faults


async def _list(server: Server, pool: Pool, environment: Mapping[str, str], workspace: Path) -> list[ToolSpec] | str:
    try:
        async with asyncio.timeout(server.timeout):
            tools = await pool.tools(server.resolved(environment), workspace)
    except TimeoutError:
        return f"it did not list its tools within {server.timeout:g} seconds"
    except WorkerError as error:
        return error.line()
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    import fnmatch

    offered = [tool for tool in tools if any(fnmatch.fnmatchcase(tool.name, wanted) for wanted in server.tools)]
    return [_spec(server, tool) for tool in offered[:MAX_TOOLS]]


def _spec(server: Server, tool: Any) -> ToolSpec:
    """What a server says of its tool. Its hints can make a call stricter, never more trusted."""
    hints = tool.annotations
    reads = bool(hints and hints.read_only_hint)
    schema = dict(tool.input_schema or {})
    schema.setdefault("type", "object")
    schema.setdefault("properties", {})
    return ToolSpec(
        name=tool.name,
        description=(tool.description or tool.title or f"{tool.name} of the MCP server {server.name}")[:DESCRIPTION],
        parameters=schema,
        idempotent=reads,
        risk="high" if hints and hints.destructive_hint and not reads else "medium",
        category="network" if server.url else "general",
        source="mcp",
        timeout=server.call_timeout + 10,
        taints=True,
        remote=True,
        named=True,
        effects=("egress",) if reads else ("egress", "write", "exec"),
        origin=f"{server.name}/{tool.name}",
    )


def provider_name(server: str, tool: str, taken: Iterable[str]) -> str:
    """`mcp__server__tool` in the letters and the length that providers take; a hash where something had to go."""
    clean = "__".join(("mcp", *(re.sub(r"[^A-Za-z0-9_-]", "_", part) for part in (server, tool))))
    if len(clean) <= NAME_LIMIT and clean not in taken:
        return clean
    digest = hashlib.sha256(f"{server}/{tool}".encode()).hexdigest()[:8]
    return f"{clean[: NAME_LIMIT - 9]}_{digest}"


@dataclass(frozen=True)
class McpTool:
    """One tool of a server. The environment of the call, not of the start, fills in the server's templates."""

    spec: ToolSpec
    server: Server
    pool: Pool

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        name = self.spec.origin.partition("/")[2]
        try:
            server = self.server.resolved(context.env)
            async with asyncio.timeout(server.call_timeout):
                result = await self.pool.call(server, name, arguments, context.workspace)
        except TimeoutError:
            return _failed(f"{name} did not answer within {self.server.call_timeout:g} seconds")
        except WorkerError as error:
            return _failed(error.line())
        except Exception as error:
            return _failed(f"{self.server.name}: {' '.join(str(error).split())[:500] or type(error).__name__}")
        return render(result, context.output_limit)


def tools_of(specs: Iterable[ToolSpec], servers: Iterable[Server], pool: Pool) -> list[Tool]:
    """The tools that an execution was given at its start; those of a server that is configured no more are left out."""
    by_name = {server.name: server for server in servers}
    return [
        McpTool(spec, by_name[spec.origin.partition("/")[0]], pool)
        for spec in specs
        if spec.source == "mcp" and spec.origin.partition("/")[0] in by_name
    ]


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


def _failed(message: str) -> ToolResult:
    return ToolResult(f"{message}.", error=message)
