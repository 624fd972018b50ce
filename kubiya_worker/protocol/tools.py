"""This module describes a tool for the model and for the policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

RISKS: Final = ("low", "medium", "high", "critical")
EFFECTS: Final = ("write", "exec", "egress")
OWN_SKILL: Final = "definition"  # source of a skill that came with the execution's own definition (a dynamic agent)


@dataclass(frozen=True)
class ToolSpec:
    """One tool of an execution; `parameters` is the JSON schema of its arguments (type object).

    `idempotent` tools may run again when their worker died; others run at most once. `timeout` is in seconds.
    `brief` tools are idempotent, start no program, and nearly all of their calls are over within milliseconds: a call
    is made within the workflow's own task, so it costs Temporal no task of its own.
    `risk` is one of RISKS; `category` one of command_execution, file_operation, file_search, network, general.
    `taints`: results hold text of others (files, the web, an MCP server), which may try to instruct the model.
    `remote`: those others are outside this host (the web, an MCP server).
    `effects` are those of EFFECTS that a call can have: it changes something, runs code, or sends data out.
    `named`: it sends only to receivers that its configuration names.
    `asks`: the call is a question to a person, who is asked whatever the rules allow and whose answer is the result.
    `confirms`: a person is asked before each call, unless a rule allows it.
    `ruled_as`: a rule that asks for, or denies, the tool of this name holds for this tool too.
    `origin` says where a tool of another program comes from ("server/tool" for MCP), `server` which part of it is the
    server's name: both names may hold a "/".
    `names` turns property names as sent to a model back into the tool's own (tools/schemas.py).
    """

    name: str
    description: str
    parameters: dict[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    idempotent: bool = False
    risk: str = "low"
    category: str = "general"
    source: str = "skill"  # skill | mcp | builtin | custom
    timeout: float = 60.0
    taints: bool = False
    effects: tuple[str, ...] = ()
    origin: str = ""
    remote: bool = False
    named: bool = False
    asks: bool = False
    confirms: bool = False
    ruled_as: str = ""
    server: str = ""
    names: dict[str, dict[str, str]] = field(default_factory=dict)
    brief: bool = False

    def wire(self) -> dict[str, Any]:
        """Return what `parse` reads. Defaults are left out: each execution's history has all of its tools."""
        values = ((name, getattr(self, name)) for name in self.__dataclass_fields__)
        told = {name: value for name, value in values if name in _ALWAYS_TOLD or value != getattr(_DEFAULTS, name)}
        return told | {"effects": list(self.effects)} if self.effects else told

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> ToolSpec:
        known = {name: raw[name] for name in cls.__dataclass_fields__ if name in raw}
        return cls(**{**known, "effects": tuple(known.get("effects") or ())})


_ALWAYS_TOLD: Final = ("name", "description", "parameters")
_DEFAULTS: Final = ToolSpec("", "")
