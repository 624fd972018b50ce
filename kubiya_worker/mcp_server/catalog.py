"""The tools that an MCP client sees: one for each agent and team, and three for executions. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

DEFAULT_WAIT: Final = 50.0  # seconds; most clients give a call up after a minute without progress
LONGEST_WAIT: Final = 3_600.0
FOLLOW: Final = "follow_execution"
SEND: Final = "send_message"
CANCEL: Final = "cancel_execution"
INSTRUCTIONS: Final = (
    "Agents and teams that work on a server, durably: a run goes on when this client is gone. Each tool that begins "
    "with agent_ or team_ starts a run and returns its execution_id, with the answer if it is there in time. Otherwise "
    f"call {FOLLOW}. Only a person can approve a step or answer a question of a run; do not answer for them."
)
_WAIT: Final = {
    "type": "number",
    "minimum": 0,
    "maximum": LONGEST_WAIT,
    "description": f"Seconds to wait for the answer; default {DEFAULT_WAIT:g}. The run goes on after that",
}
_EXECUTION: Final = {"type": "string", "minLength": 1, "description": "The execution_id that a start has returned"}


@dataclass(frozen=True)
class OfferedTool:
    """One tool. `kind` is `agent` or `team`, with the entity's id, or empty for a tool for executions."""

    name: str
    description: str
    schema: Mapping[str, Any]
    kind: str = ""
    entity: str = ""
    reads: bool = False  # it changes nothing


def tools(agents: Iterable[Mapping[str, Any]], teams: Iterable[Mapping[str, Any]]) -> dict[str, OfferedTool]:
    """Return all tools by name. Entities of one name get a number, in the order of their ids."""
    tools: dict[str, OfferedTool] = {}
    for kind, entities in (("agent", agents), ("team", teams)):
        for entity in sorted(entities, key=lambda one: (str(one.get("name")), str(one.get("id")))):
            name = _free(f"{kind}_{_slug(str(entity.get('name') or entity['id']))}", tools)
            tools[name] = _starting(name, kind, entity)
    for own in _FOR_EXECUTIONS:
        tools[own.name] = own
    return tools


def chosen(entities: Sequence[Mapping[str, Any]], names: Sequence[str], all_without: bool) -> list[Mapping[str, Any]]:
    """Return the entities with these names or ids; with no names all of them, or none."""
    if not names:
        return list(entities) if all_without else []
    return [one for one in entities if str(one.get("name")) in names or str(one.get("id")) in names]


def _starting(name: str, kind: str, entity: Mapping[str, Any]) -> OfferedTool:
    about = " ".join(str(entity.get("description") or "").split())[:1_000]
    first = f"Start a run of the {kind} {entity.get('name') or entity['id']} on a task."
    task = {"type": "string", "minLength": 1, "description": "What to do, with all that it needs to know"}
    schema = _object({"task": task, "wait_seconds": _WAIT}, "task")
    return OfferedTool(name, f"{first} {about}".strip(), schema, kind, str(entity["id"]))


def _object(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


_FOR_EXECUTIONS: Final = (
    OfferedTool(
        FOLLOW,
        "Wait for a run, and read its status and its answer. A question or an approval of the run is shown to the "
        "person.",
        _object({"execution_id": _EXECUTION, "wait_seconds": _WAIT}, "execution_id"),
        reads=True,
    ),
    OfferedTool(
        SEND,
        "Send a further message to a run, then wait for its answer. A run that is over goes on with it.",
        _object(
            {"execution_id": _EXECUTION, "message": {"type": "string", "minLength": 1}, "wait_seconds": _WAIT},
            *("execution_id", "message"),
        ),
    ),
    OfferedTool(CANCEL, "End a run.", _object({"execution_id": _EXECUTION}, "execution_id")),
)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:48] or "unnamed"


def _free(name: str, taken: Mapping[str, Any]) -> str:
    number, unique_name = 1, name
    while unique_name in taken:
        number += 1
        unique_name = f"{name}_{number}"
    return unique_name
