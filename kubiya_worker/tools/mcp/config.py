"""The settings of MCP servers (PROTOCOL D.4): parsed, checked, with the templates in them filled in when needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools import templates

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
