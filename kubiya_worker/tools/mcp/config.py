"""This module holds the settings of MCP servers (docs/protocol.md#d4): parsed, checked, and filled in when needed.

Files of other clients are taken as they are: the spellings of these stand in `protocol/mcp_keys.py`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from kubiya_worker import templates
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.protocol.mcp_keys import ALIASES
from kubiya_worker.tools.mcp import confinement_keys, variables

START_LIMIT: Final = 300.0  # seconds, the most that `timeout` can be
CALL_LIMIT: Final = 3600.0  # seconds, the most that a call can take
KEYS: Final = {
    "command": "A program to start; the server speaks over its input and output (stdio)",
    "args": "Its arguments",
    "env": "Its variables, beside PATH, HOME, LANG, USER, and the worker's proxy (without a password) and CA file. "
    "Numbers, true and false are as in JSON",
    "envFile": "The absolute path of a file of `NAME=VALUE` lines, for more variables; `env` wins",
    "cwd": "The folder that it starts in (the workspace)",
    "url": "Where the server is (streamable HTTP or SSE); also `httpUrl`, `serverUrl`",
    "type": "stdio, http (streamable HTTP) or sse; told from `command` and `url` when absent; also `transport_type`, "
    "`transport`",
    "headers": "Headers of each request",
    "oauth": "Ours: `{token_url, client_id, client_secret, scope, audience}`: a bearer token is fetched with these "
    "client credentials, kept, and renewed before it expires or when the server answers 401",
    "enabled": "Whether the server is used at all (true); `disabled` is the opposite",
    "timeout": f"Seconds that the server has to start and to list its tools, 1 to {START_LIMIT:g} (30)",
    "call_timeout": f"Ours: seconds of one call, 1 to {CALL_LIMIT:g} (120); each report of progress begins them anew",
    "max_call_timeout": f"Ours: seconds of one call with all its reports of progress, 1 to {CALL_LIMIT:g} "
    f"({CALL_LIMIT:g})",
    "required": "Ours: whether the execution is refused when the server cannot be used (false: it runs without)",
    "shared": "Ours: whether executions of the worker use one session together (false: each has its own, which ends "
    "with it). Only for servers that keep nothing between calls",
    "tools": "Ours: the tools that are offered, with `*` as a wildcard (all); also `includeTools`",
    "excludeTools": "Tools that are not offered, with `*` as a wildcard (none); also `disabledTools`",
    **confinement_keys.KEYS,
    "description": "For people, not used; also `name`, `title`, `icon`, `note`",
    "autoApprove": "Not used, and said so: approval rules decide here; also `alwaysAllow`, `trust`",
}
TRANSPORTS: Final = {
    "stdio": "stdio",
    "local": "stdio",
    "http": "http",
    "streamable_http": "http",
    "streamable-http": "http",
    "streamablehttp": "http",
    "sse": "sse",
}
CONFIGURATION_KEYS: Final = ("mcp_servers", "mcpServers")  # of an agent's or a team's configuration
# Here a `${…}` that no variable fills is an error; a program may read one in its arguments itself.
_FILLED: Final = ("env", "env_file", "cwd", "url", "headers", "oauth")
TEMPLATED: Final = ("command", "args", *_FILLED)
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
OAUTH_KEYS: Final = ("token_url", "client_id", "client_secret", "scope", "audience")

Wrong = Callable[[str], ConfigurationError]


@dataclass(frozen=True)
class McpServer:
    """One configured server; texts may still hold `{{…}}` and `${…}`."""

    name: str
    transport: str  # stdio | http | sse
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    env_file: str = ""
    cwd: str = ""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    oauth: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 30.0
    call_timeout: float = 120.0
    max_call_timeout: float = CALL_LIMIT
    required: bool = False
    shared: bool = False
    tools: tuple[str, ...] = ("*",)
    excluded: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()  # keys that other clients read and we do not
    confinement: Mapping[str, Any] = field(default_factory=dict)  # its keys of confinement_keys.KEYS
    named_files: tuple[str, ...] = ()  # the paths in `args`, as they are written

    @property
    def confirms(self) -> bool:
        """Return whether a person is asked before each call, because the process is declared as unconfined."""
        return self.confinement.get("confinement") in ("off", False)

    @property
    def templated(self) -> list[Any]:
        """Return the settings in which templates are filled in."""
        return [getattr(self, key) for key in TEMPLATED]

    def resolved(
        self,
        environment: Mapping[str, str],
        workspace: Path | None = None,
        secrets: Mapping[str, str] = templates.NONE,
    ) -> McpServer:
        """Return the server with all templates and variables filled in. Raises ConfigurationError."""
        where = f"MCP server {self.name!r}"
        values = {key: templates.resolve(getattr(self, key), environment, where, secrets) for key in TEMPLATED}
        values = {key: variables.resolve(value, environment, workspace) for key, value in values.items()}
        for key in _FILLED:
            variables.require(values[key], where)
        values["headers"] = _headers(values["headers"], where)
        if values["env_file"]:
            values["env"] = {**_file(values["env_file"], where), **values["env"]}
        return replace(self, **{**values, "args": tuple(values["args"])})

    @property
    def key(self) -> str:
        """Return a key that is the same for servers that can share a session: all settings that start or reach them."""
        parts = [self.transport, self.command, list(self.args), dict(self.env), self.cwd, self.url]
        parts += [dict(self.headers), dict(self.oauth), dict(self.confinement)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _headers(headers: Mapping[str, str], where: str) -> dict[str, str]:
    """Return headers that can be sent; blanks around a value, such as a file's last line end, belong to none."""
    stripped = {name: value.strip() for name, value in headers.items()}
    for name, value in stripped.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ConfigurationError(f"{where}: `headers`: {name!r} is no name of a header", remedy="Correct the name")
        if not _HEADER_VALUE.fullmatch(value):
            raise ConfigurationError(
                f"{where}: `headers`: the value of `{name}` holds a line end or a character that no header takes",
                remedy="Copy the value again, without typographic characters",
            )
    return stripped


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # such as a port above 65535
        return False


def _file(path: str, where: str) -> dict[str, str]:
    try:
        return variables.of_file(Path(path).expanduser().read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise ConfigurationError(
            f"{where}: `envFile` {path} cannot be read: {error.strerror}", remedy="Correct the path, or leave it out"
        ) from error


def parse(raw: Any) -> list[McpServer]:
    """Return the enabled servers of a map name -> server. Raises ConfigurationError that names server and key."""
    if raw is None:
        return []
    if not isinstance(raw, Mapping):
        raise ConfigurationError("mcp_servers is not an object", remedy="Map each server's name to its settings")
    servers = (_server(str(name), value) for name, value in raw.items())
    return [server for server in servers if server is not None]


def merged(*maps: Any) -> dict[str, Any]:
    """Return one map of servers; later ones win, by the server's name; null counts as none."""
    together: dict[str, Any] = {}
    for servers in maps:
        if servers is not None and not isinstance(servers, Mapping):
            raise ConfigurationError("mcp_servers is not an object", remedy="Map each server's name to its settings")
        together |= servers or {}
    return together


def of_environment(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the servers of `resolved/full`: those of the environment, and those of the entity's configuration."""
    configuration = environment.get("configuration")
    configuration = configuration if isinstance(configuration, Mapping) else {}
    return merged(environment.get("mcp_servers"), *(configuration.get(key) for key in CONFIGURATION_KEYS))


def _server(name: str, raw: Any) -> McpServer | None:
    def wrong(message: str) -> ConfigurationError:
        return ConfigurationError(f"MCP server {name!r}: {message}", remedy=f"Correct it: kubiya mcp edit {name}")

    if not isinstance(raw, Mapping):
        raise wrong("its settings are not an object")
    values, ignored = _known_values(raw, wrong)
    for key in ("enabled", "disabled", "required", "shared"):
        if not isinstance(values.get(key, True), bool):
            raise wrong(f"`{key}` has to be true or false")
    if values.get("enabled") is False or values.get("disabled") is True:
        return None
    if bool(values.get("command")) == bool(values.get("url")):
        raise wrong("exactly one of `command` and `url` is needed")
    if values.get("oauth") and values.get("command"):
        raise wrong("`oauth` is for a server with a `url`; give one with a `command` its credentials in `env`")
    url = str(values.get("url") or "")
    written = bool(url) and "{{" not in url and "${" not in url
    if written and not _is_address(url):
        raise wrong("`url` is not an http(s) URL")
    env_file = str(values.get("envFile") or "")
    if env_file and not env_file.startswith(("/", "~", "{{", "${")):
        raise wrong("`envFile` is not an absolute path")
    limits = {key: values[key] for key in confinement_keys.KEYS if key in values}
    if limits and url:
        raise wrong(f"`{next(iter(limits))}` is for a server with a `command`; one with a `url` runs elsewhere")
    confinement_keys.check(name, limits)
    call_timeout = _seconds(values, "call_timeout", 120.0, CALL_LIMIT, wrong)
    return McpServer(
        name=name,
        transport=_transport(values, wrong),
        command=str(values.get("command") or ""),
        args=_args(values, wrong),
        named_files=confinement_keys.named_files(_args(values, wrong)),
        confinement=limits,
        env=_strings(values, "env", wrong),
        env_file=env_file,
        cwd=str(values.get("cwd") or ""),
        url=url,
        headers=_strings(values, "headers", wrong),
        oauth=_oauth(values, wrong),
        timeout=_seconds(values, "timeout", 30.0, START_LIMIT, wrong),
        call_timeout=call_timeout,
        max_call_timeout=max(call_timeout, _seconds(values, "max_call_timeout", CALL_LIMIT, CALL_LIMIT, wrong)),
        required=values.get("required") is True,
        shared=values.get("shared") is True,
        tools=_names(values, "tools", ("*",), wrong),
        excluded=_names(values, "excludeTools", (), wrong),
        ignored=tuple(ignored),
    )


def _known_values(raw: Mapping[str, Any], wrong: Wrong) -> tuple[dict[str, Any], list[str]]:
    """Return the settings that are set, by our own spelling, and the keys that decide nothing here."""
    values: dict[str, Any] = {}
    ignored = []
    for written, value in raw.items():
        key = ALIASES.get(str(written), str(written))
        if key not in KEYS and key != "disabled":
            raise wrong(f"unknown key `{written}`. Known keys: {', '.join(KEYS)}")
        if key == "autoApprove" and value:
            ignored.append(str(written))
        if value is None or key in ("description", "autoApprove"):
            continue
        if values.setdefault(key, value) != value:
            raise wrong(f"`{written}` says something else than another key for `{key}`")
    return values, ignored


def _transport(server: Mapping[str, Any], wrong: Wrong) -> str:
    kind = str(server.get("type") or ("stdio" if server.get("command") else "http"))
    transport = TRANSPORTS.get(kind.lower())
    if transport is None or (transport == "stdio") != bool(server.get("command")):
        raise wrong(f"`type` {kind!r} does not fit; it is stdio with a `command`, http or sse with a `url`")
    return transport


def _args(server: Mapping[str, Any], wrong: Wrong) -> tuple[str, ...]:
    args = server.get("args", [])
    if not isinstance(args, (list, tuple)) or not all(isinstance(item, (str, int, float)) for item in args):
        raise wrong("`args` is not a list of strings")
    return tuple(map(_text, args))


def _names(server: Mapping[str, Any], key: str, default: tuple[str, ...], wrong: Wrong) -> tuple[str, ...]:
    names = server.get(key, default)
    if not isinstance(names, (list, tuple)) or not all(isinstance(item, str) for item in names):
        raise wrong(f"`{key}` is not a list of names")
    return tuple(names)


def _strings(server: Mapping[str, Any], key: str, wrong: Wrong) -> dict[str, str]:
    value = server.get(key, {})
    if not isinstance(value, Mapping):
        raise wrong(f"`{key}` is not an object")
    for name, member in value.items():
        if not isinstance(member, (str, int, float, type(None))):
            raise wrong(f"`{key}`: {name} is no text, number, true or false")
    return {str(name): _text(member) for name, member in value.items() if member is not None}


def _text(value: str | float) -> str:
    """Return a value as JSON writes it: programs read `true`, not Python's `True`."""
    return value if isinstance(value, str) else json.dumps(value)


def _oauth(server: Mapping[str, Any], wrong: Wrong) -> dict[str, str]:
    oauth = _strings(server, "oauth", wrong)
    if not oauth:
        return {}
    for key in oauth:
        if key not in OAUTH_KEYS:
            raise wrong(f"`oauth`: unknown key `{key}`. Known keys: {', '.join(OAUTH_KEYS)}")
    for key in ("token_url", "client_id", "client_secret"):
        if not oauth.get(key):
            raise wrong(f"`oauth`: `{key}` is missing")
    return oauth


def _seconds(server: Mapping[str, Any], key: str, default: float, most: float, wrong: Wrong) -> float:
    value = server.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= most:
        raise wrong(f"`{key}` is not a number of seconds from 1 to {most:g}")
    return float(value)
