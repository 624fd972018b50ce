"""MCP servers as definitions and files have them: listed once each, with who has them, and chosen by name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from kubiya_worker.cli import choice
from kubiya_worker.cli.api.agents import AgentApi
from kubiya_worker.cli.api.mcp_servers import McpServersApi
from kubiya_worker.cli.connection import Api
from kubiya_worker.cli.terminal import one_line
from kubiya_worker.errors import ConfigurationError, UsageError
from kubiya_worker.protocol.mcp_keys import OWN
from kubiya_worker.tools.redaction import Redactor

if TYPE_CHECKING:
    from kubiya_worker.tools.mcp import McpServer

KEYS: Final = ("mcpServers", "mcp_servers", "servers")  # keys that other clients use for the map of servers in a file


@dataclass
class Configured:
    """A server as a definition or a file has it. Its templates are filled from `environment`."""

    name: str
    raw: Any
    owners: list[str] = dataclasses.field(default_factory=list)
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    stored: bool = False  # as a definition of its own, which `owners` name
    tested_at: str = ""  # the path below which a worker's test is asked for; empty for one of a file

    def parsed(self) -> McpServer | None:
        """Return the server as it would be used; None when it is switched off. Raises ConfigurationError."""
        from kubiya_worker.tools.mcp import parse  # loads the sessions with servers, which no help text needs

        return next(iter(parse({self.name: self.raw})), None)


def row(each: Configured) -> dict[str, Any]:
    """Return a server's row of the list, without its secrets."""
    raw = each.raw if isinstance(each.raw, Mapping) else {}
    row: dict[str, Any] = {"server": each.name, "transport": None, "where": None, "owners": each.owners, "state": "on"}
    row["stored"] = each.stored
    try:
        server = each.parsed()
    except ConfigurationError as error:
        return {**row, "state": f"wrong: {error.line()}"}
    if server is None:
        return {**row, "state": "off", "where": str(raw.get("command") or raw.get("url") or "")}
    from kubiya_worker.tools import secret_values

    where = server.url or " ".join((server.command, *server.args))
    return {
        **row,
        "transport": server.transport,
        "where": Redactor(secret_values.values(each.environment, [server])).text(where),
    }


def of_file(file: str, environment: Mapping[str, str]) -> list[Configured]:
    path = Path(file).expanduser()
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{file} cannot be read: {reason}", remedy="Name a file, or a server of an agent") from None
    try:
        raw = json.loads(text) if path.suffix == ".json" else _yaml(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{file} is not {'JSON' if path.suffix == '.json' else 'YAML'}: {one_line(str(error), 200)}",
            remedy='Write {"mcpServers": {"NAME": {"command": "..."}}}',
        ) from None
    if not isinstance(raw, Mapping):
        raise ConfigurationError(f"{file} holds no object", remedy='Write {"mcpServers": {...}}')
    servers = next((raw[key] for key in KEYS if isinstance(raw.get(key), Mapping)), raw)
    return [Configured(str(name), value, [str(path)], environment) for name, value in servers.items()]


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def of_all(api: Api, only: str | None = None) -> list[Configured]:
    """Return the stored servers and those of all agents, teams and environments, each once.

    With `only` return those of this agent or team. Raises as the control plane's client does.
    """
    from kubiya_worker.tools.mcp import merged

    known = _KnownServers({} if only else _stored(api))
    for kind, entity in _entities(api, only):
        environment = AgentApi(api).environment_of(kind, str(entity["id"]))
        config = entity.get("configuration") or {}
        servers = merged(environment.get("mcp_servers"), config.get("mcp_servers"), config.get("mcpServers"))
        known.add(kind, entity, servers, environment)
    for entity in () if only else AgentApi(api).environments():
        own = entity.get("execution_environment") or {}
        servers = {
            name: server
            for name, server in (own.get("mcp_servers") or {}).items()
            if not (isinstance(server, Mapping) and server.get("ref"))  # it is listed as what it names
        }
        known.add("environment", entity, servers, own)
    return sorted(known.servers.values(), key=lambda each: each.name)


def _entities(api: Api, only: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (agent or team, it). Raises UsageError when `only` is neither."""
    if not only:
        yield from (("agent", each) for each in AgentApi(api).agents())
        yield from (("team", each) for each in AgentApi(api).teams())
        return
    teams = [each for each in AgentApi(api).teams() if only in (each.get("name"), each["id"])]
    yield ("team", teams[0]) if teams else ("agent", AgentApi(api).find("agent", only))


@dataclass
class _KnownServers:
    """The servers so far, by their settings: a server that several have is there once."""

    servers: dict[str, Configured]

    def add(self, kind: str, owner: Mapping[str, Any], servers: Mapping[str, Any], around: Mapping[str, Any]) -> None:
        variables = {str(k): str(v) for k, v in (around.get("env_vars") or {}).items() if v is not None}
        for name, raw in servers.items():
            key = json.dumps([name, raw], sort_keys=True, default=str)
            fresh = Configured(str(name), raw, tested_at=f"/{kind}s/{quote(str(owner['id']), safe='')}")
            known = self.servers.get(_settings(raw)) or self.servers.setdefault(key, fresh)
            known.environment = known.environment or variables
            word = _owner(kind, str(owner.get("name") or owner["id"]))
            known.owners += [word] if word not in known.owners else []


def _owner(kind: str, name: str) -> str:
    return name if kind == "agent" else f"{kind} {name}"


def _stored(api: Api) -> dict[str, Configured]:
    """Return the servers that are definitions of their own, by their settings, with who names them."""
    stored = {}
    for server in McpServersApi(api).all():
        raw = {key: value for key, value in server.items() if key in OWN and value is not None}
        owners = [_owner(str(user.get("kind")), str(user.get("name"))) for user in server.get("used_by") or ()]
        stored[_settings(raw)] = Configured(
            str(server["name"]),
            raw,
            owners,
            stored=True,
            tested_at=f"/mcp-servers/{quote(str(server['name']), safe='')}",
        )
    return stored


def _settings(raw: Any) -> str:
    return json.dumps(raw, sort_keys=True, default=str)


def chosen_name(key: str, names: Iterable[str]) -> str:
    """Return the name of a server for it or its beginning. Raises UsageError."""
    return str(
        choice.choose("MCP server", key, [{"name": each} for each in sorted(set(names))], fields=("name",))["name"]
    )


def select(servers: Iterable[Configured], name: str, given: Mapping[str, str]) -> list[Configured]:
    """Return the server with this name, or with this beginning of it; the stored one first.

    Raises UsageError when there is none, or several that differ.
    """
    servers = list(servers)
    whole = chosen_name(name, (each.name for each in servers))
    matches = [each for each in servers if each.name == whole]
    matches = [each for each in matches if each.stored] or matches
    if len(matches) > 1:
        owners = ", ".join(each.owners[0] if each.owners else "nobody" for each in matches[:10])
        raise UsageError(f"There are different servers {whole!r}: of {owners}", remedy="Choose with --agent")
    matches[0].environment = {**matches[0].environment, **given}
    return matches
