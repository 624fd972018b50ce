"""`${VAR}` in the settings of MCP servers, as other clients write it, beside the `{{…}}` of templates.

    ${VAR}  ${env:VAR}    a variable of the execution, or one that each server process has anyway (PATH, HOME, …)
    ${VAR:-default}       the same, with what stands for it when it is not there or empty
    ${workspaceFolder}    the folder that the execution works in

The worker's other variables are not looked at, whatever the name is: they hold its keys.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError

INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "TMPDIR")  # of the worker, for each server process
WORKSPACE: Final = "workspaceFolder"
_VARIABLE: Final = re.compile(r"\$\{(?:env:)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?\}")


def fill(text: str, env: Mapping[str, str], workspace: Path | None = None) -> str:
    """Return `text` with known variables filled in; the others stay unchanged."""

    def value(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if name == WORKSPACE and workspace is not None:
            return str(workspace)
        known = env.get(name)
        if known is None and name in INHERITED:
            known = os.environ.get(name)
        if default is not None and not known:
            return default
        return match[0] if known is None else known

    return _VARIABLE.sub(value, text)


def resolve(value: Any, env: Mapping[str, str], workspace: Path | None = None) -> Any:
    """Return `value` with the variables in all of its strings filled in, as far as they are known."""
    if isinstance(value, str):
        return fill(value, env, workspace)
    if isinstance(value, Mapping):
        return {str(key): resolve(member, env, workspace) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [resolve(item, env, workspace) for item in value]
    return value


def require(value: Any, where: str) -> None:
    """Raise ConfigurationError for a variable that is left in `value`: a server would take `${TOKEN}` for the token."""
    if isinstance(value, Mapping):
        for member in value.values():
            require(member, where)
    elif isinstance(value, str) and (left := _VARIABLE.search(value)):
        raise ConfigurationError(
            f"{where}: the variable {left['name']} is not in the execution's environment",
            remedy="Attach it to the agent or to one of its environments, or give a default: ${NAME:-default}",
        )


def of_file(text: str) -> dict[str, str]:
    """Return the variables of a file of `NAME=VALUE` lines; `#` begins a comment, quotes around a value go."""
    variables = {}
    for line in text.splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name.strip()):
            value = value.strip()
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            variables[name.strip()] = value[1:-1] if quoted else value.split(" #")[0].rstrip()
    return variables
