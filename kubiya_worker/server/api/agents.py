"""This module serves agents and teams: definitions, skills, environment (docs/protocol.md#a7, #a8). Paths take an id or
a name.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.routing import Route

from kubiya_worker.protocol import execution as ex
from kubiya_worker.server.api.environments import check_environment
from kubiya_worker.server.http import Call, invalid, not_found, route
from kubiya_worker.server.store import definitions
from kubiya_worker.server.store.records import Object, Records

AGENT: Final = "agent"
TEAM: Final = "team"
FIELDS: Final = {AGENT: definitions.AGENT_FIELDS, TEAM: definitions.TEAM_FIELDS}
TEAM_STATUSES: Final = ("active", "inactive", "archived", "idle")  # a team has no status that describes a run
_MEMBER = ("id", "name", "status", "capabilities", "description")


def store_of(call: Call, kind: str) -> Records:
    return call.plane.agents if kind == AGENT else call.plane.teams


def entity_of(call: Call, kind: str, key: str | None = None) -> Object:
    """Return an agent or team by id or name, or answer 404."""
    key = key if key is not None else call.path("entity")
    found = store_of(call, kind).find(call.organization_id, key)
    if found is None:
        raise not_found(kind.capitalize(), key)
    return found


def _fields(call: Call, kind: str) -> Object:
    """Return the fields that the body sets; `model` is another name of `model_id`, `model_config` of `llm_config`."""
    body = dict(call.body)
    if kind == AGENT:
        for name, alias in (("model_id", "model"), ("llm_config", "model_config")):
            if body.get(name) is None and body.get(alias) is not None:
                body[name] = body[alias]
    call.body = body
    given = call.fields(FIELDS[kind])
    if "name" in given:
        given["name"] = call.name()
    if kind == TEAM and given.get("status", TEAM_STATUSES[0]) not in TEAM_STATUSES:
        raise invalid("status", f"status of a team is one of {', '.join(TEAM_STATUSES)}", "enum")
    check_environment(given)
    check_budgets(given.get("configuration") or {}, "configuration")
    try:
        if "skills" in given:
            given["skills"] = [definitions.skill(s) for s in given["skills"]]
    except ValueError as error:
        raise invalid("skills", str(error)) from error
    return given


def check_budgets(configuration: Object, where: str) -> None:
    """Answer 422 for limits with which no execution could begin."""
    try:
        ex.Budgets.parse(configuration)
    except ValueError as error:
        raise invalid(where, str(error)) from error


def _shown(call: Call, kind: str, entity: Object) -> Object:
    entity = {**entity, "skill_ids": [s["id"] for s in entity["skills"]], "projects": []}
    if kind == AGENT:
        return {**entity, "model_config": entity["llm_config"], "environments": []}
    ids = entity["configuration"].get("member_ids")
    found = [call.plane.agents.find(call.organization_id, str(i)) for i in ids] if isinstance(ids, list) else []
    return {**entity, "agents": [{k: m.get(k) for k in _MEMBER} for m in found if m]}


def resolved_skills(entity: Object, kind: str) -> list[Object]:
    return [{**s, "source": kind, "inherited": False} for s in entity["skills"] if s.get("enabled", True)]


def resolved_environment(call: Call, entity: Object, kind: str, execution_id: str | None = None) -> Object:
    """Return the environment variables of a run; later sources replace earlier ones (docs/protocol.md#d5).

    The order is: environments as listed, the entity's own, the execution's.
    """
    variables: dict[str, str] = {}
    servers: dict[str, Any] = {}
    attached = [call.plane.environments.find(call.organization_id, str(i)) for i in entity["environment_ids"]]
    for source in [*(a["execution_environment"] for a in attached if a), entity["execution_environment"]]:
        variables |= {str(k): str(v) for k, v in (source.get("env_vars") or {}).items()}
        servers |= source.get("mcp_servers") or {}
    if execution_id and call.plane.executions.owner(execution_id) == call.organization_id:
        variables |= call.plane.executions.environment(execution_id)
    prompt = "system_prompt" if kind == AGENT else "instructions"
    return {
        "env_vars": variables,
        "mcp_servers": servers,
        prompt: entity.get("system_prompt") or entity["configuration"].get("instructions"),
        "description": entity.get("description"),
        "configuration": entity["configuration"],
    }


def _routes(kind: str) -> list[Route]:
    """Return the routes, which have the same form for agents and teams."""
    new = definitions.new_agent if kind == AGENT else definitions.new_team

    async def create(call: Call) -> Any:
        name = call.name()
        return _shown(call, kind, store_of(call, kind).create(call.organization_id, name, new(_fields(call, kind))))

    async def list_all(call: Call) -> Any:
        return [_shown(call, kind, e) for e in store_of(call, kind).list(call.organization_id)]

    async def get(call: Call) -> Any:
        return _shown(call, kind, entity_of(call, kind))

    async def update(call: Call) -> Any:
        return _shown(call, kind, store_of(call, kind).update(entity_of(call, kind), _fields(call, kind)))

    async def delete(call: Call) -> Any:
        store_of(call, kind).delete(entity_of(call, kind)["id"])

    async def skills(call: Call) -> Any:
        return resolved_skills(entity_of(call, kind), kind)

    async def environment(call: Call) -> Any:
        return resolved_environment(call, entity_of(call, kind), kind, call.query("execution_id"))["env_vars"]

    async def environment_full(call: Call) -> Any:
        execution_id = call.query("execution_id")
        known = store_of(call, kind).find(call.organization_id, call.path("entity"))
        if known is None and execution_id and call.plane.executions.owner(execution_id) == call.organization_id:
            # An agent or team made for one request has no definition.
            return {"env_vars": call.plane.executions.environment(execution_id)}
        return resolved_environment(call, entity_of(call, kind), kind, call.query("execution_id"))

    plural = f"/{kind}s"
    return [
        route("POST", plural, create, 201),
        route("GET", plural, list_all),
        route("GET", plural + "/{entity}", get),
        route("PATCH", plural + "/{entity}", update, batched=True),
        route("DELETE", plural + "/{entity}", delete),
        route("GET", f"/skills/associations{plural}/{{entity}}/skills/resolved", skills),
        route("GET", f"/skills/associations{plural}/{{entity}}/toolsets/resolved", skills),
        route("GET", f"/execution-environment{plural}/{{entity}}/resolved", environment),
        route("GET", f"/execution-environment{plural}/{{entity}}/resolved/full", environment_full),
    ]


async def add_member(call: Call) -> Any:
    team, member = entity_of(call, TEAM, call.path("team")), entity_of(call, AGENT, call.path("agent"))
    return _with_members(call, team, [*_others(team, member), member["id"]])


async def remove_member(call: Call) -> Any:
    team, member = entity_of(call, TEAM, call.path("team")), entity_of(call, AGENT, call.path("agent"))
    return _with_members(call, team, _others(team, member))


def _others(team: Object, member: Object) -> list[Any]:
    ids = team["configuration"].get("member_ids")
    return [i for i in ids if i not in (member["id"], member["name"])] if isinstance(ids, list) else []


def _with_members(call: Call, team: Object, ids: list[Any]) -> Object:
    configuration = {**team["configuration"], "member_ids": ids}
    return _shown(call, TEAM, call.plane.teams.update(team, {"configuration": configuration}))


ROUTES: list[Route] = [
    *_routes(AGENT),
    *_routes(TEAM),
    route("POST", "/teams/{team}/agents/{agent}", add_member),
    route("DELETE", "/teams/{team}/agents/{agent}", remove_member),
]
