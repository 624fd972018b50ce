"""This module has the keys that the settings of an MCP server can have; `tools/mcp/config.py` says what they mean.

A control plane that took another key would store a wish, or a restriction, that no worker keeps.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final

OWN: Final = frozenset(
    (
        *("command", "args", "env", "envFile", "cwd", "url", "type", "headers", "oauth", "enabled", "disabled"),
        *("timeout", "call_timeout", "max_call_timeout", "required", "shared", "tools", "excludeTools"),
        *("description", "autoApprove", "confinement", "read_paths", "write_paths", "network", "grants"),
    )
)
# The spellings that the files of other clients use for the same thing.
ALIASES: Final = {
    "httpUrl": "url",
    "serverUrl": "url",
    "server_url": "url",
    "transport_type": "type",
    "transport": "type",
    "env_file": "envFile",
    "includeTools": "tools",
    "disabledTools": "excludeTools",
    "alwaysAllow": "autoApprove",
    "trust": "autoApprove",
    **dict.fromkeys(("name", "title", "icon", "note"), "description"),
}


def check_named(servers: Mapping[str, Any]) -> None:
    """Do as `check` for servers of which some are only named: {ref: NAME} of one that the control plane stores."""
    for name, server in servers.items():
        if isinstance(server, Mapping) and "ref" in server and (len(server) > 1 or not isinstance(server["ref"], str)):
            raise ValueError(f"the MCP server {name!r} has a ref, so nothing else: its settings are at that server")
    check({name: server for name, server in servers.items() if not isinstance(server, Mapping) or "ref" not in server})


def check(servers: Mapping[str, Any]) -> None:
    """Raise ValueError, with the nearest known name, for a server that is no object or has an unknown key."""
    known = [*OWN, *ALIASES]
    for name, server in servers.items():
        if not isinstance(server, Mapping):
            raise ValueError(f"the MCP server {name!r} is not an object")
        if "ref" in server:
            raise ValueError(f"the MCP server {name!r} is named by ref: an agent, a team or an environment can do that")
        for key in server:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                meant = f". Did you mean {near[0]}?" if near else f". Known keys: {', '.join(sorted(OWN))}"
                raise ValueError(f"the MCP server {name!r} has the unknown key {key!r}{meant}")
