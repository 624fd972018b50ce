"""The agent, team or member that works in an execution, from the control plane or from the execution's input."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, Final

from kubiya_worker.control_plane import lenient
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.errors import ConfigurationError, WorkerError
from kubiya_worker.protocol import calls, taint, team
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol.tools import OWN_SKILL
from kubiya_worker.tools.policy import restrictions

log = logging.getLogger(__name__)

UNREADABLE: Final = (AttributeError, LookupError, TypeError, ValueError, RecursionError)


@dataclass
class Definition:
    """The definition that an execution starts with. In `config` the input's values replace those of the entity."""

    name: str
    prompt: str = ""
    model_id: str | None = None
    model_config: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    skills: list[dict[str, Any]] = field(default_factory=list)
    rules: list[dict[str, Any]] = field(default_factory=list)
    denials: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    execution: dict[str, Any] = field(default_factory=dict)
    session: list[m.Message] = field(default_factory=list)
    mode: str = ""
    members: list[dict[str, Any]] = field(default_factory=list)
    member_timeout: float = 0.0
    failure: WorkerError | None = None
    taint: str = "off"


def one_answer_tells(given: ex.ExecutionInput) -> bool:
    """Return whether the context of the execution has all of the definition: an agent's own run names nothing else."""
    return given.kind == "agent" and given.definition is None and given.member is None


def load(control_plane: ControlPlane, given: ex.ExecutionInput, told: dict[str, Any] | None = None) -> Definition:
    """Load the definition; blocking, unless `told` is the context of an execution that needs no more.

    A wrong configuration, and parts of other types than they have, are no exception but a `failure` in it.
    """
    try:
        return _load(control_plane, given, told)
    except ConfigurationError as error:
        return Definition(name="", failure=error)
    except UNREADABLE as error:
        log.exception("definition.unreadable %s=%s", given.kind, given.agent_id)
        return Definition(name="", failure=unreadable(f"The {given.kind} {given.agent_id!r}", error))


def unreadable(what: str, error: Exception) -> ConfigurationError:
    """Return the error for a definition that holds what no code expects; without it the run would be begun for ever.

    The words of `error` are not in it: they may hold a value.
    """
    remedy = "Check its configuration at the control plane; the worker's log says where it broke"
    return ConfigurationError(f"{what} cannot be read ({type(error).__name__})", remedy=remedy)


def _load(control_plane: ControlPlane, given: ex.ExecutionInput, told: dict[str, Any] | None) -> Definition:
    loaded: dict[str, Any]
    if told is not None:
        loaded = told
    elif given.definition is not None:
        loaded = _own(control_plane, given)
    elif given.member is not None:
        loaded = control_plane.contexts.entity_context(given.kind, given.agent_id, given.member.stream)
    else:
        loaded = control_plane.contexts.execution_context(given.execution_id, given.agent_id, given.kind)
    about = f"the {given.kind} {given.agent_id!r}"
    entity = lenient.an_object(loaded.get(given.kind), f"The definition of {about}")
    environment = lenient.an_object(loaded.get("environment"), f"The environment of {about}")
    own = lenient.an_object(entity.get("configuration"), f"`configuration` of {about}")
    llm = lenient.an_object(entity.get("llm_config") or entity.get("model_config"), f"`llm_config` of {about}")
    skills = lenient.objects(loaded.get("skills"), f"`skills` of {about}")
    config = {**own, **given.agent_config}
    prompts = (environment.get("system_prompt"), entity.get("system_prompt"))
    found = Definition(
        name=lenient.text(entity.get("name")),
        prompt=given.system_prompt or next(filter(None, map(lenient.text, prompts)), ""),
        model_id=given.model_id or lenient.text(entity.get("model_id")) or None,
        model_config={**llm, **given.model_config},
        config=config,
        skills=[skill for skill in skills if lenient.flag(skill.get("enabled"), True)],
        # A rule that is no object is kept as one that nobody can understand: it asks for every call.
        rules=[rule if isinstance(rule, dict) else {"name": "of another form"} for rule in _rules(loaded)],
        environment=environment,
        execution=_read_of(loaded.get("execution")),
        session=_messages(loaded.get("session")),
        taint=taint.strictest(
            own.get("taint"),
            given.agent_config.get("taint"),
            given.member.taint if given.member else None,
        ),
    )
    try:
        found.denials = restrictions.rules_of(config)
    except ConfigurationError as error:
        found.failure = error
        return found
    try:
        if given.kind == "team":
            _lead(control_plane, given, found, entity)
        elif (subagents := _subagents(config)) and given.definition is not None:
            _members(found, [_subagent(given, key, raw, found) for key, raw in subagents.items()])
    except ValueError as error:
        text = str(error)  # `capitalize` would put the names in it into lower case
        found.failure = ConfigurationError(text[:1].upper() + text[1:], remedy="Change the team's configuration")
    return found


def _rules(loaded: dict[str, Any]) -> list[Any]:
    found = loaded.get("approval_rules") or []
    return found if isinstance(found, list) else [found]


def _read_of(execution: Any) -> dict[str, Any]:
    """Return an execution's row with metadata that is an object; what is none is no reason not to begin."""
    row = dict(lenient.mapping(execution))
    return {**row, "execution_metadata": dict(lenient.mapping(row.get("execution_metadata")))} if row else row


def _messages(session: Any) -> list[m.Message]:
    """Return the messages of a session that can be read."""
    return [m.readable(message) for message in lenient.only_objects(lenient.mapping(session).get("messages"))]


def _own(control_plane: ControlPlane, given: ex.ExecutionInput) -> dict[str, Any]:
    """Return a definition that exists only in the input. Its skills are fetched by id."""
    definition = dict(given.definition or {})
    about = control_plane.contexts.execution_parts(given.member.stream if given.member else given.execution_id)
    skills = [*(definition.get("skills") or []), *map(control_plane.skill, definition.get("skill_ids") or ())]
    skills = [{**skill, "source": OWN_SKILL} for skill in skills]
    if given.member is not None:
        about = {**about, "execution": {}, "session": None}
    stream = given.member.stream if given.member else given.execution_id
    environment = control_plane.contexts.environment(given.kind, given.agent_id, stream)  # the variables of this run
    own = definition.get("environment") or {}
    servers = {**(environment.get("mcp_servers") or {}), **(own.get("mcp_servers") or {})}
    environment = {**environment, **own, "mcp_servers": servers}
    return {**about, given.kind: definition, "skills": skills, "environment": environment}


def _lead(control_plane: ControlPlane, given: ex.ExecutionInput, found: Definition, entity: dict[str, Any]) -> None:
    config = team.TeamConfig.parse(found.config)
    leader = control_plane.agent(config.leader_id) if config.leader_id else {}
    if config.leader_id and not leader:
        raise ValueError(f"the team's leader {config.leader_id!r} does not exist")
    prompt = found.prompt or config.instructions or str(entity.get("description") or "")
    found.prompt = "\n\n".join(filter(None, (lenient.text(leader.get("system_prompt")), prompt)))
    llm = dict(config.llm)
    found.model_id = found.model_id or llm.pop("model", None) or leader.get("model_id")
    of_leader = lenient.an_object(leader.get("llm_config"), f"`llm_config` of the agent {config.leader_id!r}")
    found.model_config = {**of_leader, **llm, **found.model_config}
    found.mode, found.member_timeout = config.mode, config.member_timeout
    listed = lenient.objects(entity.get("agents"), f"`agents` of the team {given.agent_id!r}")
    ids = config.member_ids or tuple(lenient.text(x.get("id")) for x in listed)
    if not ids:
        raise ValueError("the team has no members")
    _members(found, [_member(control_plane, config, key) for key in ids])


def _member(control_plane: ControlPlane, config: team.TeamConfig, key: str) -> dict[str, Any]:
    """Return the agent with this id, or else the team."""
    kind, found = "agent", control_plane.agent(key)
    if not found:
        kind, found = "team", control_plane.team(key)
    if not found:
        raise ValueError(f"the team's member {key!r} does not exist")
    queues = config.member_queues
    return {
        "kind": kind,
        "id": lenient.text(found.get("id"), key) or key,
        "name": lenient.text(found.get("name"), key) or key,
        "description": str(found.get("description") or ""),
        "queue": queues.get(str(found.get("id"))) or queues.get(str(found.get("name"))) or "",
        "definition": None,
    }


def _subagents(config: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a dynamic execution (docs/protocol.md#b3): agent_config.runtime_config.agents."""
    runtime = config.get("runtime_config")
    agents = runtime.get("agents") if isinstance(runtime, dict) else None
    return {str(k): v for k, v in agents.items() if isinstance(v, dict)} if isinstance(agents, dict) else {}


def _subagent(given: ex.ExecutionInput, key: str, raw: dict[str, Any], leader: Definition) -> dict[str, Any]:
    """Return the definition of a subagent.

    It has its own prompt and model, and the execution's tools that `tools` names; all of them when it names none.
    """
    assert given.definition is not None
    name = str(raw.get("name") or key)
    definition = {
        "name": name,
        "system_prompt": str(raw.get("prompt") or ""),
        "model_id": raw.get("model") or leader.model_id,
        "llm_config": leader.model_config,
        "skills": leader.skills,
        "environment": given.definition.get("environment") or {},
        **({"configuration": {restrictions.ALLOWED: raw["tools"]}} if raw.get("tools") else {}),
    }
    about = {"name": name, "description": str(raw.get("description") or ""), "queue": "", "definition": definition}
    return {"kind": "agent", "id": f"{given.agent_id}.{key}", **about}


def _members(found: Definition, members: list[dict[str, Any]]) -> None:
    found.mode = found.mode or team.COORDINATE
    found.member_timeout = found.member_timeout or team.MEMBER_TIMEOUT
    tools = team.tool_names(member["name"] for member in members)
    found.members = [{"tool": tool, **member} for tool, member in zip(tools, members, strict=True)]
    briefing = team.briefing(found.name, found.mode, found.members)
    found.prompt = "\n\n".join(filter(None, (found.prompt, briefing)))


def context_for(given: ex.ExecutionInput, found: Definition) -> calls.Context:
    """Return the context for the workflow and all further activities. The caller adds models and tools."""
    return calls.Context(
        agent_id=given.agent_id,
        agent_name=found.name,
        system_prompt=found.prompt,
        model_config=found.model_config,
        skills=found.skills,
        rules=found.rules,
        denials=found.denials,
        workspace=str(found.config.get("cwd") or ""),
        user={k: v for k, v in given.user_metadata.items() if k.startswith("user_")},
        organization_id=given.organization_id,
        kind=given.kind,
        mode=found.mode,
        members=found.members,
        member_timeout=found.member_timeout,
        member=given.member,
        # Those of the definition are not here: this is stored in the history, and they can hold credentials.
        mcp_servers={**_servers(given, "mcp_servers"), **_servers(given, "mcpServers"), **given.mcp_servers},
        config=_budgets(given, found),
        taint=found.taint,
    )


def _budgets(given: ex.ExecutionInput, found: Definition) -> dict[str, Any]:
    """Return the input's budgets alone if it has any: its `max_turns` must not lose against the entity's `budgets`."""
    names = ("budgets", "max_turns")
    own = given.member is None and any(name in given.agent_config for name in names)
    config = given.agent_config if own else found.config
    return {name: config[name] for name in names if name in config}


def _servers(given: ex.ExecutionInput, key: str) -> dict[str, Any]:
    """Return the MCP servers of the input's configuration; `begin_execution` refuses a value that is no map of them."""
    servers = given.agent_config.get(key)
    return servers if isinstance(servers, dict) else {}
