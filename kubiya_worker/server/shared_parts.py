"""This module puts the skills and MCP servers that definitions name in their places.

A definition stores a reference, so a change of the skill or server holds for all that name it, at their next call.
What leaves the control plane for a worker never has a reference: it is as if the definition had the thing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from kubiya_worker.server.store.records import Object

SKILL: Final = "skill"
SERVER: Final = "mcp_server"
WORDS: Final = {SKILL: "skill", SERVER: "MCP server"}
REF: Final = "ref"
SERVERS: Final = ("mcp_servers", "mcpServers")  # keys of a configuration that hold MCP servers
_OF_RECORDS: Final = frozenset({"id", "organization_id", "name", "created_at", "updated_at", "applied_from"})

Find = Callable[[str, str], Object | None]  # (SKILL or SERVER, name) -> what is stored
Place = tuple[str | int, ...]


def references_in(definition: Mapping[str, Any]) -> Iterator[tuple[Place, str, str]]:
    """Yield (place, SKILL or SERVER, name) of each reference of an agent, a team or an environment. Pure."""
    for number, skill in enumerate(definition.get("skills") or ()):
        if skill.get(REF):
            yield ("skills", number, REF), SKILL, skill[REF]
    for place, servers in _maps(definition):
        for name, server in servers.items():
            if isinstance(server, Mapping) and server.get(REF):
                yield (*place, name), SERVER, server[REF]


def named_in(definition: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return (SKILL or SERVER, name) of all that a definition names. Pure."""
    return {(kind, name) for _, kind, name in references_in(definition)}


def _maps(definition: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
    """Yield each map of MCP servers, with its place."""
    for part, keys in (("configuration", SERVERS), ("execution_environment", SERVERS[:1])):
        inside = definition.get(part) or {}
        for key in keys:
            if isinstance(inside.get(key), Mapping):
                yield (part, key), inside[key]


def settings_of(server: Mapping[str, Any]) -> Object:
    """Return the settings of a stored MCP server, as a definition has them. Pure."""
    return {name: value for name, value in server.items() if name not in _OF_RECORDS and value is not None}


def whole(definition: Object, find: Find) -> Object:
    """Return an agent, a team or an environment with what it names in the place of each reference. Pure.

    A reference to nothing stays: a worker refuses it by its name, in place of a run without it.
    """
    changed = dict(definition)
    if "skills" in definition:
        changed["skills"] = [_skill(skill, find) for skill in definition["skills"]]
    for (part, key), servers in _maps(definition):
        changed[part] = {**changed[part], key: {name: _server(server, find) for name, server in servers.items()}}
    return changed


def _skill(skill: Object, find: Find) -> Object:
    if not skill.get(REF):
        return skill
    part = find(SKILL, skill[REF])
    if part is None:
        return {"id": "", "type": skill[REF], "configuration": {}, "description": "", "icon": None, **skill}
    own = {name: part[name] for name in ("id", "name", "type", "description", "icon", "configuration")}
    return {**own, "enabled": part["enabled"] and skill.get("enabled", True), REF: skill[REF]}


def _server(server: Any, find: Find) -> Any:
    part = find(SERVER, server[REF]) if isinstance(server, Mapping) and server.get(REF) else None
    return server if part is None else settings_of(part)


def without(definition: Object, kind: str, name: str) -> Object:
    """Return the fields of a definition that differ when it does not name a skill or a server any more. Pure."""
    changed: Object = {}
    for place, of, named in references_in(definition):
        if (of, named) != (kind, name):
            continue
        if of == SKILL:
            changed["skills"] = [skill for skill in definition["skills"] if skill.get(REF) != name]
        else:
            part, key, own = map(str, place)
            inside: Object = changed.get(part) or definition[part]
            kept = {each: server for each, server in inside[key].items() if each != own}
            changed[part] = {**inside, key: kept}
    return changed
