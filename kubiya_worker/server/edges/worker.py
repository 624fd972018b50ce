"""This module types the bodies of a worker's writes (docs/protocol.md#a11).

A wrong type is answered with 422, as the published server does.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Required

from pydantic import AfterValidator, ConfigDict, Field, RootModel
from typing_extensions import TypedDict

from kubiya_worker.server.edges.base import Filled, Json, Wire, within
from kubiya_worker.server.store.definitions import LONGEST_TIMEOUT

NAME = 255  # characters of a tool's name
RISK = 50  # characters


def _time(text: str) -> str:
    datetime.fromisoformat(text)  # raises a ValueError that says what is wrong
    return text


Time = Annotated[str, AfterValidator(_time)]


class SystemInfo(Wire):
    """A worker's description of its host; fields not named here are kept unchanged."""

    model_config = ConfigDict(extra="allow")

    hostname: str | None = None
    platform: str | None = None
    os_name: str | None = None
    os_version: str | None = None
    python_version: str | None = None
    cli_version: str | None = None
    sdk_version: str | None = None
    pid: int | None = None
    cwd: str | None = None
    supported_runtimes: list[str] | None = None
    llm_gateway_url: str | None = None
    docker_available: bool | None = None
    docker_version: str | None = None
    cpu_count: int | None = None
    cpu_percent: float | None = None
    memory_total: int | None = None
    memory_used: int | None = None
    memory_percent: float | None = None
    disk_total: int | None = None
    disk_used: int | None = None
    disk_percent: float | None = None
    uptime_seconds: float | None = None


class Start(Wire):
    """A worker's registration; `worker_id`, the id that it asks for, is our own field."""

    worker_sdk_version: str | None = None
    control_plane_url: str | None = None
    system_info: SystemInfo | None = None
    worker_id: str | None = None


class Beat(Wire):
    status: str = "active"
    tasks_processed: int = 0
    current_task_id: str | None = None
    worker_metadata: Json = Field(default_factory=dict)
    system_info: SystemInfo | None = None
    logs: list[str] | None = None


class Disconnect(Wire):
    reason: str | None = None
    exit_code: int | None = None
    error_message: str | None = None


class ExecutionPatch(Wire):
    """A change of an execution; null leaves a field unchanged.

    `sequel`, how often the execution had gone on when this run of it began, is our own field.
    """

    status: str | None = None
    started_at: Time | None = None
    completed_at: Time | None = None
    response: str | None = None
    error_message: str | None = None
    usage: Json | None = None
    execution_metadata: Json | None = None
    sequel: int | None = None


class TurnBody(Wire):
    """A turn's figures; a field with a default does not accept null."""

    execution_id: str
    turn_number: int
    model: str
    started_at: Time
    turn_id: str | None = None
    model_provider: str | None = None
    completed_at: Time | None = None
    finish_reason: str | None = None
    response_preview: str | None = None
    error_message: str | None = None
    duration_ms: int | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0
    total_tokens: int = 0
    tools_called_count: int = 0
    input_cost: float = 0
    output_cost: float = 0
    cache_read_cost: float = 0
    cache_creation_cost: float = 0
    total_cost: float = 0
    runtime_minutes: float = 0
    aem_value: float = 0
    aem_cost: float = 0
    model_weight: float = 1
    tool_calls_weight: float = 1
    tools_called_names: list[str] = Field(default_factory=list)
    metrics: Json = Field(default_factory=dict)


class ToolCallBody(Wire):
    execution_id: str
    tool_name: Filled
    started_at: Time
    turn_id: str | None = None
    tool_use_id: str | None = None
    completed_at: Time | None = None
    error_message: str | None = None
    error_type: str | None = None
    duration_ms: int | None = None
    tool_output_size: int | None = None
    tool_input: Json | None = None
    tool_output: str | None = None
    success: bool = True
    metadata: Json = Field(default_factory=dict)


class Batch(Wire):
    """Several entries; each names its execution, although the batch does too."""

    execution_id: str
    turns: list[TurnBody] = Field(default_factory=list)
    tool_calls: list[ToolCallBody] = Field(default_factory=list)
    tasks: list[Json] = Field(default_factory=list)


def _messages(messages: list[Json]) -> list[Json]:
    if any(m.get("role") == "assistant" and not isinstance(m.get("content"), str) for m in messages):
        raise ValueError("The content of an assistant's message is text")
    return messages


class RunFileBody(Wire):
    """A file that a run has made: its content in base64, or, where it is not stored, its size and the reason."""

    path: Filled
    content: str | None = None
    size: Annotated[int, Field(ge=0)] | None = None
    refused: Annotated[str, Field(max_length=200)] | None = None


class SessionBody(Wire):
    """A conversation. `first`, the place of the first of these messages in it, is our own field.

    An assistant's content must be text: the published server stores nothing of any other type.
    """

    messages: Annotated[list[Json], AfterValidator(_messages)]
    session_id: str | None = None
    user_id: str | None = None
    metadata: Json | None = None
    first: Annotated[int, Field(ge=0)] | None = None


def _line(text: str) -> str:
    if not text or "\n" in text or "\r" in text:
        raise ValueError("event_type is one line")
    return text


class Event(TypedDict, total=False):
    """An event; `event_id` and `after`, the ids of events that come before it, are our own fields.

    It is a dictionary, since a model for each event of a batch costs three times as much.
    """

    event_type: Required[Annotated[str, AfterValidator(_line)]]
    data: Required[Json]
    timestamp: str | None
    event_id: str | None
    after: list[Any] | None


class OneEvent(RootModel[Event], Wire):
    """A body that is one event."""

    def given(self) -> Json:
        return dict(self.root)


class EventsBody(Wire):
    """Events in their order. This route is our own."""

    events: list[Event]
    after: list[Any] | None = None


class Requests(Wire):
    """Several writes in one request. This route is our own; docs/control-plane.md."""

    requests: list[Any] | None = None
    groups: list[Any] | None = None


class Expire(Wire):
    """A request that nobody has answered in time. This route is our own."""


class Resolve(Wire):
    """A question which approval rules are about a tool."""

    tool_name: Filled
    tool_args: Json | None = None
    risk_level: str | None = None
    category: str | None = None


class LockBody(Wire):
    worker_id: str | None = None
    lock_duration_seconds: Annotated[int, within(60, 600, "seconds")] | None = None


class Approval(Wire):
    """A request for approval; `id`, `tool_execution_id`, `arguments_hash`, `reason` and the requester's fields
    are ours.
    """

    execution_id: Filled
    tool_name: Annotated[Filled, Field(max_length=NAME)]
    rule_id: str | None = None
    tool_args: Json | None = None
    risk_level: Annotated[str, Field(max_length=RISK)] | None = None
    enforcement_context: Json | None = None
    approver_emails: list[str] | None = None
    timeout_minutes: Annotated[int, Field(ge=1, le=LONGEST_TIMEOUT)] = 1440
    id: str | None = None
    tool_execution_id: str | None = None
    arguments_hash: str | None = None
    reason: str | None = None
    requester_email: str | None = None
    requester_id: str | None = None


class JobExecution(Wire):
    """A run of a job; `worker_queue_id`, the queue of the run, is our own field."""

    execution_id: Filled
    organization_id: str
    entity_type: Literal["agent", "team"]
    prompt: Filled
    trigger_type: str
    trigger_metadata: Json
    job_id: str | None = None
    entity_id: str | None = None
    worker_queue_id: str | None = None


class JobStatus(Wire):
    status: str
    duration_ms: int | None = None
    error_message: str | None = None
