"""This module models what people say to start executions, and to those that run."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from kubiya_worker.server.edges.base import Filled, Json, NotSupported, Strict, checked_by, one_of, within
from kubiya_worker.server.edges.configuration import (
    EntityConfiguration,
    Llm,
    RunEnvironment,
    Servers,
    Subagent,
    own_servers,
)

MOST: int = 100  # executions in one request
REASON: int = 500  # characters
AUTHOR: str = "A message is from the person whose key sends it"


class Execute(Strict):
    """`stream` changes nothing: every execution can be followed at its stream. `priority` is Temporal's: 1 is worked on
    first, 3 is what others have.
    """

    prompt: Filled
    system_prompt: str | None = None
    model_id: str | None = None
    worker_queue_id: str | None = None
    user_metadata: Json | None = None
    execution_environment: RunEnvironment | None = None
    execution_metadata: Json | None = None
    parent_execution_id: str | None = None
    stream: bool | None = None
    priority: Annotated[int, within(1, 5)] | None = None


class Entity(Strict):
    """An agent or team that exists in one execution only."""

    entity_type: str | None = None
    name: str | None = None
    system_prompt: str | None = None
    model_id: str | None = None
    model_params: Llm | None = None
    configuration: Annotated[EntityConfiguration, checked_by(own_servers)] | None = None
    mcp_servers: Servers | None = None
    skill_ids: list[str] | None = None
    subagents: list[Subagent] | None = None
    runtime: Annotated[str, one_of("default", "claude_code")] | None = None
    capabilities: Annotated[Any, NotSupported("Use the system_prompt")] = None


class ExecuteDynamic(Strict):
    prompt: Filled
    entity: Entity
    worker_queue_id: str | None = None
    execution_environment: RunEnvironment | None = None
    user_metadata: Json | None = None
    meta_agent_session_id: Annotated[Any, NotSupported("Nothing here plans")] = None
    is_shared: Annotated[Any, NotSupported("Whoever holds a key of the organization sees every execution")] = None
    privacy_level: Annotated[Any, NotSupported("Whoever holds a key of the organization sees it", ("org",))] = None


class Cancel(Strict):
    """`reason` is shown to readers of the execution."""

    reason: Annotated[Filled, Field(max_length=REASON)] | None = None


class Retry(Strict):
    """The same again, on the same queue unless another one is named."""

    worker_queue_id: str | None = None


class Fork(Strict):
    """A request to run an execution again from a step on, as a new one, and what is another one then.

    `at` is the number of an event of the step, `message_id` the message before which the conversation is cut.
    """

    at: Annotated[int, Field(ge=1)] | None = None
    message_id: str | None = None
    prompt: Filled | None = None
    agent: str | None = None
    model_id: str | None = None
    worker_queue_id: str | None = None


class Message(Strict):
    """A message of the key's person to an execution, which goes on with it when it is over.

    `member` names the member of a team that gets it.
    """

    message: Filled
    role: Annotated[str, one_of("user")] | None = None
    message_id: str | None = None
    member: str | None = None
    user_id: Annotated[Any, NotSupported(AUTHOR)] = None
    user_name: Annotated[Any, NotSupported(AUTHOR)] = None
    user_email: Annotated[Any, NotSupported(AUTHOR)] = None
    user_avatar: Annotated[Any, NotSupported(AUTHOR)] = None


Reason = Annotated[Filled, AfterValidator(lambda text: text[:REASON])]


class Terminate(Strict):
    reason: Reason


class StopAll(Strict):
    reason: Reason


class TerminateAll(Strict):
    reason: Reason
    execution_ids: Annotated[list[str], Field(min_length=1, max_length=MOST)]


class Answer(Strict):
    """An answer to a request for approval."""

    answer: str | None = None
    comment: str | None = None
    reason: str | None = None
    arguments: Json | None = None
    remember: bool | None = None
    approver_email: str | None = None
    approver_name: str | None = None
    approver_id: str | None = None
