"""What others wrote: which results taint an execution, and what a tainted one asks a person for. Pure.

A web page, a ticket or a file can hold text that tries to instruct the model. `taint` in a configuration says whose
text counts (docs/decisions/003-taint.md):

    off   nobody's
    web   what comes from outside the host: the web and MCP servers. The default
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
    """`taint` of the entity, the input and the leader: nobody lifts what another asks for; a misspelling is `ask`.

    None is no word on it. When nobody says anything it is the default.
    """
    said = [_mode(setting) for setting in settings if setting is not None]
    return max(said, key=_ORDER.index, default=DEFAULT)


def _mode(setting: Any) -> str:
    if setting is False:  # YAML reads a bare off as false
        return OFF
    return setting if setting in _ORDER else ASK


def tainted_by(mode: str, spec: ToolSpec, taints: bool | None, remote: bool | None) -> bool:
    """Whether a result taints. `taints` and `remote` are the result's own word; None leaves it to the spec."""
    others = spec.taints if taints is None else taints
    outside = spec.remote if remote is None else remote
    return others and (outside or mode != WEB)


def guarded(mode: str, spec: ToolSpec) -> tuple[str, ...]:
    """The effects of a tool for which a tainted execution asks.

    With `web`, sending only where an administrator has named the receiver is not one: it can tell nobody else.
    """
    if mode == OFF:
        return ()
    return tuple(e for e in spec.effects if not (mode == WEB and spec.named and e == "egress"))


def inherited(mode: str, session: Iterable[Mapping[str, Any]]) -> bool:
    """Whether an execution begins tainted that takes up a session with these messages."""
    results = [message for message in session if message.get("role") == "tool"]
    return bool(results) if mode == ASK else any(message.get("tainted") for message in results)


def prompted(mode: str, user_metadata: Mapping[str, Any]) -> bool:
    """Whether the prompt itself holds what others wrote: a webhook's payload, filled into a job's template.

    Our control plane says so; of another one a webhook is enough.
    """
    return mode != OFF and bool(user_metadata.get("tainted", user_metadata.get("trigger_type") == "webhook"))
