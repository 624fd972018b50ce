"""What of an execution's environment and MCP servers must not be shown: values for the redactor.

A variable of the environment is hidden when its name says so. Of an MCP server's `env` and `headers` every value is,
and so is what fills in `{{…}}` in its settings: they are there to be credentials, whatever their names. Excepted is
what is none and would make results unreadable: short values, names such as AWS_REGION or LOG_LEVEL, folders, URLs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from kubiya_worker.tools import templates
from kubiya_worker.tools.mcp.config import Server
from kubiya_worker.tools.redact import SECRET_NAME, SHORTEST

LONG_ENOUGH: Final = 8  # characters, of a value whose name does not say that it is a secret
_HEADER: Final = re.compile("AUTHORIZATION|COOKIE", re.IGNORECASE)
_PLAIN: Final = re.compile(
    r"(.*_)?(REGION|ZONE|ENV|ENVIRONMENT|LEVEL|MODE|FORMAT|LANG|LOCALE|TZ|TIMEZONE|PATH|DIR|ROOT|HOME|HOST|PORT|VERSION"
    r"|PROFILE|PROJECT|ORG|NAME|USER)|ACCEPT(-.*)?|CONTENT-TYPE|USER-AGENT",
    re.IGNORECASE,
)


def values(environment: Mapping[str, str], servers: Iterable[Server] = ()) -> set[str]:
    """All that is hidden; templates of `servers` are filled in here, from `environment`."""
    found = {value for name, value in environment.items() if SECRET_NAME.search(name)}
    for server in servers:
        found |= set(_of_server(server, environment))
    return found


def _of_server(server: Server, environment: Mapping[str, str]) -> Iterator[str]:
    written: list[Any] = [server.command, server.args, server.env, server.url, server.headers]
    for kind, name in templates.names(written):
        value = environment.get(name, "")
        if value and (kind == "secret" or _may_be_secret(name, value)):
            yield value
    for name, value in (*server.env.items(), *server.headers.items()):
        filled = templates.fill(value, environment)
        if any(templates.names(filled)):  # a secret that is not there: the server is not used
            continue
        if _may_be_secret(name, filled):
            yield filled
            yield from (part for part in filled.split() if len(part) >= LONG_ENOUGH)  # behind `Bearer`
    url = urlsplit(templates.fill(server.url, environment))
    if url.password:
        yield url.password
    yield from (value for name, value in parse_qsl(url.query) if _may_be_secret(name, value))


def _may_be_secret(name: str, value: str) -> bool:
    if SECRET_NAME.search(name) or _HEADER.search(name):
        return len(value) >= SHORTEST
    return len(value) >= LONG_ENOUGH and not _PLAIN.fullmatch(name) and not _is_place(value)


def _is_place(value: str) -> bool:
    """A folder of this host, or a URL without anything that could let somebody in."""
    if value.startswith("/"):  # base64 can begin so too, but does not go on with what is there
        return value.count("/") == 1 or Path("/", value.split("/")[1]).exists()
    parts = urlsplit(value)
    return bool(parts.scheme and parts.netloc) and "@" not in parts.netloc and not parts.query
