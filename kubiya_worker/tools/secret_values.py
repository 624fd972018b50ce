"""This module finds the values of an execution's environment and MCP servers that must not be shown.

They are the values of secret references (`{{.secret.NAME}}`), and what `credentials` takes for a credential. All other
values (a namespace, a cluster, a database's name) stay readable in every result. The same rule holds for the
environment of all tools, and for `command`, `args`, `env`, `url` and `headers` of MCP servers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubiya_worker import credentials, templates
from kubiya_worker.credentials import SHORTEST
from kubiya_worker.tools.mcp import variables

if TYPE_CHECKING:
    from kubiya_worker.tools.mcp.config import McpServer


def values(
    environment: Mapping[str, str], servers: Iterable[McpServer] = (), secrets: Mapping[str, str] = templates.NONE
) -> set[str]:
    """Return all values to hide; templates of `servers` are filled in from `environment` and `secrets` here."""
    to_hide: set[str] = set()
    for name, value in environment.items():
        to_hide.update(credentials.of_pair(name, value))
    for server in servers:
        to_hide.update(_of_server(server, {**environment, **secrets}))
    return {value for value in to_hide if len(value) >= SHORTEST}


def _of_server(server: McpServer, environment: Mapping[str, str]) -> Iterator[str]:
    written: list[Any] = [server.command, server.args, server.env, server.url, server.headers, server.oauth]
    for kind, name in templates.names(written):
        value = environment.get(name, "")
        if kind == "secret" and value:
            yield value
            yield from credentials.passwords(value)

    def fill(text: str) -> str:
        return variables.fill(templates.fill(text, environment), environment)

    yield from credentials.of_arguments([fill(argument) for argument in server.args])
    yield from credentials.of_text(fill(server.command))
    own = {**_of_file(fill(server.env_file)), **server.env}
    for name, value in (*own.items(), *server.headers.items(), *server.oauth.items()):
        text = fill(value)
        if not any(templates.names(text)):  # else it is a secret that is not there: the server is not used
            yield from credentials.of_pair(name, text)
    yield from credentials.of_text(fill(server.url))


def _of_file(path: str) -> dict[str, str]:
    """Return the variables of a server's `envFile`; none where it cannot be read, since then the server is not used."""
    try:
        return variables.of_file(Path(path).expanduser().read_text("utf-8", "replace")) if path else {}
    except OSError:
        return {}
