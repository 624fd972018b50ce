"""Agents and teams: their definitions, their skills and environment, and running them (PROTOCOL A.7, A.8)."""

from __future__ import annotations

import uuid
from typing import Any

from starlette.routing import Route

from kubiya_worker.protocol import names
from kubiya_worker.protocol.events import now
from kubiya_worker.server.http import ApiError, Call, not_found, route
from kubiya_worker.server.store.records import Object, Records

DEFAULT_SKILL = {"name": "shell", "type": "shell", "description": "Runs commands", "enabled": True, "configuration": {}}


def _store(call: Call, kind: str) -> Records:
    return call.plane.agents if kind == "agent" else call.plane.teams


def _find(call: Call, kind: str, key: str | None = None) -> Object:
    key = key if key is not None else call.path("entity")
    found = _store(call, kind).find(call.organization_id, key)
    if found is None:
        raise not_found(kind.capitalize(), key)
    return found


def new_agent(body: Object) -> Object:
    """The stored object out of an AgentCreate. Skills are kept with the agent: {name, type, configuration, enabled}."""
    skills = body.get("skills")
    return {
        "description": body.get("description"),
        "system_prompt": body.get("system_prompt"),
        "capabilities": body.get("capabilities") or [],
        "configuration": body.get("configuration") or {},
        "model_id": body.get("model_id") or body.get("model"),
        "llm_config": body.get("llm_config") or {},
        "runtime": body.get("runtime") or "default",
        "runner_name": body.get("runner_name"),
        "team_id": body.get("team_id"),
        "environment_ids": body.get("environment_ids") or [],
        "execution_environment": body.get("execution_environment") or {},
        "skills": [_skill(s) for s in (skills if skills is not None else [DEFAULT_SKILL])],
        "status": "idle",
        "last_active_at": None,
        "state": {},
    }


def _skill(raw: Object) -> Object:
    return {
        "id": raw.get("id") or str(uuid.uuid4()),
        "name": raw.get("name") or raw.get("type"),
        "type": raw.get("type"),
        "description": raw.get("description") or "",
        "icon": raw.get("icon"),
        "enabled": raw.get("enabled", True),
        "configuration": raw.get("configuration") or {},
    }


def new_team(body: Object) -> Object:
    return {
        "description": body.get("description"),
        "runtime": body.get("runtime") or "default",
        "configuration": body.get("configuration") or {},
        "skills": [_skill(s) for s in body.get("skills") or []],
        "execution_environment": body.get("execution_environment") or {},
        "environment_ids": body.get("environment_ids") or [],
        "status": "active",
    }


def _shown(call: Call, kind: str, entity: Object) -> Object:
    entity = {**entity, "skill_ids": [s["id"] for s in entity.get("skills") or []]}
    if kind == "team":
        ids = (entity.get("configuration") or {}).get("member_ids") or []
        members = [m for m in (call.plane.agents.find(call.organization_id, i) for i in ids) if m]
        keys = ("id", "name", "status", "capabilities", "description")
        entity["agents"] = [{k: m.get(k) for k in keys} for m in members]
    return entity


def _entity_routes(kind: str) -> list[Route]:
    """CRUD and execute for agents or teams: the same shapes."""

    async def create(call: Call) -> Any:
        body = new_agent(call.body) if kind == "agent" else new_team(call.body)
        return _shown(call, kind, _store(call, kind).create(call.organization_id, call.text("name"), body))

    async def list_all(call: Call) -> Any:
        return [_shown(call, kind, e) for e in _store(call, kind).list(call.organization_id)]

    async def get(call: Call) -> Any:
        return _shown(call, kind, _find(call, kind))

    async def update(call: Call) -> Any:
        changes = dict(call.body)
        if "skills" in changes:
            changes["skills"] = [_skill(s) for s in changes["skills"]]
        if "model" in changes:
            changes["model_id"] = changes.pop("model")
        return _shown(call, kind, _store(call, kind).update(_find(call, kind), changes))

    async def delete(call: Call) -> Any:
        _store(call, kind).delete(_find(call, kind)["id"])

    async def execute(call: Call) -> Any:
        return start_execution(call, kind, _find(call, kind))

    async def skills(call: Call) -> Any:
        return resolved_skills(_find(call, kind), kind)

    async def environment(call: Call) -> Any:
        return resolved_environment(call, _find(call, kind), kind)["env_vars"]

    async def environment_full(call: Call) -> Any:
        return resolved_environment(call, _find(call, kind), kind)

    plural = f"/{kind}s"
    return [
        route("POST", plural, create, 201),
        route("GET", plural, list_all),
        route("GET", plural + "/{entity}", get),
        route("PATCH", plural + "/{entity}", update),
        route("DELETE", plural + "/{entity}", delete),
        route("POST", plural + "/{entity}/execute", execute),
        route("GET", f"/skills/associations{plural}/{{entity}}/skills/resolved", skills),
        route("GET", f"/skills/associations{plural}/{{entity}}/toolsets/resolved", skills),
        route("GET", f"/execution-environment{plural}/{{entity}}/resolved", environment),
        route("GET", f"/execution-environment{plural}/{{entity}}/resolved/full", environment_full),
    ]


def resolved_skills(entity: Object, kind: str) -> list[Object]:
    return [{**s, "source": kind, "inherited": False} for s in entity.get("skills") or [] if s.get("enabled", True)]


def resolved_environment(call: Call, entity: Object, kind: str) -> Object:
    """Environments in their order, then the entity's own: later ones win (PROTOCOL D.5)."""
    variables: dict[str, str] = {}
    servers: dict[str, Any] = {}
    attached = [call.plane.environments.find(call.organization_id, i) for i in entity.get("environment_ids") or []]
    for source in [*(a.get("execution_environment") or {} for a in attached if a), entity["execution_environment"]]:
        variables.update({str(k): str(v) for k, v in (source.get("env_vars") or {}).items()})
        servers.update(source.get("mcp_servers") or {})
    prompt = "system_prompt" if kind == "agent" else "instructions"
    return {
        "env_vars": variables,
        "mcp_servers": servers,
        prompt: entity.get("system_prompt") or (entity.get("configuration") or {}).get("instructions"),
        "description": entity.get("description"),
        "configuration": entity.get("configuration") or {},
    }


def choose_queue(call: Call, key: str) -> Object:
    """The queue that was asked for, or else an active one with a live worker."""
    plane, organization = call.plane, call.organization_id
    if key:
        queue = plane.queues.find(organization, key)
        if queue is None:
            raise not_found("Worker queue", key)
        if queue["status"] != "active":
            raise ApiError(400, f"The queue {queue['name']!r} is {queue['status']}, not active")
        return queue
    active = [q for q in plane.queues.list(organization) if q["status"] == "active"]
    for queue in active:
        if plane.workers.live(organization, queue["id"]):
            return queue
    start = f"kubiya worker start --queue-id {active[0]['name']}" if active else "create a worker queue"
    raise ApiError(400, f"No queue has a live worker. Start one: {start}")


def start_execution(call: Call, kind: str, entity: Object, **extra: Any) -> Object:
    """Store the row and leave the start to the outbox: it is given to Temporal even if that is away now."""
    body, plane = call.body, call.plane
    prompt = call.prompt()
    queue = choose_queue(call, str(body.get("worker_queue_id") or ""))
    execution_id = str(uuid.uuid4())
    overrides = body.get("execution_environment") or {}
    config = {**(entity.get("configuration") or {})}
    if overrides.get("working_dir"):
        config["cwd"] = overrides["working_dir"]
    user = {k: v for k, v in (body.get("user_metadata") or {}).items() if v is not None}
    workflow_input = {
        "execution_id": execution_id,
        f"{kind}_id": entity["id"],
        "organization_id": call.organization_id,
        "prompt": prompt,
        "system_prompt": body.get("system_prompt") or entity.get("system_prompt"),
        "model_id": body.get("model_id") or entity.get("model_id"),
        "model_config": entity.get("llm_config") or {},
        f"{kind}_config": config,
        "mcp_servers": (entity.get("execution_environment") or {}).get("mcp_servers") or {},
        "user_metadata": user,
        "runtime_type": entity.get("runtime") or "default",
        "control_plane_url": None,
        "api_key": None,
        "initial_message_timestamp": now(),
    }
    plane.executions.create(
        {
            "id": execution_id,
            "organization_id": call.organization_id,
            "execution_type": kind,
            "entity_id": entity["id"],
            "entity_name": entity["name"],
            "queue_id": queue["id"],
            "prompt": prompt,
            "system_prompt": body.get("system_prompt"),
            "execution_metadata": body.get("execution_metadata") or {},
            "usage": {},
            "response": None,
            "error_message": None,
            "runner_name": queue["name"],
            **{k: user.get(k) for k in ("user_id", "user_name", "user_email", "user_avatar")},
            "parent_execution_id": body.get("parent_execution_id"),
            "started_at": None,
            "completed_at": None,
            "participants": [],
            **extra,
        },
        workflow_input,
    )
    plane.outbox.set()
    return {
        "execution_id": execution_id,
        "workflow_id": names.workflow_id(kind, execution_id),
        "status": "PENDING",
        "message": f"The execution was given to the queue {queue['name']!r}",
    }


ROUTES: list[Route] = [*_entity_routes("agent"), *_entity_routes("team")]
