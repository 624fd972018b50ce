"""The bodies of the writes, as the table of docs/protocol.md#a11 types them. FastAPI reads bodies with such models.

They are written apart from kubiya_worker/server/edges, which have much the same fields: a double that shared the types
of our own control plane would share their mistakes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Json = dict[str, Any]


class SystemInfo(BaseModel):
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


class Start(BaseModel):
    worker_sdk_version: str | None = None
    control_plane_url: str | None = None
    system_info: SystemInfo | None = None


class Beat(BaseModel):
    status: str = "active"
    tasks_processed: int = 0
    current_task_id: str | None = None
    worker_metadata: Json = {}
    system_info: SystemInfo | None = None
    logs: list[str] | None = None


class Disconnect(BaseModel):
    reason: str = "shutdown"
    exit_code: int | None = None
    error_message: str | None = None


class ExecutionPatch(BaseModel):
    status: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    response: str | None = None
    error_message: str | None = None
    usage: Json | None = None
    execution_metadata: Json | None = None


class Event(BaseModel):
    event_type: str
    data: Json
    timestamp: str | None = None


class Session(BaseModel):
    """Any object: what cannot be stored is told by `success`."""

    model_config = ConfigDict(extra="allow")


class TurnBody(BaseModel):
    execution_id: str
    turn_number: int
    model: str
    started_at: str
    turn_id: str | None = None
    model_provider: str | None = None
    completed_at: str | None = None
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
    tools_called_names: list[str] = []
    metrics: Json = {}


class ToolCallBody(BaseModel):
    execution_id: str
    tool_name: str
    started_at: str
    turn_id: str | None = None
    tool_use_id: str | None = None
    completed_at: str | None = None
    error_message: str | None = None
    error_type: str | None = None
    duration_ms: int | None = None
    tool_output_size: int | None = None
    tool_input: Json | None = None
    tool_output: str | None = None
    success: bool = True
    metadata: Json = {}


class Task(BaseModel):
    execution_id: str
    task_description: str
    task_number: int = 0
    task_id: str | None = None
    task_type: str | None = None
    status: str = "pending"
    started_at: str | None = None
    completed_at: str | None = None
    result: str | None = None
    error_message: str | None = None
    duration_ms: int | None = None
    metadata: Json = {}


class TaskPatch(BaseModel):
    status: str | None = None
    completed_at: str | None = None
    result: str | None = None
    error_message: str | None = None
    duration_ms: int | None = None


class Batch(BaseModel):
    execution_id: str
    turns: list[TurnBody] = []
    tool_calls: list[ToolCallBody] = []
    tasks: list[Task] = []


class Approval(BaseModel):
    execution_id: str
    tool_name: str
    rule_id: str | None = None
    tool_args: Json | None = None
    risk_level: str | None = None
    enforcement_context: Json | None = None
    approver_emails: list[str] | None = None
    timeout_minutes: Annotated[int, Field(ge=1)] = 1440


class Approve(BaseModel):
    comment: str | None = None


class Reject(BaseModel):
    reason: str | None = None


class Rule(BaseModel):
    name: str
    description: str | None = None
    scope_type: Literal["tool", "risk_level", "category", "all"] = "tool"
    scope_value: str | None = None
    approver_type: Literal["user_emails", "group"] = "user_emails"
    approver_value: Any = None
    auto_approve_roles: list[str] = []
    require_reason: bool = False
    timeout_minutes: Annotated[int, Field(ge=1, le=43200)] = 1440
    enabled: bool = True
    priority: int = 0


class Resolve(BaseModel):
    tool_name: str
    tool_args: Json | None = None
    risk_level: str | None = None
    category: str | None = None


class JobExecution(BaseModel):
    execution_id: str
    organization_id: str
    entity_type: Literal["agent", "team"]
    prompt: str
    trigger_type: str
    trigger_metadata: Json
    job_id: str | None = None
    entity_id: str | None = None


class JobStatus(BaseModel):
    status: str
    duration_ms: int | None = None
    error_message: str | None = None


class Message(BaseModel):
    message: str
    role: str = "user"


class Terminate(BaseModel):
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class TerminateAll(Terminate):
    execution_ids: Annotated[list[str], Field(max_length=100)]


class Environment(BaseModel):
    working_dir: str | None = None
    env_vars: dict[str, str] = {}
    secrets: list[str] = []
    integration_ids: list[str] = []
    mcp_servers: Json = {}


class Agent(BaseModel):
    name: str
    description: str | None = None
    system_prompt: str | None = None
    capabilities: list[str] = []
    configuration: Json = {}
    model_id: str | None = None
    model: str | None = None
    llm_config: Json = {}
    runtime: Literal["default", "claude_code"] = "default"
    runner_name: str | None = None
    team_id: str | None = None
    environment_ids: list[str] = []
    skill_ids: list[str] = []
    skill_configurations: dict[str, Json] = {}
    execution_environment: Environment | None = None


class AgentPatch(Agent):
    name: str = ""
    status: str = ""


class Team(BaseModel):
    name: str
    description: str | None = None
    runtime: Literal["default", "claude_code"] = "default"
    configuration: Json = {}
    skill_ids: list[str] = []
    skill_configurations: dict[str, Json] = {}
    execution_environment: Environment | None = None
    environment_ids: list[str] | None = None


class TeamPatch(Team):
    name: str = ""
    status: Literal["active", "inactive", "archived", "idle"] = "active"


class Skill(BaseModel):
    name: str
    type: Literal[
        "file_system",
        "shell",
        "python",
        "docker",
        "sleep",
        "file_generation",
        "data_visualization",
        "workflow_executor",
        "custom",
    ]
    description: str | None = None
    icon: str | None = None
    enabled: bool = True
    configuration: Json = {}


class Execute(BaseModel):
    prompt: str
    system_prompt: str | None = None
    stream: bool = False
    worker_queue_id: str
    user_metadata: Json | None = None
    execution_environment: Environment | None = None
    execution_metadata: Json | None = None


class Entity(BaseModel):
    entity_type: Literal["agent", "team"] = "agent"
    name: str | None = None
    system_prompt: str
    model_id: str = "kubiya/claude-sonnet-4"
    model_params: Json = {}
    capabilities: list[str] = []
    configuration: Json = {}
    mcp_servers: Json = {}
    skill_ids: list[str] = []
    subagents: list[Json] | None = None
    runtime: str = "claude_code"


class Dynamic(BaseModel):
    prompt: str
    entity: Entity
    worker_queue_id: str | None = None
    execution_environment: Environment | None = None


class Queue(BaseModel):
    name: Annotated[str, Field(min_length=2, max_length=50)]
    display_name: str | None = None
    description: str | None = None
    max_workers: Annotated[int, Field(ge=1)] | None = None
    heartbeat_interval: Annotated[int, Field(ge=10, le=300)] = 60
    tags: list[str] = []
    settings: Json = {}


class QueuePatch(Queue):
    name: Annotated[str, Field(min_length=2, max_length=50)] = "default"
    status: str = "active"


class Job(BaseModel):
    name: str
    description: str | None = None
    enabled: bool = True
    trigger_type: Literal["cron", "webhook", "manual"]
    cron_schedule: str | None = None
    cron_timezone: str = "UTC"
    planning_mode: Literal["on_the_fly", "predefined_agent", "predefined_team", "predefined_workflow"] = (
        "predefined_agent"
    )
    entity_type: Literal["agent", "team"] | None = None
    entity_id: str | None = None
    prompt_template: str
    system_prompt: str | None = None
    executor_type: Literal["auto", "specific_queue", "environment"] = "auto"
    worker_queue_name: str | None = None
    environment_name: str | None = None
    config: Json = {}
    execution_environment: Environment | None = None


class Trigger(BaseModel):
    parameters: Json = {}
    config_override: Json = {}


class Lock(BaseModel):
    worker_id: str
    lock_duration_seconds: Annotated[int, Field(ge=60, le=600)] = 300
