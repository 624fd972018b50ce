"""`{{…}}` in configuration, filled in at the last moment: inside the activity that uses the value, never in a history.

    {{NAME}}  {{.env.NAME}}   a variable of the execution's environment; one that is not there stays as it is written
    {{.secret.NAME}}          a secret, or else a variable of that name; one that is not there is a refusal: the text
                              `{{.secret.X}}` is no password

Secrets come from the control plane at the moment of use, variables from the execution's environment (protocol.md#d5).
The worker's own variables are never read, whatever the name is: they hold its keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError

_TEMPLATE: Final = re.compile(r"\{\{\s*(?:\.(?P<kind>secret|env)\.)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*\}\}")

NONE: Final[Mapping[str, str]] = MappingProxyType({})


def resolve(value: Any, env: Mapping[str, str], where: str, secrets: Mapping[str, str] = NONE) -> Any:
    """Return `value` with the templates in all its texts filled in; raise ConfigurationError for an unknown secret."""
    if isinstance(value, str):

        def fill(match: re.Match[str]) -> str:
            if match["kind"] == "secret" and match["name"] in secrets:
                return secrets[match["name"]]
            if match["name"] in env:
                return env[match["name"]]
            if match["kind"] == "secret":
                raise ConfigurationError(
                    f"{where}: the secret {match['name']} is not there",
                    remedy=f"Set it: kubiya secrets set {match['name']}; the worker's log says more",
                )
            return match[0]

        return _TEMPLATE.sub(fill, value)
    if isinstance(value, Mapping):
        return {str(key): resolve(member, env, where, secrets) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [resolve(item, env, where, secrets) for item in value]
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


def secrets_in(value: Any) -> set[str]:
    """Return the names of the secrets that the texts of `value` reference."""
    return {name for kind, name in names(value) if kind == "secret"}


def fill(text: str, env: Mapping[str, str]) -> str:
    """Return `text` with known templates filled in; others, secrets too, stay unchanged."""
    return _TEMPLATE.sub(lambda match: env.get(match["name"], match[0]), text)
