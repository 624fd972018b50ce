"""Agents, teams, skills and their environment (docs/protocol.md#a7, #a8)."""

from __future__ import annotations

from typing import Any, Final

from tests.support.published_plane import bodies
from tests.support.published_plane.edge import Call, Entry, Object, unknown
from tests.support.published_plane.world import World, now

# What POST and PATCH of a skill store, whatever its type; the rest is dropped in silence.
KEPT_KEYS: Final = frozenset(
    [
        "base_dir",
        "enable_save_file",
        "enable_read_file",
        "enable_list_files",
        "enable_search_files",
        "allowed_commands",
        "blocked_commands",
        "timeout",
        "enable_container_management",
        "enable_image_management",
        "enable_volume_management",
        "enable_network_management",
        "enable_code_execution",
        "allowed_imports",
        "blocked_imports",
        "enable_json_generation",
        "enable_csv_generation",
        "enable_pdf_generation",
        "enable_txt_generation",
        "output_directory",
        "max_diagram_size",
        "enable_flowchart",
        "enable_sequence",
        "enable_class_diagram",
        "enable_er_diagram",
        "enable_gantt",
        "enable_pie_chart",
        "enable_state_diagram",
        "enable_git_graph",
        "enable_user_journey",
        "enable_quadrant_chart",
        "workflow_type",
        "workflow_definition",
        "python_dsl_code",
        "validation_enabled",
        "default_runner",
        "custom_class",
        "custom_config",
    ]
)
MEMBER: Final = ("id", "name", "status", "capabilities", "description")
DROPPED: Final = ("last_active_at", "error_message", "state")


def _skill(world: World, given: Object) -> Object:
    if world.holds("skills.known-keys"):
        given["configuration"] = {k: v for k, v in given["configuration"].items() if k in KEPT_KEYS}
    return given


def _attached_shell(world: World) -> Object:
    """The Shell skill that every new agent gets."""
    found = next((s for s in world.skills.values() if s.get("_attached")), None)
    if found is None:
        about = {"name": "Shell", "type": "shell", "description": None, "icon": None, "enabled": True}
        found = world.row(**about, configuration={}, _attached=True)
        world.skills[found["id"]] = found
    return found


async def create_skill(call: Call) -> Any:
    row = call.world.row(**_skill(call.world, call.given.model_dump()))
    call.world.skills[row["id"]] = row
    return row


async def skills(call: Call) -> Any:
    return list(call.world.skills.values())


async def skill(call: Call) -> Any:
    return call.found(call.world.skills, "skill", "Skill")


async def patch_skill(call: Call) -> Any:
    row = call.found(call.world.skills, "skill", "Skill")
    row |= _skill(call.world, {**row, **{k: v for k, v in call.body.items() if k in bodies.Skill.model_fields}})
    return row


async def delete_skill(call: Call) -> Any:
    del call.world.skills[call.found(call.world.skills, "skill", "Skill")["id"]]


async def create_agent(call: Call) -> Any:
    world, given = call.world, call.given.model_dump()
    alias, prompt, team = given.pop("model"), given.pop("system_prompt"), given.pop("team_id")
    skill_ids = list(given["skill_ids"])
    if world.holds("skills.auto-shell"):
        skill_ids.insert(0, _attached_shell(world)["id"])
    row = world.row(
        **{**given, "skill_ids": skill_ids, "model_id": given["model_id"] or alias, "status": "idle"},
        team_id=team,
        last_active_at=None,
        state={},
        error_message=None,
        projects=[],
        environments=[],
    )
    row["configuration"] = {**row["configuration"], **({"system_prompt": prompt} if prompt else {})}
    world.agents[row["id"]] = row
    return _agent(call, row)


def _agent(call: Call, row: Object) -> Object:
    attached = [call.world.skills[i] for i in row["skill_ids"] if i in call.world.skills]
    keys = ("id", "name", "type", "description", "enabled", "configuration")
    return {**row, "model_config": row["llm_config"], "skills": [{k: s[k] for k in keys} for s in attached]}


async def agents(call: Call) -> Any:
    return [_agent(call, row) for row in call.world.agents.values()]


async def agent(call: Call) -> Any:
    return _agent(call, call.found(call.world.agents, "agent", "Agent"))


async def patch_agent(call: Call) -> Any:
    row = call.found(call.world.agents, "agent", "Agent")
    row |= {k: v for k, v in call.set.items() if k not in ("model", "system_prompt")}
    if call.set.get("system_prompt"):
        row["configuration"] = {**row["configuration"], "system_prompt": call.set["system_prompt"]}
    if not call.world.holds("agents.drops"):
        row |= {k: v for k, v in call.body.items() if k in DROPPED}
    row["updated_at"] = now()
    return _agent(call, row)


async def delete_agent(call: Call) -> Any:
    del call.world.agents[call.found(call.world.agents, "agent", "Agent")["id"]]


async def create_team(call: Call) -> Any:
    row = call.world.row(**call.given.model_dump(), status="active", projects=[])
    call.world.teams[row["id"]] = row
    return _team(call, row)


def _team(call: Call, row: Object) -> Object:
    ids = row["configuration"].get("member_ids") or []
    members = [call.world.agents[i] for i in ids if i in call.world.agents]
    keys = (*MEMBER, *(() if call.world.holds("teams.member-objects") else ("model_id", "runtime", "configuration")))
    attached = [call.world.skills[i] for i in row["skill_ids"] if i in call.world.skills]
    return {**row, "skills": attached, "agents": [{k: m[k] for k in keys} for m in members]}


async def teams(call: Call) -> Any:
    return [_team(call, row) for row in call.world.teams.values()]


async def team(call: Call) -> Any:
    return _team(call, call.found(call.world.teams, "team", "Team"))


async def patch_team(call: Call) -> Any:
    row = call.found(call.world.teams, "team", "Team")
    row |= {**call.set, "updated_at": now()}
    return _team(call, row)


async def delete_team(call: Call) -> Any:
    del call.world.teams[call.found(call.world.teams, "team", "Team")["id"]]


async def add_member(call: Call) -> Any:
    row = call.found(call.world.teams, "team", "Team")
    member = call.found(call.world.agents, "agent", "Agent")
    ids = [i for i in row["configuration"].get("member_ids") or [] if i != member["id"]]
    row["configuration"] = {**row["configuration"], "member_ids": [*ids, member["id"]]}
    return _team(call, row)


async def remove_member(call: Call) -> Any:
    row = call.found(call.world.teams, "team", "Team")
    ids = [i for i in row["configuration"].get("member_ids") or [] if i != call.text("agent")]
    row["configuration"] = {**row["configuration"], "member_ids": ids}
    return _team(call, row)


def _entity(call: Call) -> tuple[str, Object]:
    kind = call.request.url.path.split("/")[5 if "associations" in call.request.url.path else 4]
    rows = call.world.agents if kind == "agents" else call.world.teams
    return kind.rstrip("s"), call.found(rows, "entity", kind.rstrip("s").capitalize())


async def resolved_skills(call: Call) -> Any:
    kind, row = _entity(call)
    found = []
    for key in row["skill_ids"]:
        if key in call.world.skills and call.world.skills[key]["enabled"]:
            one = call.world.skills[key]
            own = row.get("skill_configurations", {}).get(key) or {}
            shape = {k: one[k] for k in ("id", "name", "type", "description", "icon", "enabled")}
            configuration = {**one["configuration"], **own}
            found.append({**shape, "configuration": configuration, "source": kind, "inherited": False})
    return found


def _variables(call: Call, row: Object) -> Object:
    variables = dict((row.get("execution_environment") or {}).get("env_vars") or {})
    if call.world.holds("environment.key"):
        variables |= {"KUBIYA_API_KEY": call.world.key, "MEMORY_DATASET_NAME": call.world.organization}
    return variables


async def environment(call: Call) -> Any:
    return _variables(call, _entity(call)[1])


async def environment_full(call: Call) -> Any:
    kind, row = _entity(call)
    prompt = "system_prompt" if kind == "agent" else "instructions"
    return {
        "env_vars": _variables(call, row),
        "mcp_servers": (row.get("execution_environment") or {}).get("mcp_servers") or {},
        prompt: row["configuration"].get(prompt),
        "description": row["description"],
        "configuration": row["configuration"],
        "files": None,
        "graph_api_url": None,
        "dataset_name": None,
    }


async def client_config(call: Call) -> Any:
    organization = {"organization_id": call.world.organization, "organization_name": "Acme"}
    return {"context_graph_api_base": None, **organization}


async def whoami(call: Call) -> Any:
    world = call.world
    about = {"id": world.organization, "name": "Acme", "slug": world.organization, "user_groups": world.groups}
    return {**about, **{k: world.user[k] for k in ("user_id", "user_email", "user_name")}}


async def models(call: Call) -> Any:
    return []


async def nowhere(call: Call) -> Any:
    raise unknown("Not Found", call.request.url.path)


_KINDS = ("agents", "teams")
ENTRIES = (
    Entry("POST", "/skills", create_skill, 201, bodies.Skill),
    Entry("GET", "/skills", skills),
    *(
        Entry("GET", f"/skills/associations/{kind}/{{entity}}/{name}/resolved", resolved_skills, optional=True)
        for kind in _KINDS
        for name in ("skills", "toolsets")
    ),
    *(Entry("GET", f"/execution-environment/{k}/{{entity}}/resolved", environment, optional=True) for k in _KINDS),
    *(
        Entry("GET", f"/execution-environment/{kind}/{{entity}}/resolved/full", environment_full, optional=True)
        for kind in _KINDS
    ),
    Entry("GET", "/skills/{skill}", skill),
    Entry("PATCH", "/skills/{skill}", patch_skill),
    Entry("DELETE", "/skills/{skill}", delete_skill, 204),
    Entry("GET", "/skills/{skill}/code", nowhere, optional=True),
    Entry("POST", "/agents", create_agent, 201, bodies.Agent),
    Entry("GET", "/agents", agents),
    Entry("GET", "/agents/{agent}", agent),
    Entry("PATCH", "/agents/{agent}", patch_agent, 200, bodies.AgentPatch),
    Entry("DELETE", "/agents/{agent}", delete_agent, 204),
    Entry("POST", "/teams", create_team, 201, bodies.Team),
    Entry("GET", "/teams", teams),
    Entry("GET", "/teams/{team}", team),
    Entry("PATCH", "/teams/{team}", patch_team, 200, bodies.TeamPatch),
    Entry("DELETE", "/teams/{team}", delete_team, 204),
    Entry("POST", "/teams/{team}/agents/{agent}", add_member),
    Entry("DELETE", "/teams/{team}/agents/{agent}", remove_member),
    Entry("GET", "/client/config", client_config, optional=True),
    Entry("GET", "/auth/validate", whoami),
    Entry("GET", "/models", models, optional=True),
)
