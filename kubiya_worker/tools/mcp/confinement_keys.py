"""Read the keys by which the settings of an MCP server say what its process may reach."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools.confinement import profile
from kubiya_worker.tools.skill_configuration import Skill

KEYS: Final = {key: f"{about.removesuffix('.')}; for a server with a `command`" for key, about in profile.KEYS.items()}


class ServerKeys(Skill):
    """The keys of a server, which are read like those of a skill."""

    def wrong(self, key: str, wanted: str) -> ConfigurationError:
        return ConfigurationError(
            f"MCP server {self.name!r}: `{key}` is {self.configuration.get(key)!r}", remedy=f"It must be {wanted}"
        )


def check(name: str, given: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for a key with a value that says nothing. The workspace is not known yet."""
    # So places of the worker are refused later, when the server is started.
    profile.of_skill(ServerKeys(name, "mcp", given), Path("/"))


def named_files(args: tuple[str, ...]) -> tuple[str, ...]:
    """Return the arguments that are absolute paths, before templates are filled in."""
    return tuple(each for each in args if each.startswith("/") and "{{" not in each and "${" not in each)
