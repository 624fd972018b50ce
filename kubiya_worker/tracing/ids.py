"""The ids of traces and spans, derived from the names of an execution's parts, so that all workers derive the same.

A worker that takes an execution over continues its trace without being told of it, and a span that is sent twice has
the same id both times. Pure.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.protocol.execution import Member

TRACEPARENT: Final = "traceparent"  # the key of an execution's metadata, and of MCP's `_meta`
# W3C Trace Context. A version that is not known yet may have more fields.
_FORM: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


@dataclass(frozen=True)
class CallerSpan:
    """The span of another system that asked for an execution."""

    trace_id: int
    span_id: int
    sampled: bool


def caller_of(text: Any) -> CallerSpan | None:
    """Return the span that a `traceparent` names; None where it is malformed or names nothing."""
    match = _FORM.fullmatch(text) if isinstance(text, str) and len(text) <= 512 else None
    if match is None or (text.startswith("00") and len(text) != 55):
        return None
    trace, span, flags = (int(part, 16) for part in match.groups())
    return CallerSpan(trace, span, bool(flags & 1)) if trace and span else None


def span_id(*parts: object) -> int:
    """Return the id of the span of something with this name."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:8], "big")


def step_span(execution_id: str, activity_id: str, attempt: int) -> int:
    """Return the id of the span of an attempt of a step, by the id of its activity, which events have too."""
    return span_id(execution_id, "step", activity_id, attempt)


def agent_span(execution_id: str, turn: int) -> int:
    """Return the id of the span of an agent's turn. A member's run has one turn, with the number 0 here."""
    return span_id(execution_id, "agent", turn)


def delegation_span(execution_id: str, call_id: str) -> int:
    """Return the id of the span of a leader's call of a member, which both of them know."""
    return span_id(execution_id, "delegation", call_id)


def trace_id(execution_id: str, turn: int) -> int:
    """Return the id of the trace of a turn. Each turn has its own, as an execution may last for weeks."""
    name = f"trace:{execution_id}" if turn <= 1 else f"trace:{execution_id}:{turn}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")


@dataclass(frozen=True)
class TurnTrace:
    """The trace of one turn: `agent` is the span of the agent that works, `parent` the span above that one, or 0.

    `link` is the trace and the span of the turn before. Nothing is sent of a trace that is not sampled.
    """

    execution_id: str
    stream: str
    turn: int
    trace_id: int
    agent: int
    parent: int
    sampled: bool
    link: tuple[int, int] | None = None

    def traceparent(self, span: int) -> str:
        return f"00-{self.trace_id:032x}-{span:016x}-{int(self.sampled):02x}"


def trace_of(execution_id: str, turn: int, member: Member | None, caller: Any, ratio: float) -> TurnTrace:
    """Return the trace of a turn. `caller` is the `traceparent` with which the whole execution was asked for, if any.

    The caller decides whether its trace is sampled. `ratio` decides on others, by the id: the same on each worker.
    """
    stream = member.stream if member else execution_id
    turn = member.turn if member else turn
    asked = caller_of(member.traceparent if member else caller)
    own = _trace(stream, turn, asked)
    sampled = asked.sampled if asked else is_sampled(own, ratio)
    if member is None:
        parent = asked.span_id if asked and turn <= 1 else 0
        before = (_trace(stream, turn - 1, asked), agent_span(stream, turn - 1)) if turn > 1 else None
        return TurnTrace(execution_id, stream, turn, own, agent_span(stream, turn), parent, sampled, before)
    leader = execution_id.rpartition(".")[0]
    call_id = member.parent_tool_execution_id
    parent = delegation_span(leader, call_id if leader == stream else call_id.removeprefix(f"{leader}:"))
    return TurnTrace(execution_id, stream, turn, own, agent_span(execution_id, 0), parent, sampled)


def _trace(stream: str, turn: int, asked: CallerSpan | None) -> int:
    return asked.trace_id if asked and turn <= 1 else trace_id(stream, turn)


def is_sampled(trace: int, ratio: float) -> bool:
    """Return whether a trace is sampled, as OpenTelemetry's TraceIdRatioBased decides it."""
    return trace & ((1 << 64) - 1) < round(ratio * (1 << 64))
