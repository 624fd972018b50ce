"""This module describes each event's data in one table, for the reference page and for tests that check events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.protocol import events as ev

TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "time": (str,),  # ISO-8601, UTC
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "list": (list,),
    "any": (object,),
}


@dataclass(frozen=True)
class Field:
    """A field of an event; `may` says that it can be missing or null."""

    name: str
    type: str
    help: str = ""
    may: bool = False


@dataclass(frozen=True)
class Shape:
    """The form of an event; `by` says who makes it, `open` that it can have more fields than these."""

    event_type: str
    by: str
    help: str
    fields: tuple[Field, ...]
    open: bool = False


WORKER: Final = "worker"
PLANE: Final = "control plane"
STREAM: Final = "the stream itself"
HOSTED: Final = "hosted control plane; shown when it comes"

_ROLE = Field("role", "string", "`user`, `assistant` or `system`")
_MESSAGE_ID = Field("message_id", "string", "the message that it belongs to")
_EXECUTION = Field("execution_id", "string")
_CALL = (
    Field("tool_name", "string"),
    Field("tool_execution_id", "string", "the call; unique in the execution"),
    Field("message_id", "string", "the message that asked for it"),
    Field("message", "string", "a line to show"),
    Field("source", "string", "`agent`, `team_leader` or `team_member`"),
)
_MODEL = (Field("model", "string"), Field("model_label", "string", "what to call the model before people"))
_USER = tuple(Field(f"user_{name}", "string", may=True) for name in ("id", "name", "email", "avatar"))

_STEP = Field(
    "step",
    "object",
    "who did it: `worker_id`, `activity`, `attempt`; of a model's answer also `started_at`, `first_at`",
    may=True,
)
_THOUGHT = Field("index", "integer", "of the message's thoughts")
_ENFORCEMENT = Field(
    "enforcement", "object", "what rules, policy service and people decided (docs/policy.md)", may=True
)

MEMBER: Final = (
    Field("member_name", "string"),
    Field("member_path", "list", "names from the whole team down to the member"),
    Field("member_execution_id", "string", "the member's run"),
    Field("parent_message_id", "string", "the leader's message that asked for it"),
    Field("parent_tool_execution_id", "string", "the leader's call"),
    Field("source", "string", "`team_member`"),
)

SHAPES: Final = (
    Shape(
        ev.METADATA,
        WORKER,
        "What runs; the first event.",
        (
            Field("execution_type", "string", "`AGENT` or `TEAM`"),
            Field("agent_name", "string", "the agent's or team's"),
            Field("members", "list", "names, of a team", may=True),
            Field("mode", "string", "of a team", may=True),
            *_MODEL,
        ),
    ),
    Shape(
        ev.RUN_STARTED,
        WORKER,
        "The workflow has begun.",
        (Field("run_id", "string", "Temporal's"), _EXECUTION, Field("cancellable", "boolean"), *_MODEL),
    ),
    Shape(
        ev.MESSAGE,
        "worker, control plane",
        "A complete message. What came as chunks before is replaced by it.",
        (
            _ROLE,
            Field("content", "string"),
            Field("message_id", "string"),
            Field("timestamp", "time"),
            Field("tool_calls", "list", "`{id, name, arguments, cut?}`: the tools that it asks for", may=True),
            *(Field(f.name, f.type, f"{f.help}; of an assistant".lstrip("; "), may=True) for f in _MODEL),
            Field("model_provider", "string", "of an assistant", may=True),
            Field("usage", "object", "tokens and cost of an assistant's message", may=True),
            Field("cut", "string", "`length` or `size`: why an assistant's message is not all there", may=True),
            Field("made_by_team", "boolean", "a leader's message that no model made", may=True),
            Field("member", "string", "the one member that it is for", may=True),
            _STEP,
            *_USER,
        ),
    ),
    Shape(
        ev.MESSAGE_CHUNK,
        WORKER,
        "Text as it comes: to be put behind what came before with the same id.",
        (
            _ROLE,
            Field("content", "string"),
            Field("is_chunk", "boolean", "true"),
            _MESSAGE_ID,
            Field("batch_info", "object", "`{is_batched, batch_size}`: several in one", may=True),
        ),
    ),
    Shape(
        ev.RESET_CHUNKS,
        WORKER,
        "The model is asked again: chunks of this message so far are void.",
        (_MESSAGE_ID,),
    ),
    Shape(ev.THINKING_START, WORKER, "The model begins to think.", (_MESSAGE_ID, _THOUGHT)),
    Shape(
        ev.THINKING_DELTA,
        WORKER,
        "What the model thinks, as it comes.",
        (_MESSAGE_ID, _THOUGHT, Field("thinking", "string")),
    ),
    Shape(
        ev.THINKING_COMPLETE,
        WORKER,
        "The thought is complete.",
        (_MESSAGE_ID, _THOUGHT, Field("signature", "string", "the provider's; empty where it signs nothing")),
    ),
    Shape(
        ev.TOOL_STARTED,
        WORKER,
        "A tool begins to run.",
        (
            *_CALL,
            Field("tool_arguments", "any", "an object, or the text of arguments that are none"),
            _ENFORCEMENT,
            _STEP,
            Field("delegate", "string", "the member that the leader calls", may=True),
        ),
    ),
    Shape(
        ev.TOOL_COMPLETED,
        WORKER,
        "It has ended, or was not allowed to begin.",
        (
            *_CALL,
            Field("status", "string", "`success` or `failed`"),
            Field("outcome", "string", "more exactly: `success`, `failed`, `denied`, `expired`, `unknown`"),
            Field("tool_output", "string", "its beginning", may=True),
            Field("tool_result", "object", "`{success, …}`", may=True),
            Field("tool_error", "string", may=True),
            Field("duration_seconds", "number", may=True),
            _ENFORCEMENT,
            Field("delegate", "string", "the member that the leader called", may=True),
        ),
    ),
    Shape(
        ev.APPROVAL_REQUESTED,
        WORKER,
        "A person has to decide whether a tool runs.",
        (
            Field("approval_id", "string"),
            _EXECUTION,
            Field("tool_name", "string"),
            Field("tool_execution_id", "string"),
            Field("tool_args", "object"),
            Field("status", "string", "`pending`"),
            Field("risk_level", "string"),
            Field("reason", "string", "why it is asked", may=True),
            Field("arguments_hash", "string", "what the approval is bound to"),
            Field("expires_at", "time", may=True),
            _ENFORCEMENT,
        ),
    ),
    Shape(
        ev.APPROVAL_RESOLVED,
        PLANE,
        "How that ended.",
        (
            Field("approval_id", "string"),
            _EXECUTION,
            Field("status", "string", "`approved`, `rejected` or `expired`"),
            Field("tool_name", "string"),
            Field("tool_execution_id", "string", may=True),
            Field("approved_by_email", "string", may=True),
            Field("approved_by_name", "string", may=True),
            Field("rejection_reason", "string", may=True),
        ),
    ),
    Shape(
        ev.NOTICE,
        WORKER,
        "A line for whoever watches: a model call that is tried again, an MCP server that is not there.",
        (
            Field("message", "string"),
            Field("severity", "string", "`warning`", may=True),
            Field("kind", "string", "the class of the fault", may=True),
            Field("message_id", "string", may=True),
            Field("execution_id", "string", may=True),
        ),
    ),
    Shape(ev.STATUS, PLANE, "The execution's status has changed.", (Field("status", "string"), _EXECUTION)),
    Shape(
        ev.DONE,
        PLANE,
        "The execution is over; the last event.",
        (
            _EXECUTION,
            Field("status", "string", "`completed`, `failed`, `cancelled`, `interrupted` or `terminated`"),
            Field("response", "string", "the last answer", may=True),
            Field("usage", "object", "tokens"),
            Field("error", "string", "why it failed", may=True),
        ),
    ),
    Shape(
        ev.ERROR,
        "worker, hosted control plane",
        "The execution is over, by a fault. Only where the control plane is a hosted one: ours says it in `done`.",
        (Field("error", "string", may=True),),
        open=True,
    ),
    Shape(
        "history_complete",
        STREAM,
        "What was said before is told; what follows is live.",
        (
            _EXECUTION,
            Field("message_count", "integer"),
            Field("is_truncated", "boolean", "whether there was more than the last 200 messages"),
            Field("has_more", "boolean", "the same"),
        ),
    ),
    Shape(
        "gap_detected",
        STREAM,
        "The `Last-Event-ID` is not in the log; the history follows.",
        (_EXECUTION, Field("last_event_id", "string"), Field("last_known", "integer"), Field("reason", "string")),
    ),
    Shape(
        "reconnect",
        STREAM,
        "The connection ends now; come back with the last id.",
        (Field("reason", "string", "`timeout` or `shutdown`"), Field("duration", "number", "seconds")),
    ),
)

_KNOWN: Final = {shape.event_type: shape for shape in SHAPES}
_PLAIN: Final = {member: plain for plain, member in ev.MEMBER_TYPES.items()}


def problems(event_type: str, data: Mapping[str, Any]) -> list[str]:
    """Return the problems of an event's data by the table; empty when there are none. Pure."""
    shape = _KNOWN.get(_PLAIN.get(event_type, event_type))
    if shape is None:
        return [f"{event_type}: not a type of event"]
    fields = {field.name: field for field in shape.fields}
    if data.get("source") == "team_member":
        fields |= {field.name: field for field in MEMBER}
    lines = []
    for name, field in fields.items():
        value = data.get(name)
        if value is None:
            lines += [] if field.may else [f"{event_type}: {name} is missing"]
        elif not isinstance(value, TYPES[field.type]) or (
            isinstance(value, bool) and field.type in ("integer", "number")
        ):
            lines.append(f"{event_type}: {name} is no {field.type}: {value!r}")
    if not shape.open:
        lines += [f"{event_type}: {name} is not in the table" for name in data if name not in fields]
    return lines


def reference() -> str:
    """Return the table as Markdown."""
    parts = []
    for shape in SHAPES:
        member = ev.MEMBER_TYPES.get(shape.event_type)
        also = f" A member's: `{member}`." if member else ""
        parts.append(f"## {shape.event_type}\n\n{shape.help} Made by: {shape.by}.{also}\n\n{_table(shape.fields)}")
    return "\n".join(parts)


def member_reference() -> str:
    """Return, as Markdown, the additional fields in the events of a team's member."""
    return _table(MEMBER)


def _table(fields: tuple[Field, ...]) -> str:
    rows = ["| field | type | |", "|---|---|---|"]
    rows += [f"| `{f.name}` | {f.type}{', may be missing' if f.may else ''} | {f.help} |" for f in fields]
    return "\n".join(rows) + "\n"
