"""This module serves skills and MCP servers that agents, teams and environments name.

They are in the paths by id or name. A change holds for running executions too, at their next call.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from starlette.routing import Route

from kubiya_worker.server import shared_parts
from kubiya_worker.server.api import deletion
from kubiya_worker.server.call import Call, page
from kubiya_worker.server.definition_users import naming_part, shown_users
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import filters
from kubiya_worker.server.edges import shared_parts as edges
from kubiya_worker.server.edges.base import Strict
from kubiya_worker.server.edges.problems import problem
from kubiya_worker.server.refusals import ApiError, invalid, not_found
from kubiya_worker.server.shared_parts import SERVER, SKILL, WORDS
from kubiya_worker.server.store import definitions
from kubiya_worker.server.store.records import Object, Records

PATHS: Final = {SKILL: "/skills", SERVER: "/mcp-servers"}
MODELS: Final[dict[str, tuple[type[Strict], type[Strict]]]] = {
    SKILL: (edges.NewSkill, edges.SkillPatch),
    SERVER: (edges.NewMcpServer, edges.McpServerPatch),
}
_NEW: Final = {SKILL: definitions.new_skill, SERVER: definitions.new_mcp_server}


def store_of(call: Call, kind: str) -> Records:
    return call.plane.stores.skills if kind == SKILL else call.plane.stores.mcp_servers


def whole(call: Call, definition: Object) -> Object:
    """Return an agent, a team or an environment with what it names in the place of each reference."""
    return shared_parts.whole(definition, functools.partial(call.plane.stores.shared_part, call.organization_id))


def check(call: Call, fields: Object) -> None:
    """Answer 422 for each reference of a definition to nothing, with its place, and for one that is there twice."""
    problems, seen = [], set[str]()
    for place, kind, name in shared_parts.references_in(fields):
        where = ["body", *place]
        if store_of(call, kind).find(call.organization_id, name) is None:
            known = ", ".join(each["name"] for each in store_of(call, kind).list(call.organization_id)[:20]) or "none"
            problems.append(problem(where, f"There is no {WORDS[kind]} {name!r}; there are: {known}", "value_error"))
        if kind == SKILL and name in seen:
            problems.append(problem(where, f"The skill {name!r} is there twice", "value_error"))
        seen |= {name} if kind == SKILL else set()
    if problems:
        raise ApiError(422, problems)


def by_name(call: Call, fields: Object) -> Object:
    """Return a definition's fields with references by name only.

    What a reference is shown with, such as its type, is taken when it is as stored, and refused when it says
    something else: that is changed at the skill itself.
    """
    skills = []
    for number, skill in enumerate(fields.get("skills") or ()):
        name = skill.get(shared_parts.REF)
        if not name:
            skills.append(skill)
            continue
        stored = store_of(call, SKILL).find(call.organization_id, name) or {}
        own = {key: value for key, value in skill.items() if key not in (shared_parts.REF, "enabled")}
        other = [key for key, value in own.items() if value != stored.get(key)]
        if stored and other:
            text = f"{', '.join(other)}: of the skill {name!r}, which others may have too: change it there"
            raise ApiError(422, [problem(["body", "skills", number, other[0]], text, "value_error")])
        reference = {"name": stored.get("name", name), shared_parts.REF: stored.get("name", name)}
        skills.append({**reference, "enabled": bool(skill.get("enabled", True))})
    return {**fields, "skills": skills} if "skills" in fields else fields


def _checked(kind: str, part: Object) -> Object:
    """Return what is to be stored; answer 422 for a server that a worker could not use."""
    if kind == SERVER:
        if bool(part.get("command")) == bool(part.get("url")):
            raise invalid("command", "An MCP server has a command or a url: give one of them", "missing")
        if part.get("oauth") and part.get("command"):
            raise invalid("oauth", "oauth is for a server with a url; give a command its credentials in env")
    return part


def _routes(kind: str) -> list[Route]:
    parameter = "skill" if kind == SKILL else "server"

    def part_of(call: Call) -> Object:
        part = store_of(call, kind).find(call.organization_id, call.path(parameter))
        if part is None:
            raise not_found(WORDS[kind], call.path(parameter))
        return part

    def shown(call: Call, part: Object) -> Object:
        users = naming_part(call.plane.stores, call.organization_id, kind, part["name"])
        return {**part, "used_by": shown_users(users)}

    async def list_all(call: Call) -> Any:
        """List them, each with the agents, teams and environments that name it: used_by {kind, id, name}."""
        return [shown(call, each) for each in page(call, store_of(call, kind).list(call.organization_id))]

    async def create(call: Call) -> Any:
        part = _checked(kind, _NEW[kind](call.fields))
        return shown(call, store_of(call, kind).create(call.organization_id, call.fields["name"], part))

    async def get(call: Call) -> Any:
        return shown(call, part_of(call))

    async def update(call: Call) -> Any:
        part = part_of(call)
        _checked(kind, {**part, **call.fields})
        return shown(call, store_of(call, kind).update(part, call.fields))

    async def delete(call: Call) -> Any:
        """Delete it; one that agents, teams or environments name is refused with their list (409)."""
        part = part_of(call)
        remove = functools.partial(store_of(call, kind).delete, part)
        return deletion.delete(call, WORDS[kind], part, lambda needs: needs.of_part(kind, part), remove)

    collection, (created, changed) = PATHS[kind], MODELS[kind]
    one = f"{collection}/{{{parameter}}}"
    single = [] if kind == SKILL else [Edge("GET", one, get)]  # that of skills is in execute.py
    return [
        Edge("GET", collection, list_all, query=filters.Page),
        Edge("POST", collection, create, 201, body=created, audit=f"{kind}.create"),
        *single,
        Edge("PATCH", one, update, body=changed, audit=f"{kind}.update"),
        Edge("DELETE", one, delete, query=filters.Deletion, audit=f"{kind}.delete"),
    ]


ROUTES: list[Route] = [*_routes(SKILL), *_routes(SERVER)]
