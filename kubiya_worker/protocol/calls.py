"""This module has the inputs and results of activities, as JSON-friendly dataclasses: they are stored in the history.

The conversation itself is not an input of `call_model`. The input names a prefix that the worker probably has in
memory (`base` messages), the messages added since (`tail`, by reference if the worker that made them keeps them), and
the digest of the whole. A worker that lacks a part reads it from the workflow with the query `get_transcript`. So the
history holds each message once and grows with the conversation, not with its square.
"""

# No postponed annotations here: Temporal's converter resolves a dataclass's types again for each payload, and
# annotations as text cost it five times as much.

from dataclasses import dataclass, field
from typing import Any

from kubiya_worker.protocol.events import Event
from kubiya_worker.protocol.execution import Member
from kubiya_worker.protocol.messages import Message

INLINE_BYTES = 2048  # a longer message or argument text is sent by reference
ENDED, MESSAGE, DONE, BUDGET = "ended", "message", "done", "budget"  # what ends a wait: see `CallWait`
Unconfirmed = dict[str, list[Event]]  # events that may not have arrived, by the id of the last, as on the stream
PAGE_BYTES = 500_000  # one page of `get_transcript`; Temporal's limit for a message is 4 MB


@dataclass
class Context:
    """The settings of an execution, fixed at its start.

    They hold no secrets: the environment is fetched where it is used.
    """

    agent_id: str
    agent_name: str = ""
    system_prompt: str = ""
    model_id: str = ""
    model_config: dict[str, Any] = field(default_factory=dict)
    model_label: str = ""  # shown beside the model's name, e.g. "demo model, not an LLM"
    skills: list[dict[str, Any]] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)  # ToolSpec.wire()
    rules: list[dict[str, Any]] = field(default_factory=list)  # approval rules, docs/protocol.md#a9
    workspace: str = ""
    user: dict[str, Any] = field(default_factory=dict)
    organization_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)  # the execution's own metadata; a PATCH replaces it
    # Seconds between questions for an answer; 0 if the control plane signals answers.
    approval_poll_seconds: float = 0.0
    kind: str = "agent"  # or "team"; with `agent_id` it says whose environment the tools get
    mode: str = ""  # a team's way of working together
    # Each is {tool, kind, id, name, description, queue, definition}.
    members: list[dict[str, Any]] = field(default_factory=list)
    member_timeout: float = 0.0  # seconds
    member: Member | None = None  # not None in a member's run
    # Those of the input; the environment's are fetched when used.
    mcp_servers: dict[str, Any] = field(default_factory=dict)
    # Budgets, from the definition and then from the input, which is preferred.
    config: dict[str, Any] = field(default_factory=dict)
    # The text that taints (taint.py): then a person is asked before the agent writes, runs code or sends data.
    taint: str = "off"

    tools_version: int = 0  # how often `tools` and the prompt have changed since the start (servers.py)
    # OpenAI's response_format for the final answer (models/structured.py).
    response_format: dict[str, Any] | None = None
    fallback_models: list[str] = field(default_factory=list)  # models that are asked in this order if `model_id` fails
    published: bool = False  # whether the control plane is not ours; see names.published
    compact_at: int = 0  # tokens of a model call after which the conversation is summarised; see compaction.py
    denials: list[dict[str, Any]] = field(default_factory=list)  # rules of `allowed_tools` and `disallowed_tools`
    model_queue: str = ""  # where the worker that began it has slots for model calls alone; empty: nowhere

    @classmethod
    def restore(cls, saved: dict[str, Any]) -> "Context":
        """Return the context from its JSON object. Fields that only a later version knows are ignored."""
        known = {name: value for name, value in saved.items() if name in cls.__dataclass_fields__}
        return cls(**{**known, "member": Member.parse(saved.get("member"))})


@dataclass
class BeginInput:
    """The input of `begin`; `raw` is the workflow's own input without secrets."""

    raw: dict[str, Any]
    first_message: Message
    turn: int = 1


@dataclass
class BeginResult:
    context: Context
    session: list[Message] = field(default_factory=list)  # messages that an earlier run of this execution left
    failure: str | None = None  # the reason why it cannot run: a skill or a model with a wrong configuration
    stored: int = 0  # messages before those in `session` that a summary in it replaces
    tainted: bool = False  # whether those held text of others
    starting: list[str] = field(default_factory=list)  # MCP servers that may still start: START_SERVER waits for them
    awaited: list[str] = field(default_factory=list)  # those of them that the execution must not begin without
    crowded: bool = False  # whether tools held all slots of the worker
    texts: int = 0  # the highest number in an assistant message's id that is already used


@dataclass
class SessionInput:
    """Messages that the control plane should store, from the place `first` on."""

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
    hold: bool = False  # do not publish, but return all events (the control plane is away, and their order matters)
    trimmed: bool = False  # whether messages before the first one here were dropped
    behind: list[str] = field(default_factory=list)  # ids on the stream that must come before the first event
    tools_version: int = 0  # the version of the context that this call needs
    # Whether the conversation was already shortened after a refusal that its length may have caused: this is tried
    # once.
    shortened: bool = False
    pieces: int | None = None  # the most chunks that it may send; None means no limit
    sparing: int = 0  # the level of event_limit.py: a higher one sends fewer events
    leave: bool = False  # whether the step may end before its last events have arrived


@dataclass
class CompactInput:
    """The request to summarise messages before `keeps_from`; `call` names the conversation, and the summary's id.

    `fits` says that the conversation was not refused as too long, so it can be sent once more unchanged.
    """

    call: ModelInput
    keeps_from: str
    fits: bool = False


@dataclass
class PackInput:
    """The state of a run without the messages of its conversation, which `call` names; `most` is in characters."""

    call: ModelInput
    state: dict[str, Any]
    most: int


@dataclass
class PackResult:
    """The packed state; empty when it is not shorter than allowed. `size` is in characters in any case."""

    packed: str
    size: int


@dataclass
class ModelResult:
    message: Message
    usage: dict[str, Any]
    finish_reason: str
    model: str
    provider: str
    undelivered: list[Event] = field(default_factory=list)
    spooled: list[str] | None = None  # ids that must come before later events, instead of `behind`; None: the same ones
    # The step's last events, which are still on their way. All that had to come before them has arrived.
    unconfirmed: list[Event] = field(default_factory=list)
    relisted: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # MCP server -> its current tools
    misfit: str = ""  # problems of a final answer by the response_format
    window: int | None = None  # the model's context in tokens, if its endpoint reported it
    events: int = 0  # events that it has sent, if their number is limited


@dataclass
class Grant:
    """A person's approval of exactly these arguments."""

    approval_id: str
    arguments_hash: str
    approver: str = ""


@dataclass
class CallPlace:
    """The host that has what a call has left there, such as a long command, and the queue of that host alone."""

    host: str
    queue: str


@dataclass
class CallWait:
    """The wait of a tool call for something outside. It holds no slot and asks no model."""

    what: str  # the key of what is waited for: a command, for one
    seconds: float  # that are left of the wait; 0: the call has to return what there is
    began: str  # when the call began, in ISO-8601
    waited: float = 0.0  # seconds since then
    woken: str = ""  # why it ended before its time: ENDED, MESSAGE, DONE or BUDGET


@dataclass
class ToolInput:
    execution_id: str
    tool_execution_id: str
    tool_name: str
    message_id: str  # the id of the assistant message that asked for the call
    step: int
    arguments: str | None = None  # raw JSON text; None: find it in the assistant message
    grant: Grant | None = None
    hold: bool = False
    behind: list[str] = field(default_factory=list)
    tainted: bool = False  # whether the model had read text of others when it asked for this call
    tools_version: int = 0
    # Why the arguments are incomplete, so that the call must not run: "length" (the model's limit) or "size".
    cut: str = ""
    failed: str = ""  # hash of the last failure of the same call (protocol/same_failures.py)
    failure_note: str = ""  # what the model is told when the call fails like that once more
    pieces: int | None = None
    sparing: int = 0
    turn: int = 0  # which trace it belongs to; 0 from a workflow of an earlier version
    may_wait: bool = False  # whether the workflow understands an outcome with `wait`
    wait: CallWait | None = None  # the wait after which this call goes on; None: it begins
    leave: bool = False
    may_move: bool = False  # whether the workflow understands an outcome with `elsewhere`
    # What earlier calls have left on hosts, by the key of each thing; the newest ones.
    places: dict[str, CallPlace] = field(default_factory=dict)


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
    enforcement: dict[str, Any] = field(default_factory=dict)  # the policy's answer, for events
    approver_group: str = ""  # the group whose members may decide, if the rule names one


@dataclass
class ToolOutcome:
    """The result of a tool call: `message` for the conversation, or `approval` with the question for a person.

    With `wait` the call is not over: the workflow waits, and makes it again with what it has then. With `elsewhere`
    beside it, the call needs what another host has: the workflow makes it again there, once a worker of it answers.
    """

    message: Message | None = None
    approval: ApprovalRequest | None = None
    delegation: str | None = None  # the task for a member, if the call may start one
    # Who does the task if it is not a member: a member's keys, and the skill's terms.
    delegate: dict[str, Any] | None = None
    record: dict[str, Any] = field(default_factory=dict)  # for /analytics/tool-calls
    undelivered: list[Event] = field(default_factory=list)
    spooled: list[str] | None = None
    unconfirmed: list[Event] = field(default_factory=list)
    taints: bool = False  # whether the message holds text of others
    relisted: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # MCP server -> its current tools
    failure: str = ""  # hash of the failure; empty for a success
    told: bool = False  # whether the message has the input's `failure_note`
    events: int = 0
    crowded: bool = False  # whether tools held all slots of the worker, this call among them
    wait: CallWait | None = None
    elsewhere: CallPlace | None = None
    left: dict[str, CallPlace] = field(default_factory=dict)  # what the call has left on its host, by the thing's key
    # The worker would have to ask the workflow, which waits for this call: it has to be made by a task of its own.
    unheld: bool = False


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
    """The server's offer, or the reason why it is `missing`.

    `refused` says that the execution must not continue without it.
    """

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
    unconfirmed: Unconfirmed = field(default_factory=dict)
    user_email: str = ""  # the email of the execution's user, who decides if no rule names a person


@dataclass
class ApprovalAsked:
    """A request for approval as the control plane stored it, with the control plane's id."""

    id: str
    expires_at: str | None = None


@dataclass
class TracedTurn:
    """The facts of a turn that ends, for its trace. `error` is a type, not a text."""

    agent_id: str = ""
    agent_name: str = ""
    kind: str = "agent"
    turn: int = 0
    started_at: str = ""
    model: str = ""
    caller: str = ""  # the `traceparent` with which the execution was asked for
    error: str = ""


@dataclass
class TracedApproval:
    """The facts of a question to a person that was decided, for its trace."""

    id: str
    tool_name: str
    tool_execution_id: str
    asked_at: str
    decision: str
    turn: int = 0
    caller: str | None = None  # as in `TracedTurn`; None from a workflow of an earlier version


@dataclass
class LostCall:
    """The facts of a tool call whose last worker is gone, for its trace: no attempt is left that could tell of it.

    `heartbeat` are the details of the last heartbeat; a call that was lost early has none. `activity_id` and `attempt`
    name its span.
    """

    tool_name: str
    tool_execution_id: str
    activity_id: str
    status: str
    attempt: int = 1
    scheduled_at: str = ""
    noticed_at: str = ""
    agent_id: str = ""
    agent_name: str = ""
    caller: str = ""
    turn: int = 0
    heartbeat: list[Any] = field(default_factory=list)


@dataclass
class ReportInput:
    """Events to publish, in order, and fields to PATCH on the execution.

    `messages` is the conversation to store, from the place `first` on.
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
    error_type: str | None = None  # the class of the error in the patch
    traced: TracedTurn | None = None
    decided: TracedApproval | None = None
    lost: list[LostCall] = field(default_factory=list)
    unconfirmed: Unconfirmed = field(default_factory=dict)


@dataclass
class TurnInput:
    """The end of a turn; `messages` is the whole conversation from the place `first` on.

    That is not too much, because inputs of local activities are not recorded.
    """

    execution_id: str
    agent_id: str
    turn: int
    messages: list[Message]
    turn_record: dict[str, Any]
    tool_records: list[dict[str, Any]]
    events: list[Event]
    final_fields: dict[str, Any]  # the fields of the closing PATCH, if this turn is the last
    user_id: str | None = None
    # The status if the control plane must not decide: completed by mark_as_done, failed.
    force_status: str | None = None
    more_input: bool = False  # a message is waiting: continue, whatever the control plane decides
    kind: str = "agent"
    first: int = 0
    behind: list[str] = field(default_factory=list)
    last: list[Event] = field(default_factory=list)  # events that are sent just before the closing PATCH
    traced: TracedTurn | None = None
    lost: list[LostCall] = field(default_factory=list)
    unconfirmed: Unconfirmed = field(default_factory=dict)


@dataclass
class MemberEnd:
    """The end of a member's run: the last of its events, and its tool calls for the team's record."""

    execution_id: str
    member: Member
    events: list[Event] = field(default_factory=list)
    tool_records: list[dict[str, Any]] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    traced: TracedTurn | None = None
    lost: list[LostCall] = field(default_factory=list)
    unconfirmed: Unconfirmed = field(default_factory=dict)


@dataclass
class Outage:
    """A write about an execution that failed `failures` times in a row.

    `stream` names the events that come before it.
    """

    execution_id: str
    stream: str = ""
    failures: int = 1


@dataclass
class JobExecution:
    """One run of a scheduled job, whose row the worker creates."""

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
    """The result for a job's run.

    `gone` is the control plane's reason for refusing a row (a deleted job or agent), or empty.
    """

    gone: str = ""


@dataclass
class JobEnd:
    job_id: str
    execution_id: str
    status: str
    duration_ms: int
    error: str | None = None


@dataclass
class Trial:
    """A test of an MCP server of an agent, team or environment, or of a stored one; without `server` of an agent's
    model.

    `agent_id` is the id of what `kind` says (names.TRIAL_KINDS): earlier versions know agents only. `trial_id` lets the
    worker have settings and secrets for a while. With a `model`, that stored model is tested.
    """

    trial_id: str
    agent_id: str
    server: str = ""
    kind: str = "agent"
    model: str = ""


@dataclass
class TrialResult:
    outcome: dict[str, Any]


@dataclass
class TurnResult:
    """The execution's status that the control plane decided."""

    status: str
