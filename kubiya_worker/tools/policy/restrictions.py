"""This module turns `allowed_tools` and `disallowed_tools` of a configuration into rules that deny. Pure.

They hold beside the approval rules at every call, also for tools that an MCP server brings later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.policy import rules

ALLOWED: Final = "allowed_tools"
DISALLOWED: Final = "disallowed_tools"
MODE: Final = "permission_mode"
# Modes of other runtimes that ask no more than this worker's rules do.
HARMLESS: Final = ("default", "acceptEdits", "bypassPermissions")
# Tools of another runtime: a list with them would restrict nothing here.
FOREIGN: Final = frozenset(
    {
        *("Bash", "BashOutput", "Edit", "Glob", "Grep", "KillShell", "LS", "MultiEdit", "NotebookEdit", "NotebookRead"),
        *("Read", "SlashCommand", "Task", "TodoWrite", "WebFetch", "WebSearch", "Write"),
    }
)
FIRST: Final = 10**9  # their priority: above those of rules

Rule = dict[str, Any]


def rules_of(config: Mapping[str, Any]) -> list[Rule]:
    """Return the rules that deny what the configuration does not let its agent use.

    Raise ConfigurationError for a restriction that this worker does not know: the run must not begin without it.
    """
    mode = config.get(MODE)
    if mode and mode not in HARMLESS:
        raise ConfigurationError(
            f"{MODE} {str(mode)[:60]!r} is a restriction that this worker does not know",
            remedy=f"Take it out of the configuration; approval rules, {ALLOWED} and {DISALLOWED} say what may run",
        )
    allowed, disallowed = _names(config, ALLOWED), _names(config, DISALLOWED)
    denials = [_deny(DISALLOWED, "tool", name) for name in disallowed]
    return [*denials, _deny(ALLOWED, "other_tools", " ".join(allowed))] if allowed else denials


def permits(denials: Iterable[Rule], spec: ToolSpec) -> bool:
    """Return whether the rules of `rules_of` let a tool be offered to the model."""
    return rules.decide(spec, {}, denials).kind != "deny"


def _names(config: Mapping[str, Any], key: str) -> list[str]:
    names = config.get(key) or []
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise ConfigurationError(f"{key} is a list of names of tools, not {str(names)[:60]!r}", remedy=_REMEDY)
    for name in names:
        if name.partition("(")[0] in FOREIGN or not set(name).isdisjoint("( "):
            raise ConfigurationError(f"{key} names {name[:60]!r}, which is no tool of this worker", remedy=_REMEDY)
    return names


_REMEDY: Final = "Name tools as the agent sees them, such as shell, save_file or tickets_*: docs/policy.md"


def _deny(key: str, scope: str, value: str) -> Rule:
    return {"name": key, "scope_type": scope, "scope_value": value, "action": "deny", "priority": FIRST}
