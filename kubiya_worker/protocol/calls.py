"""What the workflow and its activities hand each other. JSON-friendly dataclasses: they are the shape of the history.

The conversation itself is not an input of `call_model`. The input names a prefix that the worker probably holds in
memory (`base` messages), what was added since (`tail`, by reference where the worker that made it keeps it), and the
digest of the whole. A worker that lacks a part pages it out of the workflow with the query `get_transcript`. So the
history holds each message once and grows with the conversation, not with its square.
"""

# No postponed annotations here: Temporal's converter resolves the types of a dataclass anew for
# each payload, and text costs it five times as much as types.

from dataclasses import dataclass, field
from typing import Any

from kubiya_worker.protocol.events import Event
from kubiya_worker.protocol.execution import Member
from kubiya_worker.protocol.messages import Message

INLINE_BYTES = 2048  # a message or an argument text above this travels by reference
PAGE_BYTES = 500_000  # one page of `get_transcript`; Temporal's limit for a message is 4 MB


@dataclass
class Context:
    """What an execution runs with; fixed at its start. Holds no secret: the environment is fetched where it is used."""

    agent_id: str
    agent_name: str = ""
    system_prompt: str = ""
    model_id: str = ""
    model_config: dict[str, Any] = field(default_factory=dict)
    model_label: str = ""  # shown wherever the model shows, e.g. "demo model, not an LLM"
    skills: list[dict[str, Any]] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)  # ToolSpec.wire()
    rules: list[dict[str, Any]] = field(default_factory=list)  # approval rules, PROTOCOL A.9
    workspace: str = ""
    user: dict[str, Any] = field(default_factory=dict)
    organization_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)  # the execution's own; a PATCH replaces it
    approval_poll_seconds: float = 0.0  # 0: the control plane signals; else how often to ask it
    kind: str = "agent"  # or "team"; with `agent_id` it says whose environment the tools get
    mode: str = ""  # of a team: how its members work together
    members: list[dict[str, Any]] = field(
        default_factory=list
    )  # {tool, kind, id, name, description, queue, definition}
    member_timeout: float = 0.0  # seconds
    member: Member | None = None  # set: this is a member's run
    mcp_servers: dict[str, Any] = field(default_factory=dict)  # of the input; the environment's are fetched when used
    config: dict[str, Any] = field(default_factory=dict)  # budgets, out of the definition with the input over it
    taint: str = "off"  # whose text taints (taint.py): then a person is asked before it writes, runs code or sends data

    tools_version: int = 0  # how often `tools` and the prompt have changed since the start (servers.py)
    response_format: dict[str, Any] | None = None  # of the final answer, as OpenAI has it (models/structured.py)
    fallback_models: list[str] = field(default_factory=list)  # asked in this order where `model_id` fails
    published: bool = False  # the control plane is not ours; see names.published
    compact_at: int = 0  # tokens of a model call after which the conversation is summarised; see compaction.py

    @classmethod
    def restore(cls, saved: dict[str, Any]) -> "Context":
        """From its JSON object."""
        return cls(**{**saved, "member": Member.parse(saved.get("member"))})


@dataclass
class BeginInput:
    """`raw` is the workflow's own input, less what is secret in it."""

    raw: dict[str, Any]
    first_message: Message
    turn: int = 1


@dataclass
class BeginResult:
    context: Context
    session: list[Message] = field(default_factory=list)  # what an earlier run of this execution left
    failure: str | None = None  # why it cannot run: a skill or a model that is not configured right
    stored: int = 0  # messages before those in `session`, for which a summary in it stands
    tainted: bool = False  # there was among those what others wrote
    starting: list[str] = field(default_factory=list)  # MCP servers that may still come: START_SERVER waits for them
    awaited: list[str] = field(default_factory=list)  # those of them without which it must not begin
    texts: int = 0  # the highest number in an assistant message's id that is taken


@dataclass
class SessionInput:
    """Messages of the conversation for the control plane to keep, from the place `first` on."""

    execution_id: str
    turn: int
    messages: list[Message]
    first: int
    user_id: str | None = None


@dataclass
class ModelInput:
    execution_id: str
    turn: int
    step: int
    message_id: str
    base: int
    tail: list[dict[str, Any]]  # {"message": …} or {"ref": message_id}
    digest: str
    hold: bool = False  # do not publish; hand all events back (the control plane is away, order matters)
    trimmed: bool = False  # messages before the first one here have been let go
    behind: list[str] = field(default_factory=list)  # ids, as on the stream, that come before the first event
    tools_version: int = 0  # of the context that it needs
    shortened: bool = False  # it has been shortened in case its length was why it was refused: that is tried once
    pieces: int | None = None  # chunks that it may send, and how sparing it is with events; see room.py. None: no limit
    sparing: int = 0


@dataclass
class CompactInput:
    """A summary of what comes before the message `keeps_from`. `call` names the conversation, and the summary's id.

    `fits` says that the conversation has not been refused as too long: it can be sent once more, as it is.
    """

    call: ModelInput
    keeps_from: str
    fits: bool = False


@dataclass
class ModelResult:
    message: Message
    usage: dict[str, Any]
    finish_reason: str
    model: str
    provider: str
    undelivered: list[Event] = field(default_factory=list)
    spooled: list[str] | None = None  # the ids that later events come after, in place of `behind`; None: the same
    relisted: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # MCP server -> its tools by now
    misfit: str = ""  # what of a final answer does not fit the response_format
    window: int | None = None  # the model's context in tokens, where its endpoint has told it
    events: int = 0  # that it has sent, where their number is limited


@dataclass
class Grant:
    """A person's yes to exactly these arguments."""

    approval_id: str
    arguments_hash: str
    approver: str = ""


@dataclass
class ToolInput:
    execution_id: str
    tool_execution_id: str
    tool_name: str
    message_id: str  # of the assistant message that asked
    step: int
    arguments: str | None = None  # raw JSON text; None: look it up in the assistant message
    grant: Grant | None = None
    hold: bool = False
    behind: list[str] = field(default_factory=list)
    tainted: bool = False  # the model has read what others wrote when it asked for this call
    tools_version: int = 0
    cut: str = ""  # why the arguments are not all there: "length" (the model's limit) or "size"; it is not to be run
    pieces: int | None = None
    sparing: int = 0


@dataclass
class ApprovalRequest:
    tool_name: str
    arguments: dict[str, Any]
    arguments_hash: str
    risk_level: str
    reason: str
    rule_id: str | None = None
    approver_emails: list[str] = field(default_factory=list)
    timeout_minutes: float = 1440.0
    enforcement: dict[str, Any] = field(default_factory=dict)  # what the policy has said, for events
    approver_group: str = ""  # whose people may decide, where the rule names a group


@dataclass
class ToolOutcome:
    """`message` is the tool message for the conversation, or `approval` says what a person has to decide first."""

    message: Message | None = None
    approval: ApprovalRequest | None = None
    delegation: str | None = None  # what a member is to do: the call was for one, and may be made
    delegate: dict[str, Any] | None = None  # who does it, when it is no member: a member's keys, and the skill's terms
    record: dict[str, Any] = field(default_factory=dict)  # for /analytics/tool-calls
    undelivered: list[Event] = field(default_factory=list)
    spooled: list[str] | None = None
    taints: bool = False  # the message holds what others wrote
    relisted: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # MCP server -> its tools by now
    events: int = 0


@dataclass
class ServerInput:
    """An MCP server that was still starting when the execution began."""

    execution_id: str
    server: str
    required: bool = False
    hold: bool = False
    behind: list[str] = field(default_factory=list)
    tools_version: int = 0
    pieces: int | None = None
    sparing: int = 0


@dataclass
class ServerResult:
    """What it offers, or why it is `missing`. `refused`: the execution must not go on without it."""

    tools: list[dict[str, Any]] = field(default_factory=list)
    briefing: str = ""
    missing: str = ""
    refused: bool = False
    undelivered: list[Event] = field(default_factory=list)
    spooled: list[str] | None = None
    events: int = 0


@dataclass
class ApprovalInput:
    execution_id: str
    approval_id: str
    tool_execution_id: str
    request: ApprovalRequest
    expires_at: str | None = None
    member: Member | None = None
    behind: list[str] = field(default_factory=list)
    user_email: str = ""  # of the person whose execution it is: decides where no rule says who


@dataclass
class ApprovalAsked:
    """A request for approval as the control plane has it: the id is its own."""

    id: str
    expires_at: str | None = None


@dataclass
class ReportInput:
    """Events to publish, in order, and fields to PATCH on the execution.

    `messages`: the conversation from the place `first` on, to be kept.
    """

    execution_id: str
    events: list[Event] = field(default_factory=list)
    patch: dict[str, Any] = field(default_factory=dict)
    expire_approval: str | None = None
    member: Member | None = None
    messages: list[Message] = field(default_factory=list)
    user_id: str | None = None
    turn: int = 0
    first: int = 0
    error_type: str | None = None  # the class of the fault that the patch tells


@dataclass
class TurnInput:
    """End of a turn. `messages` is the whole conversation, from the place `first` on: local activities' inputs are not
    recorded."""

    execution_id: str
    agent_id: str
    turn: int
    messages: list[Message]
    turn_record: dict[str, Any]
    tool_records: list[dict[str, Any]]
    events: list[Event]
    final_fields: dict[str, Any]  # what the closing PATCH carries, if this turn turns out to be the last
    user_id: str | None = None
    force_status: str | None = None  # completed by mark_as_done, failed: not for the control plane to decide
    more_input: bool = False  # a message is waiting: go on whatever the control plane decides
    kind: str = "agent"
    first: int = 0
    behind: list[str] = field(default_factory=list)
    last: list[Event] = field(default_factory=list)  # told with the closing PATCH, just before it


@dataclass
class MemberEnd:
    """The end of a member's run: the last of its events, and its tool calls for the team's record."""

    execution_id: str
    member: Member
    events: list[Event] = field(default_factory=list)
    tool_records: list[dict[str, Any]] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)


@dataclass
class Outage:
    """A write about an execution that has failed `failures` times in a row. `stream`: whose events come before it."""

    execution_id: str
    stream: str = ""
    failures: int = 1


@dataclass
class JobExecution:
    """One run of a scheduled job, whose row the worker makes."""

    execution_id: str
    job_id: str
    organization_id: str
    entity_type: str
    entity_id: str
    prompt: str
    trigger_type: str = "cron"
    trigger_metadata: dict[str, Any] = field(default_factory=dict)
    queue_id: str = ""


@dataclass
class JobExecutionResult:
    """`gone`: why there is no row, in the control plane's words: the job or its agent was deleted. Else empty."""

    gone: str = ""


@dataclass
class JobEnd:
    job_id: str
    execution_id: str
    status: str
    duration_ms: int
    error: str | None = None


@dataclass
class TurnResult:
    """What the control plane decided: an execution status."""

    status: str
