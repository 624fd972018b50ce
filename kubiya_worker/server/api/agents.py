"""This module serves agents and teams: definitions, skills, environment (docs/protocol.md#a7, #a8).

Paths take an id or a name.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from starlette.routing import Route

from kubiya_worker.server.api import deletion, shared_parts
from kubiya_worker.server.call import Call, page
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import definitions as edges
from kubiya_worker.server.edges import filters
from kubiya_worker.server.edges.base import Strict
from kubiya_worker.server.person import LOCAL, WORKER
from kubiya_worker.server.refusals import ApiError, not_found
from kubiya_worker.server.store import definitions
from kubiya_worker.server.store.records import Object, Records

AGENT: Final = "agent"
TEAM: Final = "team"
MODELS: Final[dict[str, tuple[type[Strict], type[Strict]]]] = {
    AGENT: (edges.NewAgent, edges.AgentPatch),
    TEAM: (edges.NewTeam, edges.TeamPatch),
}
DROPPED: Final = ("last_active_at", "state", "error_message")  # docs/protocol.md#a7
_MEMBER = ("id", "name", "status", "capabilities", "description")


def store_of(call: Call, kind: str) -> Records:
    return call.plane.stores.agents if kind == AGENT else call.plane.stores.teams


def entity_of(call: Call, kind: str, key: str | None = None) -> Object:
    """Return an agent or team by id or name, or answer 404."""
    key = key if key is not None else call.path("entity")
    entity = store_of(call, kind).find(call.organization_id, key)
    if entity is None or not call.person.scope.has_agent(entity["id"]):
        raise not_found(kind.capitalize(), key)
    return entity


def _fields(call: Call) -> Object:
    """Return the fields that the body sets; `model` is another name of `model_id`, `model_config` of `llm_config`."""
    fields = {name: value for name, value in call.fields.items() if name not in DROPPED}
    for name, alias in (("model_id", "model"), ("llm_config", "model_config")):
        if alias in fields:
            fields.setdefault(name, fields.pop(alias))
            fields.pop(alias, None)
    shared_parts.check(call, fields)
    fields = shared_parts.by_name(call, fields)
    if "skills" in fields:
        fields["skills"] = [definitions.skill(s) for s in fields["skills"]]
    return fields


def _shown(call: Call, kind: str, entity: Object) -> Object:
    entity = shared_parts.whole(call, entity)
    entity = {**entity, "skill_ids": [s["id"] for s in entity["skills"]], "projects": []}
    if kind == AGENT:
        return {**entity, "model_config": entity["llm_config"], "environments": []}
    ids = entity["configuration"].get("member_ids")
    members = (
        [call.plane.stores.agents.find(call.organization_id, str(i)) for i in ids] if isinstance(ids, list) else []
    )
    return {**entity, "agents": [{k: m.get(k) for k in _MEMBER} for m in members if m]}


def _check_members(call: Call, kind: str, entity: Object, fields: Object) -> None:
    """Answer 404 for a new member of a team that the caller's key does not reach."""
    ids = (fields.get("configuration") or {}).get("member_ids") if kind == TEAM else None
    for key in ids if isinstance(ids, list) and call.person.scope.limited else ():
        if key not in (entity["configuration"].get("member_ids") or ()):
            entity_of(call, AGENT, str(key))


def _execution(call: Call) -> str:
    return call.filters(filters.EnvironmentFilters).execution_id


def resolved_skills(call: Call, entity: Object, kind: str) -> list[Object]:
    """Return the skills that an agent or a team has now, those that it names in place of the references."""
    skills = shared_parts.whole(call, entity)["skills"]
    return [{**s, "source": kind, "inherited": False} for s in skills if s.get("enabled", True)]


def _ours(call: Call, execution_id: str) -> bool:
    return call.plane.stores.executions.owner(execution_id) == call.organization_id and call.reaches(execution_id)


def resolved_environment(
    call: Call, entity: Object, kind: str, execution_id: str | None = None, execution: Object | None = None
) -> Object:
    """Return the environment variables of a run; later sources replace earlier ones (docs/protocol.md#d5).

    The order is: environments as listed, the entity's own, the execution's. `execution` is its row, if it was read.
    """
    variables: dict[str, str] = {}
    servers: dict[str, Any] = {}
    entity = shared_parts.whole(call, entity)
    environments = [
        call.plane.stores.environments.find(call.organization_id, str(i)) for i in entity["environment_ids"]
    ]
    attached = [shared_parts.whole(call, each) for each in environments if each]
    for source in [*(a["execution_environment"] for a in attached), entity["execution_environment"]]:
        variables |= variables_of(source)
        servers |= source.get("mcp_servers") or {}
    own = _own(call, execution_id)
    variables |= variables_of(own)
    if not _works_for(call, execution_id, entity, execution):  # a member has the run's variables, and its own servers
        own = {}
    prompt = "system_prompt" if kind == AGENT else "instructions"
    return {
        "env_vars": variables,
        "mcp_servers": {**servers, **(own.get("mcp_servers") or {})},
        prompt: entity.get("system_prompt") or entity["configuration"].get("instructions"),
        "description": entity.get("description"),
        "configuration": {**entity["configuration"], **(own.get("configuration") or {})},
    }


def _own(call: Call, execution_id: str | None) -> Object:
    """Return what a run was given for itself: only to its worker, as a person could read credentials there."""
    allowed = call.person.role == WORKER or call.person.id == LOCAL.id
    if not allowed or not execution_id or not _ours(call, execution_id):
        return {}
    return call.plane.stores.executions.own(execution_id)


def _works_for(call: Call, execution_id: str | None, entity: Object, execution: Object | None) -> bool:
    """Return whether the execution is one of this entity itself."""
    if execution is None and execution_id:
        execution = call.plane.stores.executions.get(call.organization_id, execution_id)
    return execution is not None and execution["entity_id"] == entity["id"]


def variables_of(source: Object) -> dict[str, str]:
    """Return the variables of an environment; each of its `secrets` is a variable of the secret's name."""
    listed = {str(name): f"{{{{.secret.{name}}}}}" for name in source.get("secrets") or ()}
    return listed | {str(k): str(v) for k, v in (source.get("env_vars") or {}).items()}


def _routes(kind: str) -> list[Route]:
    """Return the routes, which have the same form for agents and teams."""
    new = definitions.new_agent if kind == AGENT else definitions.new_team

    async def create(call: Call) -> Any:
        fields = _fields(call)
        return _shown(call, kind, store_of(call, kind).create(call.organization_id, fields["name"], new(fields)))

    async def list_all(call: Call) -> Any:
        every = store_of(call, kind).list(call.organization_id)
        return [_shown(call, kind, e) for e in page(call, [e for e in every if call.person.scope.has_agent(e["id"])])]

    async def get(call: Call) -> Any:
        return _shown(call, kind, entity_of(call, kind))

    async def update(call: Call) -> Any:
        entity, fields = entity_of(call, kind), _fields(call)
        if call.person.role == WORKER and set(fields) - {"status"}:
            raise ApiError(403, f"A worker's key changes no more of {kind}s than their status")
        _check_members(call, kind, entity, fields)
        return _shown(call, kind, store_of(call, kind).update(entity, fields))

    async def delete(call: Call) -> Any:
        """Delete it; one that open executions, jobs or teams need is refused with their list (409)."""
        entity = entity_of(call, kind)
        remove = functools.partial(store_of(call, kind).delete, entity)
        return deletion.delete(call, kind, entity, lambda needs: needs.of_entity(kind, entity), remove)

    async def skills(call: Call) -> Any:
        return resolved_skills(call, entity_of(call, kind), kind)

    async def environment(call: Call) -> Any:
        return resolved_environment(call, entity_of(call, kind), kind, _execution(call))["env_vars"]

    async def environment_full(call: Call) -> Any:
        execution_id = _execution(call)
        known = store_of(call, kind).find(call.organization_id, call.path("entity"))
        if known is None and execution_id and _ours(call, execution_id):
            # An agent or team made for one request has no definition.
            own = _own(call, execution_id)
            return {**own, "env_vars": variables_of(own)}
        return resolved_environment(call, entity_of(call, kind), kind, execution_id)

    plural = f"/{kind}s"
    created, changed = MODELS[kind]
    return [
        Edge("POST", plural, create, 201, body=created, audit=f"{kind}.create"),
        Edge("GET", plural, list_all, query=filters.Page),
        Edge("GET", plural + "/{entity}", get),
        Edge("PATCH", plural + "/{entity}", update, body=changed, batched=True, audit=f"{kind}.update"),
        Edge("DELETE", plural + "/{entity}", delete, query=filters.Deletion, audit=f"{kind}.delete"),
        Edge("GET", f"/skills/associations{plural}/{{entity}}/skills/resolved", skills),
        Edge("GET", f"/skills/associations{plural}/{{entity}}/toolsets/resolved", skills),
        Edge(
            "GET", f"/execution-environment{plural}/{{entity}}/resolved", environment, query=filters.EnvironmentFilters
        ),
        Edge(
            "GET",
            f"/execution-environment{plural}/{{entity}}/resolved/full",
            environment_full,
            query=filters.EnvironmentFilters,
        ),
    ]


async def add_member(call: Call) -> Any:
    team, member = entity_of(call, TEAM, call.path("team")), entity_of(call, AGENT, call.path("agent"))
    return _with_members(call, team, [*_others(team, member), member["id"]])


async def remove_member(call: Call) -> Any:
    """Take an agent out of a team; it is refused while executions of the team are open (409)."""
    team, member = entity_of(call, TEAM, call.path("team")), entity_of(call, AGENT, call.path("agent"))
    if _others(team, member) == team["configuration"].get("member_ids"):
        return _shown(call, TEAM, team)
    leave = functools.partial(_with_members, call, team, _others(team, member))
    return deletion.delete(
        call, f"member {member['name']} of the team", team, lambda needs: needs.of_member(team), leave
    )


def _others(team: Object, member: Object) -> list[Any]:
    ids = team["configuration"].get("member_ids")
    return [i for i in ids if i not in (member["id"], member["name"])] if isinstance(ids, list) else []


def _with_members(call: Call, team: Object, ids: list[Any]) -> Object:
    configuration = {**team["configuration"], "member_ids": ids}
    return _shown(call, TEAM, call.plane.stores.teams.update(team, {"configuration": configuration}))


ROUTES: list[Route] = [
    *_routes(AGENT),
    *_routes(TEAM),
    Edge("POST", "/teams/{team}/agents/{agent}", add_member, audit="team.update"),
    Edge("DELETE", "/teams/{team}/agents/{agent}", remove_member, query=filters.Deletion, audit="team.update"),
]
