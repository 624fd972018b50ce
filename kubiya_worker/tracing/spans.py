"""The spans of an execution's steps. They hold names, counts and kinds of errors, never a text or an argument. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from kubiya_worker.protocol import calls
from kubiya_worker.protocol import messages as m
from kubiya_worker.tracing import conventions as c
from kubiya_worker.tracing import ids
from kubiya_worker.tracing.current import MARK


@dataclass(frozen=True)
class Span:
    """One span. Times are in nanoseconds since 1970. `calls_out` says that it calls another system."""

    name: str
    id: int
    parent: int
    start: int
    end: int
    attributes: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    calls_out: bool = False
    link: tuple[int, int] | None = None


@dataclass(frozen=True)
class Attempt:
    """One attempt of an activity: who made it, when, and how it ended. `error` is a type, empty for success."""

    span: int
    number: int
    worker: str
    queue: str
    start: int
    end: int
    error: str = ""

    @property
    def attributes(self) -> dict[str, Any]:
        retry = {c.ATTEMPT: self.number} if self.number > 1 else {}
        return {c.WORKER: self.worker, c.QUEUE: self.queue, **retry}


def nanoseconds(text: str) -> int:
    """Return an ISO-8601 time as nanoseconds since 1970; 0 for a text that is none."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1_000_000_000)
    except ValueError:
        return 0


def of_model(
    trace: ids.TurnTrace,
    context: calls.Context,
    attempt: Attempt,
    result: calls.ModelResult | None,
    notes: Mapping[str, Any],
) -> Span:
    """Return the span of a model call, by the model that was asked and what it answered."""
    answered: dict[str, Any] = {}
    if result is not None:
        usage = result.usage
        answered = {
            c.PROVIDER: result.provider,
            c.RESPONSE_MODEL: result.model,
            c.FINISH_REASONS: [result.finish_reason] if result.finish_reason else None,
            c.INPUT_TOKENS: usage.get("input_tokens"),
            c.OUTPUT_TOKENS: usage.get("output_tokens"),
            c.CACHE_READ: usage.get("cache_read_tokens"),
            c.CACHE_CREATION: usage.get("cache_creation_tokens"),
            c.COST: usage.get("cost_usd"),
        }
    about = {c.OPERATION: c.CHAT, c.REQUEST_MODEL: context.model_id, **_agent(trace, context), **answered, **notes}
    return _step(trace, attempt, f"{c.CHAT} {context.model_id}", about, calls_out=True)


def of_tool(
    trace: ids.TurnTrace,
    context: calls.Context,
    attempt: Attempt,
    asked: calls.ToolInput,
    outcome: calls.ToolOutcome | None,
    notes: Mapping[str, Any],
) -> Span | None:
    """Return the span of a tool call; None where only a question to a person, or a wait, came of it.

    A call of a member ends here before the member begins, so its span is shorter than the member's below it.
    """
    if outcome is not None and (outcome.approval is not None or outcome.wait is not None):
        return None
    status = str((outcome.message or {}).get("status") or "") if outcome else ""
    about = {
        c.OPERATION: c.EXECUTE_TOOL,
        c.TOOL_NAME: asked.tool_name,
        c.TOOL_TYPE: c.FUNCTION,
        c.TOOL_CALL: asked.tool_execution_id,
        **_agent(trace, context),
        **({c.STATUS: status} if status else {}),
        **notes,
    }
    failed = attempt.error or ("" if status in ("", m.TOOL_SUCCESS) else c.TOOL_ERROR)
    span = _step(trace, replace(attempt, error=failed), f"{c.EXECUTE_TOOL} {asked.tool_name}", about)
    if outcome is not None and outcome.delegation is not None:
        return replace(span, id=ids.delegation_span(asked.execution_id, asked.tool_execution_id))
    return span


def lost(span: Span, attempt: Attempt, told: Mapping[str, Any], identity: int) -> Span:
    """Return the span of the attempt before `attempt`, whose worker is gone. `told` is its last heartbeat.

    `span` is that of the attempt which took over.
    """
    keep = (c.OPERATION, c.REQUEST_MODEL, c.AGENT_ID, c.AGENT_NAME, c.CONVERSATION, c.EXECUTION, c.TOOL_NAME)
    about = {name: value for name, value in span.attributes.items() if name in keep}
    about |= {c.WORKER: str(told.get("worker") or ""), c.ATTEMPT: attempt.number - 1}
    start, end = (int(float(told.get(name) or 0) * 1e9) for name in ("began", "seen"))
    return replace(span, id=identity, start=start, end=max(start, end), attributes=about, error=c.WORKER_LOST)


def lost_attempt(details: Any) -> Mapping[str, Any] | None:
    """Return what the attempt before has told last, if it has not ended; `details` are those of its heartbeat."""
    mark = _last_mark(details)
    return mark if mark is not None and not mark.get("ended") else None


def _last_mark(details: Any) -> Mapping[str, Any] | None:
    mark = next((x[MARK] for x in reversed(details) if isinstance(x, dict) and MARK in x), None)
    return mark if isinstance(mark, dict) else None


def of_lost_call(trace: ids.TurnTrace, lost: calls.LostCall) -> Span | None:
    """Return the span of a tool call that no attempt can tell of, as the worker of its last one is gone.

    It ends with the last sign of life of that worker. Where there was none it lasts from when the call was scheduled to
    when the loss was noticed. None: the attempt has told of its end itself.
    """
    mark = _last_mark(lost.heartbeat)
    if mark is not None and mark.get("ended"):
        return None
    if mark is not None:
        start, end = (int(float(mark.get(name) or 0) * 1e9) for name in ("began", "seen"))
    else:
        start, end = nanoseconds(lost.scheduled_at), nanoseconds(lost.noticed_at)
    about = {
        c.OPERATION: c.EXECUTE_TOOL,
        c.TOOL_NAME: lost.tool_name,
        c.TOOL_TYPE: c.FUNCTION,
        c.TOOL_CALL: lost.tool_execution_id,
        c.AGENT_ID: lost.agent_id,
        c.AGENT_NAME: lost.agent_name,
        c.CONVERSATION: trace.stream,
        c.EXECUTION: trace.execution_id,
        c.STATUS: lost.status,
        c.WORKER: str((mark or {}).get("worker") or ""),
        c.ATTEMPT: lost.attempt if lost.attempt > 1 else None,
    }
    known = {name: value for name, value in about.items() if value not in (None, "")}
    identity = ids.step_span(trace.execution_id, lost.activity_id, lost.attempt)
    name = f"{c.EXECUTE_TOOL} {lost.tool_name}"
    return Span(name, identity, trace.agent, start, max(start, end), known, error=c.WORKER_LOST)


def of_approval(trace: ids.TurnTrace, decided: calls.TracedApproval, end: int) -> Span:
    """Return the span of the wait for a person's decision."""
    about = {
        c.OPERATION: c.WAIT,
        c.APPROVAL: decided.id,
        c.DECISION: decided.decision,
        c.TOOL_NAME: decided.tool_name,
        c.TOOL_CALL: decided.tool_execution_id,
        c.EXECUTION: trace.execution_id,
        c.CONVERSATION: trace.stream,
    }
    start = nanoseconds(decided.asked_at) or end
    identity = ids.span_id(trace.execution_id, "approval", decided.id)
    return Span(f"{c.WAIT} {decided.tool_name}", identity, trace.agent, start, end, about)


def of_turn(
    trace: ids.TurnTrace, traced: calls.TracedTurn, end: int, *, name: str = "", usage: Mapping[str, Any], status: str
) -> Span:
    """Return the span of an agent's turn, or of a team's, above those of its steps."""
    operation = c.INVOKE_WORKFLOW if traced.kind == "team" else c.INVOKE_AGENT
    who = name or traced.agent_name or traced.agent_id
    about = {
        c.OPERATION: operation,
        c.AGENT_ID: traced.agent_id,
        c.AGENT_NAME: who,
        c.CONVERSATION: trace.stream,
        c.EXECUTION: trace.execution_id,
        c.TURN: max(trace.turn, 1),
        c.REQUEST_MODEL: traced.model,
        c.INPUT_TOKENS: usage.get("input_tokens"),
        c.OUTPUT_TOKENS: usage.get("output_tokens"),
        c.COST: usage.get("cost_usd"),
        c.STATUS: status,
    }
    start = nanoseconds(traced.started_at) or end
    known = {name: value for name, value in about.items() if value not in (None, "")}
    return Span(f"{operation} {who}", trace.agent, trace.parent, start, end, known, error=traced.error, link=trace.link)


def _agent(trace: ids.TurnTrace, context: calls.Context) -> dict[str, Any]:
    return {
        c.AGENT_ID: context.agent_id,
        c.AGENT_NAME: context.agent_name,
        c.CONVERSATION: trace.stream,
        c.EXECUTION: trace.execution_id,
    }


def _step(
    trace: ids.TurnTrace, attempt: Attempt, name: str, about: Mapping[str, Any], *, calls_out: bool = False
) -> Span:
    known = {key: value for key, value in {**about, **attempt.attributes}.items() if value not in (None, "")}
    return Span(
        name, attempt.span, trace.agent, attempt.start, attempt.end, known, error=attempt.error, calls_out=calls_out
    )
