"""This module reads a team's configuration, writes the leader's instructions, and finds a message's receiver. Pure.

Our keys in `configuration`, beside the published ones (protocol.md#a7): `mode` (one of MODES), `leader_id` (an agent
whose prompt and model the leader has), `member_queues` (member id or name -> worker queue) and `member_timeout`
(seconds of work, without waiting for people).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kubiya_worker.protocol.tools import ToolSpec

COORDINATE: Final = "coordinate"  # the leader asks members as it decides, and answers
ROUTE: Final = "route"  # the leader picks one member, whose answer is the team's
COLLABORATE: Final = "collaborate"  # all members work at the same time, then the leader joins their answers
# Members work one after the other, each with the earlier answers; the last answer is the team's.
SEQUENTIAL: Final = "sequential"
MODES: Final = (COORDINATE, ROUTE, COLLABORATE, SEQUENTIAL)

MEMBER_TIMEOUT: Final = 3600.0  # seconds
PREFIX: Final = "ask_"
NAME_LIMIT: Final = 64  # characters of a tool's name that model providers take (docs/protocol.md#d4)
REQUEST: Final = 8_000  # characters of the original request that an asked agent gets
CATEGORY: Final = "delegation"  # the policy's category of asking a member

PARAMETERS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "task": {
            "type": "string",
            "description": "What the member is to do, complete in itself: it sees nothing of this conversation.",
        },
        "context": {"type": "string", "description": "Facts that the member needs and cannot find out itself."},
    },
    "required": ["task"],
    "additionalProperties": False,
}

_MODE_TEXT: Final = {
    COORDINATE: "Give each member the part that it is best at, at the same time where parts do not depend on each "
    "other, and make one answer of what comes back. A member that fails is not the end: go on without it and say so.",
    ROUTE: "Pick the one member that fits the task best and hand the task over; its answer is the answer. "
    "Pick another one only when it fails.",
    COLLABORATE: "All members have been asked. Make one answer of what they say; name what they disagree on.",
    SEQUENTIAL: "The members work one after the other.",
}
_ADDRESS: Final = re.compile(r"^\s*@(\S+?)[:,]?\s+(.*)$", re.DOTALL)


@dataclass(frozen=True)
class TeamConfig:
    mode: str = COORDINATE
    member_ids: tuple[str, ...] = ()
    instructions: str = ""
    leader_id: str = ""
    member_queues: Mapping[str, str] = field(default_factory=dict)
    member_timeout: float = MEMBER_TIMEOUT
    llm: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> TeamConfig:
        """Return the configuration; raise ValueError with the problem."""
        mode = str(raw.get("mode") or COORDINATE).lower()
        if mode not in MODES:
            raise ValueError(f"the team's mode {mode!r} is not one of {', '.join(MODES)}")
        for name, kind in (("member_ids", list), ("member_queues", dict), ("llm", dict)):
            if not isinstance(raw.get(name) or kind(), kind):
                raise ValueError(f"the team's {name} is not {'a list' if kind is list else 'an object'}")
        try:
            timeout = float(raw.get("member_timeout") or MEMBER_TIMEOUT)
        except (TypeError, ValueError):
            timeout = 0.0
        if timeout <= 0:
            raise ValueError(f"the team's member_timeout {raw['member_timeout']!r} is not a number of seconds above 0")
        instructions = raw.get("instructions") or ""
        return cls(
            mode=mode,
            member_ids=tuple(dict.fromkeys(str(i) for i in raw.get("member_ids") or ())),
            instructions="\n".join(map(str, instructions)) if isinstance(instructions, list) else str(instructions),
            leader_id=str(raw.get("leader_id") or ""),
            member_queues={str(k): str(v) for k, v in (raw.get("member_queues") or {}).items()},
            member_timeout=timeout,
            llm=dict(raw.get("llm") or {}),
        )


def tool_names(names: Iterable[str]) -> list[str]:
    """Return one unique tool name per member, in order.

    It is `ask_` and the member's name in the letters that providers take.
    """
    used_names: list[str] = []
    for name in names:
        slug = re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_").lower() or "member"
        base = f"{PREFIX}{slug}"[: NAME_LIMIT - 4]
        candidate, number = base, 1
        while candidate in used_names:
            number += 1
            candidate = f"{base}_{number}"
        used_names.append(candidate)
    return used_names


def spec_of(member: Mapping[str, Any]) -> ToolSpec:
    """Return the member as a tool of its leader; a repeated call runs it once, because the run has its own name."""
    about = str(member.get("description") or "").strip().rstrip(".")
    kind = "team" if member.get("kind") == "team" else "member"
    return ToolSpec(
        name=str(member["tool"]),
        description=f"Ask the {kind} {member['name']!r}{f' ({about})' if about else ''} to do a task. "
        "It works on its own and answers when it is done.",
        parameters=PARAMETERS,
        idempotent=True,
        category=CATEGORY,
        source="builtin",
        timeout=60.0,
    )


def is_member(spec: ToolSpec) -> bool:
    """Return whether a tool stands for a member; other tools can also pass tasks on, to agents that they name."""
    return spec.category == CATEGORY and spec.source == "builtin"


def member_of(members: Iterable[Mapping[str, Any]], tool: str) -> Mapping[str, Any] | None:
    return next((member for member in members if member["tool"] == tool), None)


def briefing(name: str, mode: str, members: Sequence[Mapping[str, Any]]) -> str:
    """Return the leader's instructions about its team, which follow its own prompt."""
    lines = [f"You lead the team {name!r}. Its members, each of which you ask with a tool:"]
    for member in members:
        about = str(member.get("description") or "").strip()
        lines.append(f"- {member['name']} ({member['tool']}){f': {about}' if about else ''}")
    return "\n".join([*lines, _MODE_TEXT[mode]])


def addressed(text: str, members: Iterable[str], field: str | None = None) -> tuple[str | None, str]:
    """Return (the member that a message is for, or None for the team; the text without the address).

    `field` is the message's own `member`. `@name` counts only when there is a member of that name: any other text that
    begins with an @ is for the team, unchanged.
    """
    known = {name.lower(): name for name in members}
    if isinstance(field, str) and field.lower() in known:
        return known[field.lower()], text
    match = _ADDRESS.match(text)
    if match and match[1].lower() in known:
        return known[match[1].lower()], match[2]
    return None, text


def within(task: str, request: str) -> str:
    """Return a task with the request that it is a part of."""
    shown = request if len(request) <= REQUEST else f"{request[:REQUEST]} …"
    return f"{task}\n\nThe request that this is part of:\n{shown}" if request else task


def depth_of(metadata: Mapping[str, Any]) -> int:
    """Return how many executions have asked one another before one with this metadata (docs/protocol.md#d3)."""
    depth = metadata.get("execution_depth")
    return depth if isinstance(depth, int) and not isinstance(depth, bool) and depth > 0 else 0


def task_text(arguments: Mapping[str, Any]) -> str:
    """Return the text that a member starts with."""
    context = str(arguments.get("context") or "").strip()
    return f"{str(arguments.get('task') or '').strip()}{f'{chr(10) * 2}Context:{chr(10)}{context}' if context else ''}"
