"""This module decides which results taint an execution, and what a tainted one asks a person for. Pure.

A web page, a ticket or a file can hold text that tries to instruct the model. `taint` in a configuration says which
text counts (docs/decisions/003-taint.md):

    off   none
    web   text from outside the host: the web and MCP servers. The default
    ask   also files and the output of programs
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from kubiya_worker.protocol.tools import ToolSpec

OFF: Final = "off"
WEB: Final = "web"
ASK: Final = "ask"
DEFAULT: Final = WEB
_ORDER: Final = (OFF, WEB, ASK)


def strictest(*settings: Any) -> str:
    """Return the strictest `taint` of the entity, the input and the leader; a misspelt one counts as `ask`.

    None means not set. If nobody sets it, the default holds.
    """
    modes = [_mode(setting) for setting in settings if setting is not None]
    return max(modes, key=_ORDER.index, default=DEFAULT)


def _mode(setting: Any) -> str:
    if setting is False:  # YAML reads a bare off as false
        return OFF
    return setting if setting in _ORDER else ASK


def tainted_by(mode: str, spec: ToolSpec, taints: bool | None, remote: bool | None) -> bool:
    """Return whether a result taints; `taints` and `remote` are the result's own, None leaves them to the spec."""
    others = spec.taints if taints is None else taints
    outside = spec.remote if remote is None else remote
    return others and (outside or mode != WEB)


def guarded(mode: str, spec: ToolSpec) -> tuple[str, ...]:
    """Return the effects of a tool for which a tainted execution asks a person.

    With `web`, sending only to receivers that an administrator has named is not such an effect: nobody else gets the
    data.
    """
    if mode == OFF:
        return ()
    return tuple(e for e in spec.effects if not (mode == WEB and spec.named and e == "egress"))


def inherited(mode: str, session: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether an execution that continues a session with these messages begins tainted."""
    results = [message for message in session if message.get("role") == "tool"]
    return bool(results) if mode == ASK else any(message.get("tainted") for message in results)


def prompted(mode: str, user_metadata: Mapping[str, Any]) -> bool:
    """Return whether the prompt itself holds text of others: a webhook's payload, filled into a job's template.

    Our control plane says so; with another one, every webhook counts.
    """
    return mode != OFF and bool(user_metadata.get("tainted", user_metadata.get("trigger_type") == "webhook"))
