"""This module describes what definition files can hold: a JSON schema for editors, and tables for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from kubiya_worker.server.definition_fields import DefinitionField, kinds_of
from kubiya_worker.server.edges import manifests
from kubiya_worker.server.edges.base import Strict, fields_of

_ABOUT: Final = {
    "Secret": "A secret: a `source` that the control plane reads, or `value_from`, which `kubiya apply` reads where it "
    "runs: a variable (`env`) or a file (`file`). Without both, the secret has to be there already.",
    "Skill": "A skill that agents and teams name in `skills`, in place of repeating it.",
    "MCPServer": "An MCP server that agents, teams and environments name in `mcp_servers`: a `command` or a `url`.",
    "Environment": "Variables and MCP servers for the agents and teams that name the environment.",
    "Queue": "A worker queue: workers are started for it, and work is sent to it.",
    "Model": "A model that agents name in `model_id`: where workers reach it, and which queues have it (all, if "
    "`queues` is absent). `api_key` names a variable of the workers.",
    "Agent": "An agent: its instructions, its model and its skills.",
    "Team": "Agents that work together. Members and the leader are given by name.",
    "Rule": "A rule that asks a person about a tool call, allows it or denies it.",
    "Job": "A prompt for an agent or a team that a schedule, a webhook or a person starts.",
    "Notification": "A channel, and who is told of what by it.",
    "Hook": "An address for alerts: which sender may post there, how it proves that, and which agent or team works on "
    "what it brings.",
}
_NEEDS_SPEC: Final = frozenset({"Skill", "MCPServer", "Model", "Rule", "Job", "Notification", "Hook"})
_NOT_IN_FILES: Final = frozenset({("Secret", "value")})  # kubiya apply sends it, and refuses it in a file


def schema() -> dict[str, Any]:
    """Return the JSON schema of one document, for editors."""
    kinds: list[dict[str, Any]] = []
    definitions: dict[str, Any] = {}
    for kind in manifests.KINDS:
        spec = _without_refused(kind)
        definitions |= spec.pop("$defs", {})
        kinds.append(
            {
                "title": kind,
                "description": _ABOUT[kind],
                "type": "object",
                "properties": {"kind": {"const": kind}, "name": {"type": "string", "minLength": 1}, "spec": spec},
                "required": ["kind", "name", *(["spec"] if kind in _NEEDS_SPEC else [])],
                "additionalProperties": False,
            }
        )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A definition of Kubiya Worker",
        "oneOf": kinds,
        "$defs": definitions,
    }


def _without_refused(kind: str) -> dict[str, Any]:
    """Return the schema of a kind's spec without the fields that are refused by name."""
    model: type[Strict] = manifests.SPECS[kind]
    schema = model.model_json_schema()
    accepted = {name for name, refused in fields_of(model).items() if refused is None}
    accepted -= {name for of, name in _NOT_IN_FILES if of == kind}
    schema["properties"] = {name: value for name, value in schema.get("properties", {}).items() if name in accepted}
    return schema


def reference() -> str:
    """Return a section in Markdown for each kind, and for each object in it that has fields of its own."""
    return "\n".join(section for kind in kinds_of(schema()) for section in _sections(kind.name.lower(), kind, "##"))


def _sections(path: str, field: DefinitionField, head: str) -> Iterator[str]:
    title = field.name if head == "##" else f"`{path}`"
    about = [field.about, ""] if head == "##" else []
    rows = [f"| `{each.name}` | {_type(each)} | {each.about.replace('|', '&#124;')} |" for each in field.fields]
    yield "\n".join([f"{head} {title}", "", *about, "| field | type | what it is for |", "|---|---|---|", *rows, ""])
    for each in field.fields:
        if each.fields:
            yield from _sections(f"{path}.{each.name}", each, "###")


def _type(field: DefinitionField) -> str:
    return f"{field.type}, required" if field.required else field.type
