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


def one_answer_tells(request: ex.ExecutionInput) -> bool:
    """Return whether the context of the execution has all of the definition: an agent's own run names nothing else."""
    return request.kind == "agent" and request.definition is None and request.member is None


def load(
    control_plane: ControlPlane, request: ex.ExecutionInput, execution_context: dict[str, Any] | None = None
) -> Definition:
    """Load the definition; blocking, unless `execution_context` is the context of an execution that needs no more.

    A wrong configuration, and parts of other types than they have, are no exception but a `failure` in it.
    """
    try:
        return _load(control_plane, request, execution_context)
    except ConfigurationError as error:
        return Definition(name="", failure=error)
    except UNREADABLE as error:
        log.exception("definition.unreadable %s=%s", request.kind, request.agent_id)
        return Definition(name="", failure=unreadable(f"The {request.kind} {request.agent_id!r}", error))


def unreadable(subject: str, error: Exception) -> ConfigurationError:
    """Return the error for a definition that holds what no code expects; without it the run would be begun for ever.

    The words of `error` are not in it: they may hold a value.
    """
    remedy = "Check its configuration at the control plane; the worker's log says where it broke"
    return ConfigurationError(f"{subject} cannot be read ({type(error).__name__})", remedy=remedy)


def _load(
    control_plane: ControlPlane, request: ex.ExecutionInput, execution_context: dict[str, Any] | None
) -> Definition:
    loaded: dict[str, Any]
    if execution_context is not None:
        loaded = execution_context
    elif request.definition is not None:
        loaded = _own(control_plane, request)
    elif request.member is not None:
        loaded = control_plane.contexts.entity_context(request.kind, request.agent_id, request.member.stream)
    else:
        loaded = control_plane.contexts.execution_context(request.execution_id, request.agent_id, request.kind)
    subject = f"the {request.kind} {request.agent_id!r}"
    entity = lenient.an_object(loaded.get(request.kind), f"The definition of {subject}")
    environment = lenient.an_object(loaded.get("environment"), f"The environment of {subject}")
    own = lenient.an_object(entity.get("configuration"), f"`configuration` of {subject}")
    llm = lenient.an_object(entity.get("llm_config") or entity.get("model_config"), f"`llm_config` of {subject}")
    skills = lenient.objects(loaded.get("skills"), f"`skills` of {subject}")
    config = {**own, **request.agent_config}
    prompts = (environment.get("system_prompt"), entity.get("system_prompt"))
    definition = Definition(
        name=lenient.text(entity.get("name")),
        prompt=request.system_prompt or next(filter(None, map(lenient.text, prompts)), ""),
        model_id=request.model_id or lenient.text(entity.get("model_id")) or None,
        model_config={**llm, **request.model_config},
        config=config,
        skills=[skill for skill in skills if lenient.flag(skill.get("enabled"), True)],
        # A rule that is no object is kept as one that nobody can understand: it asks for every call.
        rules=[rule if isinstance(rule, dict) else {"name": "of another form"} for rule in _rules(loaded)],
        environment=environment,
        execution=_read_of(loaded.get("execution")),
        session=_messages(loaded.get("session")),
        taint=taint.strictest(
            own.get("taint"),
            request.agent_config.get("taint"),
            request.member.taint if request.member else None,
        ),
    )
    try:
        definition.denials = restrictions.rules_of(config)
    except ConfigurationError as error:
        definition.failure = error
        return definition
    try:
        if request.kind == "team":
            _lead(control_plane, request, definition, entity)
        elif (subagents := _subagents(config)) and request.definition is not None:
            _members(definition, [_subagent(request, key, raw, definition) for key, raw in subagents.items()])
    except ValueError as error:
        text = str(error)  # `capitalize` would put the names in it into lower case
        definition.failure = ConfigurationError(text[:1].upper() + text[1:], remedy="Change the team's configuration")
    return definition


def _rules(loaded: dict[str, Any]) -> list[Any]:
    rules = loaded.get("approval_rules") or []
    return rules if isinstance(rules, list) else [rules]


def _read_of(execution: Any) -> dict[str, Any]:
    """Return an execution's row with metadata that is an object; what is none is no reason not to begin."""
    row = dict(lenient.mapping(execution))
    return {**row, "execution_metadata": dict(lenient.mapping(row.get("execution_metadata")))} if row else row


def _messages(session: Any) -> list[m.Message]:
    """Return the messages of a session that can be read."""
    return [m.readable(message) for message in lenient.only_objects(lenient.mapping(session).get("messages"))]


def _own(control_plane: ControlPlane, request: ex.ExecutionInput) -> dict[str, Any]:
    """Return a definition that exists only in the input. Its skills are fetched by id."""
    definition = dict(request.definition or {})
    parts = control_plane.contexts.execution_parts(request.member.stream if request.member else request.execution_id)
    named = map(control_plane.definitions.skill, definition.get("skill_ids") or ())
    skills = [{**skill, "source": OWN_SKILL} for skill in (*(definition.get("skills") or ()), *named)]
    if request.member is not None:
        parts = {**parts, "execution": {}, "session": None}
    stream = request.member.stream if request.member else request.execution_id
    environment = control_plane.contexts.environment(
        request.kind, request.agent_id, stream
    )  # the variables of this run
    own = definition.get("environment") or {}
    servers = {**(environment.get("mcp_servers") or {}), **(own.get("mcp_servers") or {})}
    environment = {**environment, **own, "mcp_servers": servers}
    return {**parts, request.kind: definition, "skills": skills, "environment": environment}


def _lead(
    control_plane: ControlPlane, request: ex.ExecutionInput, definition: Definition, entity: dict[str, Any]
) -> None:
    config = team.TeamConfig.parse(definition.config)
    leader = control_plane.definitions.agent(config.leader_id) if config.leader_id else {}
    if config.leader_id and not leader:
        raise ValueError(f"the team's leader {config.leader_id!r} does not exist")
    prompt = definition.prompt or config.instructions or str(entity.get("description") or "")
    definition.prompt = "\n\n".join(filter(None, (lenient.text(leader.get("system_prompt")), prompt)))
    llm = dict(config.llm)
    definition.model_id = definition.model_id or llm.pop("model", None) or leader.get("model_id")
    of_leader = lenient.an_object(leader.get("llm_config"), f"`llm_config` of the agent {config.leader_id!r}")
    definition.model_config = {**of_leader, **llm, **definition.model_config}
    definition.mode, definition.member_timeout = config.mode, config.member_timeout
    listed = lenient.objects(entity.get("agents"), f"`agents` of the team {request.agent_id!r}")
    ids = config.member_ids or tuple(lenient.text(row.get("id")) for row in listed)
    if not ids:
        raise ValueError("the team has no members")
    _members(definition, [_member(control_plane, config, key) for key in ids])


def _member(control_plane: ControlPlane, config: team.TeamConfig, key: str) -> dict[str, Any]:
    """Return the agent with this id, or else the team."""
    kind, entity = "agent", control_plane.definitions.agent(key)
    if not entity:
        kind, entity = "team", control_plane.definitions.team(key)
    if not entity:
        raise ValueError(f"the team's member {key!r} does not exist")
    queues = config.member_queues
    return {
        "kind": kind,
        "id": lenient.text(entity.get("id"), key) or key,
        "name": lenient.text(entity.get("name"), key) or key,
        "description": str(entity.get("description") or ""),
        "queue": queues.get(str(entity.get("id"))) or queues.get(str(entity.get("name"))) or "",
        "definition": None,
    }


def _subagents(config: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a dynamic execution (docs/protocol.md#b3): agent_config.runtime_config.agents."""
    runtime = config.get("runtime_config")
    agents = runtime.get("agents") if isinstance(runtime, dict) else None
    return {str(k): v for k, v in agents.items() if isinstance(v, dict)} if isinstance(agents, dict) else {}


def _subagent(request: ex.ExecutionInput, key: str, raw: dict[str, Any], leader: Definition) -> dict[str, Any]:
    """Return the definition of a subagent.

    It has its own prompt and model, and the execution's tools that `tools` names; all of them when it names none.
    """
    assert request.definition is not None
    name = str(raw.get("name") or key)
    definition = {
        "name": name,
        "system_prompt": str(raw.get("prompt") or ""),
        "model_id": raw.get("model") or leader.model_id,
        "llm_config": leader.model_config,
        "skills": leader.skills,
        "environment": request.definition.get("environment") or {},
        **({"configuration": {restrictions.ALLOWED: raw["tools"]}} if raw.get("tools") else {}),
    }
    about = {"name": name, "description": str(raw.get("description") or ""), "queue": "", "definition": definition}
    return {"kind": "agent", "id": f"{request.agent_id}.{key}", **about}


def _members(definition: Definition, members: list[dict[str, Any]]) -> None:
    definition.mode = definition.mode or team.COORDINATE
    definition.member_timeout = definition.member_timeout or team.MEMBER_TIMEOUT
    tools = team.tool_names(member["name"] for member in members)
    definition.members = [{"tool": tool, **member} for tool, member in zip(tools, members, strict=True)]
    briefing = team.briefing(definition.name, definition.mode, definition.members)
    definition.prompt = "\n\n".join(filter(None, (definition.prompt, briefing)))


def context_for(request: ex.ExecutionInput, definition: Definition) -> calls.Context:
    """Return the context for the workflow and all further activities. The caller adds models and tools."""
    return calls.Context(
        agent_id=request.agent_id,
        agent_name=definition.name,
        system_prompt=definition.prompt,
        model_config=definition.model_config,
        skills=definition.skills,
        rules=definition.rules,
        denials=definition.denials,
        workspace=str(definition.config.get("cwd") or ""),
        user={k: v for k, v in request.user_metadata.items() if k.startswith("user_")},
        organization_id=request.organization_id,
        kind=request.kind,
        mode=definition.mode,
        members=definition.members,
        member_timeout=definition.member_timeout,
        member=request.member,
        # Those of the definition are not here: this is stored in the history, and they can hold credentials.
        mcp_servers={**_servers(request, "mcp_servers"), **_servers(request, "mcpServers"), **request.mcp_servers},
        config=_budgets(request, definition),
        taint=definition.taint,
    )


def _budgets(request: ex.ExecutionInput, definition: Definition) -> dict[str, Any]:
    """Return the input's budgets alone if it has any: its `max_turns` must not lose against the entity's `budgets`."""
    names = ("budgets", "max_turns")
    own = request.member is None and any(name in request.agent_config for name in names)
    config = request.agent_config if own else definition.config
    return {name: config[name] for name in names if name in config}


def _servers(request: ex.ExecutionInput, key: str) -> dict[str, Any]:
    """Return the MCP servers of the input's configuration; `begin_execution` refuses a value that is no map of them."""
    servers = request.agent_config.get(key)
    return servers if isinstance(servers, dict) else {}
