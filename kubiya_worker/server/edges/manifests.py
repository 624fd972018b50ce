"""This module models definition files: documents {kind, name, spec}, and what each kind's `spec` can hold."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from kubiya_worker.server.edges.base import Filled, Json, Name, NotSupported, Strict, fields_of, one_of
from kubiya_worker.server.edges.definitions import AgentPatch, EnvironmentPatch, QueuePatch, RulePatch, TeamPatch
from kubiya_worker.server.edges.hooks import HookPatch, HookProof
from kubiya_worker.server.edges.jobs import JobPatch
from kubiya_worker.server.edges.models import ModelPatch
from kubiya_worker.server.edges.notifications import Channel, Events, NotificationPatch
from kubiya_worker.server.edges.secrets import SecretSet
from kubiya_worker.server.edges.shared_parts import McpServerPatch, SkillPatch
from kubiya_worker.server.edges.skill_types import SkillType
from kubiya_worker.server.hooks import senders
from kubiya_worker.server.store import definitions

# Each may refer to those before it.
KINDS: Final = (
    "Secret",
    "Skill",
    "MCPServer",
    "Environment",
    "Queue",
    "Model",
    "Agent",
    "Team",
    "Rule",
    "Job",
    "Notification",
    "Hook",
)
MOST: Final = 1_000  # documents in a request
LARGEST: Final = 4 << 20  # characters of a text
REFERENCES: Final = frozenset({"environment", "agent", "team"})  # fields that name other objects, and are not stored
_BESIDE: Final = NotSupported("The name stands beside spec")
_BY_NAME: Final = NotSupported("Name the agent in agent, or the team in team")
_OF_RUNS: Final = NotSupported("It belongs to the queue of one run")
_OF_STATE: Final = NotSupported("It is state, and no part of a definition")


_ELSEWHERE: Final = {  # what people look for as a kind, and where it is said
    "mcp": "an MCP server is an MCPServer",
    "webhook": "a webhook that alerts call is a Hook, one that starts a prompt is a Job with trigger_type: "
    "webhook, and one that is called is a Notification with channel.type: webhook",
    "alert": "an alert comes in by a Hook",
    "toolset": "a set of tools is a Skill",
    "workflow": "what runs at times is a Job",
    "policy": "a policy is made of Rules",
    "test": "a test is played by kubiya test, and no definition",
}


def _kind(word: str) -> str:
    """Return a kind; refuse another word by what it stands for, or with the list of kinds."""
    if word in KINDS:
        return word
    plain = "".join(c for c in word.lower() if c.isalpha()).removesuffix("s")
    text = _ELSEWHERE.get(plain, f"kind is one of {', '.join(KINDS)}")
    raise PydanticCustomError("enum", "{text}", {"text": text})


class SecretPlace(Strict):
    """A place says where `kubiya apply` reads a value, on the host where it runs: one of the two."""

    env: Filled | None = None
    file: Filled | None = None


class SecretSpec(SecretSet):
    """A `source` that the control plane reads, or `value_from`. Without both, the secret has to be there already."""

    value_from: SecretPlace | None = None


class SkillSpec(SkillPatch):
    name: Annotated[Any, _BESIDE] = None
    type: SkillType


class MCPServerSpec(McpServerPatch):
    name: Annotated[Any, _BESIDE] = None


class EnvironmentSpec(EnvironmentPatch):
    name: Annotated[Any, _BESIDE] = None


class QueueSpec(QueuePatch):
    """`environment` is the name of the queue's environment; `default` if it is absent."""

    name: Annotated[Any, _BESIDE] = None
    environment: Filled | None = None
    ephemeral: Annotated[Any, _OF_RUNS] = None
    parent_execution_id: Annotated[Any, _OF_RUNS] = None


class ModelSpec(ModelPatch):
    name: Annotated[Any, _BESIDE] = None
    model: Filled


class AgentSpec(AgentPatch):
    name: Annotated[Any, _BESIDE] = None
    model: Annotated[Any, NotSupported("Set model_id")] = None
    model_config_: Annotated[Any, NotSupported("Set llm_config"), Field(alias="model_config")] = None
    status: Annotated[Any, _OF_STATE] = None
    last_active_at: Annotated[Any, _OF_STATE] = None
    state: Annotated[Any, _OF_STATE] = None
    error_message: Annotated[Any, _OF_STATE] = None


class TeamSpec(TeamPatch):
    """Members and the leader are given by name or id."""

    name: Annotated[Any, _BESIDE] = None


class RuleSpec(RulePatch):
    name: Annotated[Any, _BESIDE] = None
    scope_type: Annotated[str, one_of(*definitions.SCOPES)]


class JobSpec(JobPatch):
    """The job's agent or team is given by its name."""

    name: Annotated[Any, _BESIDE] = None
    agent: Filled | None = None
    team: Filled | None = None
    trigger_type: Annotated[str, one_of("cron", "webhook", "manual")] = "manual"
    entity_type: Annotated[Any, _BY_NAME] = None
    entity_id: Annotated[Any, _BY_NAME] = None
    planning_mode: Annotated[Any, _BY_NAME] = None


class NotificationSpec(NotificationPatch):
    name: Annotated[Any, _BESIDE] = None
    channel: Channel
    events: Events


class HookSpec(HookPatch):
    """The hook's agent or team is given by its name."""

    name: Annotated[Any, _BESIDE] = None
    source: Annotated[str, one_of(*senders.NAMES)]
    proof: HookProof


SPECS: Final[dict[str, type[Strict]]] = {
    "Secret": SecretSpec,
    "Skill": SkillSpec,
    "MCPServer": MCPServerSpec,
    "Environment": EnvironmentSpec,
    "Queue": QueueSpec,
    "Model": ModelSpec,
    "Agent": AgentSpec,
    "Team": TeamSpec,
    "Rule": RuleSpec,
    "Job": JobSpec,
    "Notification": NotificationSpec,
    "Hook": HookSpec,
}


def taken(kind: str) -> frozenset[str]:
    """Return the names of the fields that the spec of a kind can hold."""
    return frozenset(name for name, refused in fields_of(SPECS[kind]).items() if refused is None)


class Document(Strict):
    """`base` is the spec that the change began from: the document is refused when another one is stored by now."""

    kind: Annotated[str, AfterValidator(_kind)]
    name: Name
    spec: Json | None = None
    base: Json | None = None


class Apply(Strict):
    """Documents that are to hold from now on.

    `prune` deletes what an earlier request with the same `source` has made and these documents do not name. `dry_run`
    tells what would change, and changes nothing.
    """

    documents: Annotated[list[Document], Field(max_length=MOST)]
    dry_run: bool | None = None
    prune: bool | None = None
    source: Name | None = None


class DefinitionText(Strict):
    """Documents as YAML or JSON."""

    text: Annotated[str, Field(max_length=LARGEST)]


class Draft(Strict):
    """A document that nothing is checked of but its form: a person may still be writing it."""

    kind: str
    name: str
    spec: Json | None = None


class Documents(Strict):
    """Documents that are to be written as YAML; what they say is not checked."""

    documents: Annotated[list[Draft], Field(max_length=MOST)]


class Rollback(Strict):
    version: Annotated[int, Field(ge=1)]
