"""This module models what an agent's or a team's `configuration` can hold, and the environment of its runs.

The worker applies these fields; what they mean is in docs/budgets.md, docs/models.md, docs/teams.md and docs/policy.md.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter
from pydantic_core import PydanticCustomError

from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import mcp_keys, team
from kubiya_worker.server.edges.base import (
    Filled,
    Json,
    NotSupported,
    Number,
    Strict,
    Whole,
    checked_by,
    one_of,
)
from kubiya_worker.server.edges.field_help import described

# What can stand in `{{.secret.NAME}}`.
SecretName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
_VARIABLE = str | int | float | bool
_NO_INTEGRATIONS = NotSupported("Set the integration's variables in env_vars, such as GH_TOKEN")
_NO_FOLDERS = NotSupported("Give the agent the skills that it needs")
_NO_TIMEOUT = NotSupported("Set configuration.budgets.max_seconds")
_FREE = "agent or team, whose answer needs no such option"


# What /openapi.json says of the limits of an execution; `ex.Budgets` checks them.
_BUDGETS = {**described(TypeAdapter(ex.Budgets).json_schema(), "Budgets"), "additionalProperties": False}


def _budgets(budgets: Any) -> None:
    ex.Budgets.parse({"budgets": budgets})


def _max_turns(value: Any) -> None:
    ex.Budgets.parse({"max_turns": value})


def _named(value: Any) -> Any:
    """Return servers by their names: a list names stored ones, and null has no settings of its own."""
    if not isinstance(value, list):
        return value
    named = [one.get("ref") if isinstance(one, dict) and len(one) == 1 else one for one in value]
    wrong = next((one for one in named if not isinstance(one, str) or not one), None)
    if wrong is not None or len(set(named)) < len(named):
        raise PydanticCustomError("value_error", "a list of MCP servers has the name of each stored one, once")
    return {name: {"ref": name} for name in named}


Servers = Annotated[Json, checked_by(mcp_keys.check)]
# Also names of stored servers: {NAME: {ref: NAME}}, or a list of names.
NamedServers = Annotated[
    Json,
    BeforeValidator(_named, json_schema_input_type=Json | list[str]),
    checked_by(mcp_keys.check_named),
]


def own_servers(configuration: Configuration) -> None:
    """Raise ValueError for servers that are named: a run or a job has its own ones, or those of its agent."""
    for servers in (configuration.mcp_servers, configuration.mcpServers):
        mcp_keys.check(servers or {})


class Compaction(Strict):
    at_tokens: Annotated[int, Field(gt=0)]


class Llm(Strict):
    """Settings of the model; docs/models.md."""

    temperature: Number | None = None
    top_p: Number | None = None
    top_k: Whole | None = None
    max_tokens: Whole | None = None
    seed: Whole | None = None
    frequency_penalty: Number | None = None
    presence_penalty: Number | None = None
    stop: str | list[str] | None = None
    stop_sequences: str | list[str] | None = None
    parallel_tool_calls: bool | None = None
    thinking: str | bool | None = None
    reasoning_effort: str | bool | None = None
    response_format: Any = None
    structured_outputs: Any = None
    response_model: Any = None
    timeout: Any = None
    caching: Any = None
    compatibility: Any = None
    vision: Any = None
    fallback_models: str | list[Filled] | None = None


class TeamLlm(Llm):
    model: str | None = None


class Configuration(Strict):
    """The configuration of an agent."""

    budgets: Annotated[Any, checked_by(_budgets), Field(json_schema_extra=_BUDGETS)] = None
    max_turns: Annotated[Any, checked_by(_max_turns)] = None
    cwd: str | None = None
    taint: Annotated[str, one_of("off", "web", "ask")] | Literal[False] | None = None
    compaction: bool | Compaction | None = None
    on_unsupported_skill: Annotated[str, one_of("skip", "fail")] | None = None
    fallback_models: str | list[Filled] | None = None
    mcp_servers: NamedServers | None = None
    mcpServers: NamedServers | None = None
    response_format: Any = None
    structured_outputs: Any = None
    response_model: Any = None
    instructions: str | list[str] | None = None
    allowed_tools: list[Filled] | None = None
    disallowed_tools: list[Filled] | None = None
    permission_mode: Annotated[Any, NotSupported("Approval rules decide what runs", ("default",))] = None
    runtime_config: Annotated[Any, NotSupported("Only an execution of its own entity can have it")] = None
    env_vars: Annotated[Any, NotSupported("Set execution_environment.env_vars")] = None
    timeout: Annotated[Any, NotSupported("Set budgets.max_seconds")] = None
    runtime: Annotated[Any, NotSupported("Set runtime beside configuration", ("default", "claude_code"))] = None
    system_prompt: Annotated[Any, NotSupported("Set system_prompt beside configuration")] = None


class TeamConfiguration(Configuration):
    """The configuration of a team."""

    mode: Annotated[str, one_of(*team.MODES)] | None = None
    leader_id: str | None = None
    member_ids: list[str] | None = None
    member_queues: dict[str, str] | None = None
    member_timeout: Annotated[Number, Field(gt=0)] | None = None
    llm: TeamLlm | None = None
    reasoning: Annotated[Any, NotSupported("Set llm.thinking")] = None
    tools: Annotated[Any, NotSupported("Give the team skills")] = None
    knowledge_base: Annotated[Any, NotSupported("Give an agent a skill that can read it")] = None
    session: Annotated[Any, NotSupported("Every execution has a session")] = None
    dependencies: Annotated[Any, NotSupported("Choose the mode sequential")] = None
    markdown: Annotated[Any, NotSupported("Say it in the instructions")] = None
    add_datetime_to_instructions: Annotated[Any, NotSupported("Say it in the instructions")] = None
    debug_mode: Annotated[Any, NotSupported("Start the worker with --log-level debug")] = None
    monitoring: Annotated[Any, NotSupported("The worker's metrics are at its metrics port")] = None
    metadata: Annotated[Any, NotSupported("Use the description")] = None


class Subagent(Strict):
    """A member that exists in one execution only."""

    id: str | None = None
    name: str | None = None
    description: str | None = None
    prompt: str | None = None
    model: str | None = None
    tools: list[Filled] | None = None


class RuntimeConfig(Strict):
    agents: dict[str, Subagent] | None = None
    session_id: Annotated[Any, NotSupported("Every execution has a session")] = None
    env: Annotated[Any, NotSupported("Set execution_environment.env_vars")] = None


class EntityConfiguration(TeamConfiguration):
    """The configuration of an agent or team that exists in one execution only."""

    runtime_config: RuntimeConfig | None = None


class Environment(Strict):
    """The environment of an agent's, a team's or an environment's runs."""

    env_vars: dict[str, _VARIABLE] | None = None
    mcp_servers: NamedServers | None = None
    working_dir: Annotated[Any, NotSupported("Set configuration.cwd of the agent or team")] = None
    secrets: list[SecretName] | None = None
    integration_ids: Annotated[Any, _NO_INTEGRATIONS] = None
    skill_dirs: Annotated[Any, _NO_FOLDERS] = None
    timeout: Annotated[Any, _NO_TIMEOUT] = None


class RunEnvironment(Strict):
    """The environment of one run."""

    env_vars: dict[str, _VARIABLE] | None = None
    working_dir: str | None = None
    mcp_servers: Annotated[Any, NotSupported("Attach them to the agent or team instead")] = None
    secrets: list[SecretName] | None = None
    integration_ids: Annotated[Any, _NO_INTEGRATIONS] = None
    skill_dirs: Annotated[Any, _NO_FOLDERS] = None
    timeout: Annotated[Any, _NO_TIMEOUT] = None
