"""Skill `agent_communication`: asking other agents and teams of the organization.

A tool here only says which agents it may ask and on what terms. The asking is done elsewhere: an agent that is waited
for is a child workflow, like a team's member, and takes no slot while it works; one that is not waited for is a
separate execution, which the control plane starts (activities/delegation.py).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kubiya_worker.protocol import team
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult, refusal
from kubiya_worker.tools.skill_configuration import Skill

TYPES: Final = ("agent_communication",)
KEYS: Final = {
    "allowed_operations": "Of execute_agent, execute_team, followup_execution, get_execution_status (all that the "
    "other keys leave)",
    "allowed_agents": 'Names (with `*`) or ids of agents that may be asked, or "*" for every one (none)',
    "allowed_teams": "The same for teams (none)",
    "max_execution_depth": "How many executions may ask one another in a row, 0 to 10 (2); a budget's `max_depth` "
    "holds as well",
    "timeout": "Seconds that an agent may work which is waited for, 30 to 3600; waiting for people excluded (300)",
    "wait_for_completion": "Whether an answer is waited for; false starts an execution of its own, and offers "
    "followup_execution and get_execution_status for it (true)",
    "inherit_context": "Whether who is asked is told the request that the asking agent works at (false)",
    "max_concurrent_calls": "How many that are waited for may work at the same time, 1 to 100 (3); further ones wait",
    "allow_session_continuation": "Whether followup_execution is offered (true)",
    "streaming_enabled": "Whether the asking execution's stream shows text while it is written (true)",
}
EXECUTE_AGENT: Final = "execute_agent"
EXECUTE_TEAM: Final = "execute_team"
FOLLOW_UP: Final = "followup_execution"
STATUS: Final = "get_execution_status"
OPERATIONS: Final = (EXECUTE_AGENT, EXECUTE_TEAM, FOLLOW_UP, STATUS)
_EXECUTION: Final = {"type": "string", "minLength": 1, "maxLength": 200, "description": "As execute_… has returned it"}


@dataclass(frozen=True)
class Terms:
    """The configuration of one skill; patterns are those of fnmatch, and seconds limit the work."""

    skill: str
    agents: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    max_depth: int = 2
    timeout: float = 300.0
    wait: bool = True
    inherit_context: bool = False
    concurrent: int = 3
    streaming: bool = True

    def allowed(self, kind: str) -> tuple[str, ...]:
        return self.agents if kind == "agent" else self.teams

    def allows(self, kind: str, entity: Mapping[str, Any]) -> bool:
        """Return whether the agent or team may be asked, by the name and the id that the control plane gives."""
        name, identity = str(entity.get("name") or "").lower(), str(entity.get("id") or "")
        return any(pattern == identity or fnmatch.fnmatchcase(name, pattern.lower()) for pattern in self.allowed(kind))


def build(skill: Skill, workspace: Path) -> list[Tool]:
    terms = Terms(
        skill=skill.name,
        agents=skill.strings("allowed_agents", ()) or (),
        teams=skill.strings("allowed_teams", ()) or (),
        max_depth=_whole_number(skill, "max_execution_depth", 2, 0, 10),
        timeout=skill.number("timeout", 300, 30, 3600),
        wait=skill.flag("wait_for_completion", True),
        inherit_context=skill.flag("inherit_context", False),
        concurrent=_whole_number(skill, "max_concurrent_calls", 3, 1, 100),
        streaming=skill.flag("streaming_enabled", True),
    )
    # The published server sends empty lists by default: offer what can work then, and no more.
    possible = {EXECUTE_AGENT: bool(terms.agents), EXECUTE_TEAM: bool(terms.teams)}
    possible |= {
        FOLLOW_UP: not terms.wait and skill.flag("allow_session_continuation", True),
        STATUS: not terms.wait or not (terms.agents or terms.teams),
    }
    wanted = skill.strings("allowed_operations", OPERATIONS) or ()
    for name in wanted:
        if name not in OPERATIONS:
            raise skill.wrong("allowed_operations", f"a list of {', '.join(OPERATIONS)}; {name!r} is none of them")
    return [Communication(name, terms) for name in OPERATIONS if name in wanted and possible[name]]


def _whole_number(skill: Skill, key: str, default: int, low: int, high: int) -> int:
    value = skill.number(key, default, low, high)
    if value != int(value):
        raise skill.wrong(key, f"a whole number from {low} to {high}")
    return int(value)


class Communication:
    """One operation, which `call_tool` recognises and does not run as a tool."""

    def __init__(self, operation: str, terms: Terms) -> None:
        self.operation, self.terms = operation, terms
        self.spec = _spec(operation, terms)

    @property
    def kind(self) -> str:
        """Return the kind that it asks: agent or team."""
        return "team" if self.operation == EXECUTE_TEAM else "agent"

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        return refusal("Only an execution can ask others")


def _spec(operation: str, terms: Terms) -> ToolSpec:
    if operation in (FOLLOW_UP, STATUS):
        message = {"type": "string", "minLength": 1, "description": "What is said to it"}
        follows = operation == FOLLOW_UP
        return ToolSpec(
            name=operation,
            description="Say something to an execution that you have started."
            if follows
            else "How far an execution is that you have started, and what it has answered.",
            parameters={
                "type": "object",
                "properties": {"execution_id": _EXECUTION, **({"message": message} if follows else {})},
                "required": ["execution_id", *(["message"] if follows else [])],
                "additionalProperties": False,
            },
            idempotent=not follows,
            risk="medium" if follows else "low",
            category=team.CATEGORY,
            taints=not follows,
            effects=("exec",) if follows else (),
        )
    kind = "team" if operation == EXECUTE_TEAM else "agent"
    who = "any of the organization" if "*" in terms.allowed(kind) else ", ".join(terms.allowed(kind))
    ending = "and read its answer" if terms.wait else "without waiting for it; the result is the id of its execution"
    name = {"type": "string", "minLength": 1, "maxLength": 200, "description": f"Its name. May be asked: {who}"}
    return ToolSpec(
        name=operation,
        description=f"Give a task to another {kind}, which works on its own, {ending}. May be asked: {who}.",
        parameters={
            "type": "object",
            "properties": {kind: name, **team.PARAMETERS["properties"]},
            "required": [kind, "task"],
            "additionalProperties": False,
        },
        idempotent=terms.wait,  # a repeated request for a child finds the same child
        risk="medium",
        category=team.CATEGORY,
        # A child shares its asker's taint, and asks people itself; a separate execution does not.
        effects=() if terms.wait else ("exec",),
    )
