"""`{{…}}` in configuration, filled in at the last moment: inside the activity that uses the value, never in a history.

    {{NAME}}  {{.env.NAME}}   a variable of the execution's environment; one that is not there stays as it is written
    {{.secret.NAME}}          the same, but one that is not there is a refusal: `{{.secret.X}}` is no password

Values come from the execution's environment only (protocol.md#d5). The worker's own variables are never read, whatever
the name is: they hold its keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError

_TEMPLATE: Final = re.compile(r"\{\{\s*(?:\.(?P<kind>secret|env)\.)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


def resolve(value: Any, env: Mapping[str, str], where: str) -> Any:
    """Return `value` with the templates in all its texts filled in; raise ConfigurationError for an unknown secret."""
    if isinstance(value, str):

        def fill(match: re.Match[str]) -> str:
            if match["name"] in env:
                return env[match["name"]]
            if match["kind"] == "secret":
                raise ConfigurationError(
                    f"{where}: the secret {match['name']} is not in the execution's environment",
                    remedy="Attach it to the agent or to one of its environments",
                )
            return match[0]

        return _TEMPLATE.sub(fill, value)
    if isinstance(value, Mapping):
        return {str(key): resolve(member, env, where) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [resolve(item, env, where) for item in value]
    return value


def names(value: Any) -> Iterator[tuple[str, str]]:
    """Yield (`secret`, `env` or an empty text; the name) for each template in all texts of `value`."""
    if isinstance(value, str):
        yield from ((match["kind"] or "", match["name"]) for match in _TEMPLATE.finditer(value))
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from names(member)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from names(item)


def fill(text: str, env: Mapping[str, str]) -> str:
    """Return `text` with known templates filled in; others, secrets too, stay unchanged."""
    return _TEMPLATE.sub(lambda match: env.get(match["name"], match[0]), text)
