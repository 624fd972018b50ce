"""This module models what people define: environments, worker queues, skills, agents, teams, approval rules."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from kubiya_worker.server import approvers
from kubiya_worker.server.edges.base import (
    Filled,
    Json,
    Name,
    NotSupported,
    Strict,
    Whole,
    checked_by,
    named,
    one_of,
    within,
)
from kubiya_worker.server.edges.configuration import Configuration, Environment, Llm, TeamConfiguration
from kubiya_worker.server.edges.skill_types import TypeOfNamed
from kubiya_worker.server.store import definitions

TEAM_STATUSES = ("active", "inactive", "archived", "idle")  # api/run_starts.py starts none that is inactive or archived
QUEUE_STATUSES = ("active", "inactive", "paused")
_SKILLS = NotSupported("Put them into skills; one that several have as {ref: NAME}")
_STORED_ELSEWHERE = NotSupported("The published server drops it, too")


class EnvironmentPatch(Strict):
    name: Name | None = None
    display_name: str | None = None
    description: str | None = None
    tags: list[str] | None = None
    execution_environment: Environment | None = None
    settings: Annotated[Any, NotSupported("Set them on a worker queue")] = None


class NewEnvironment(EnvironmentPatch):
    name: Name


class QueueSettings(Strict):
    enable_local_litellm_proxy: bool | None = None
    litellm_config: Json | None = None
    local_proxy_timeout_seconds: Annotated[Any, NotSupported("The worker runs no proxy that could be slow")] = None
    local_proxy_max_retries: Annotated[Any, NotSupported("The worker runs no proxy that could fail")] = None


class QueuePatch(Strict):
    """Null for max_workers means no limit."""

    nullable: ClassVar[frozenset[str]] = frozenset({"max_workers"})

    name: Annotated[str, named(2, 50)] | None = None
    display_name: str | None = None
    description: str | None = None
    max_workers: Annotated[int, Field(ge=1)] | None = None
    heartbeat_interval: Annotated[int, within(10, 300, "seconds")] | None = None
    tags: list[str] | None = None
    settings: QueueSettings | None = None
    status: Annotated[str, one_of(*QUEUE_STATUSES)] | None = None
    ephemeral: bool | None = None
    single_execution_mode: bool | None = None
    worker_type: str | None = None
    auto_cleanup_after_seconds: Annotated[Whole, Field(ge=1)] | None = None
    parent_execution_id: str | None = None


class NewQueue(QueuePatch):
    """`environment_id` may repeat the environment of the path."""

    name: Annotated[str, named(2, 50)]
    environment_id: str | None = None


class Skill(Strict):
    """A skill of an agent or a team; its configuration is in docs/reference/skills.md.

    `ref` names a skill that several have: nothing else is said of it here but whether it is `enabled`.
    """

    ref: Filled | None = None
    id: str | None = None
    name: str | None = None
    type: TypeOfNamed | None = None
    description: str | None = None
    icon: str | None = None
    enabled: bool | None = None
    configuration: Json | None = None


def _typed(skills: list[Skill]) -> None:
    if not all(skill.ref or skill.type or skill.name for skill in skills):
        raise ValueError("a skill is an object with a type, or the name of a skill that is stored")


def _named(value: Any) -> Any:
    return {"ref": value} if isinstance(value, str) else value


NamedSkill = Annotated[Skill, BeforeValidator(_named, json_schema_input_type=Skill | str)]
Skills = Annotated[list[NamedSkill], checked_by(_typed)]
Runtime = Annotated[str, one_of("default", "claude_code")]  # both run in the worker's own loop


class _Entity(Strict):
    description: str | None = None
    runtime: Runtime | None = None
    skills: Skills | None = None
    execution_environment: Environment | None = None
    environment_ids: list[str] | None = None
    skill_ids: Annotated[Any, _SKILLS] = None
    skill_configurations: Annotated[Any, _SKILLS] = None


class AgentPatch(_Entity):
    """`model` and `model_config` are other names of `model_id` and `llm_config`."""

    name: Name | None = None
    system_prompt: str | None = None
    capabilities: list[str] | None = None
    configuration: Configuration | None = None
    model_id: str | None = None
    model: str | None = None
    llm_config: Llm | None = None
    model_config_: Annotated[Llm | None, Field(alias="model_config")] = None
    status: str | None = None
    runner_name: Annotated[Any, NotSupported("Name the queue when you execute: worker_queue_id")] = None
    team_id: Annotated[Any, NotSupported("Add the agent to the team: POST /teams/{team}/agents/{agent}")] = None
    # What a published worker sends beside a status; docs/protocol.md#a7 has it dropped.
    last_active_at: Any = None
    state: Any = None
    error_message: Any = None


class NewAgent(AgentPatch):
    name: Name


class TeamPatch(_Entity):
    name: Name | None = None
    configuration: TeamConfiguration | None = None
    status: Annotated[str, one_of(*TEAM_STATUSES)] | None = None


class NewTeam(TeamPatch):
    name: Name


class RulePatch(Strict):
    """A rule. `approver_value` are the names that `approver_type` says: e-mails, groups or roles, as a list or with
    commas; an empty text names nobody again. What persons with one of `auto_approve_roles` (roles or groups) started
    needs no approval. With `separate_approver`, nobody approves what they asked for.
    """

    name: Name | None = None
    description: str | None = None
    scope_type: Annotated[str, one_of(*definitions.SCOPES)] | None = None
    scope_value: str | None = None
    require_reason: bool | None = None
    timeout_minutes: Annotated[int, within(1, definitions.LONGEST_TIMEOUT, "minutes")] | None = None
    enabled: bool | None = None
    priority: int | None = None
    action: Annotated[str, one_of(*definitions.ACTIONS)] | None = None
    argument_pattern: str | None = None
    approver_type: Annotated[str, one_of(*approvers.TYPES)] | None = None
    approver_value: str | list[str] | None = None
    separate_approver: bool | None = None
    auto_approve_roles: list[str] | None = None


class NewRule(RulePatch):
    name: Name
    scope_type: Annotated[str, one_of(*definitions.SCOPES)]
