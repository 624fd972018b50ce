"""This module says what is measured of model calls, tools and turns, by OpenTelemetry's GenAI conventions. Pure.

Names, units, attributes and buckets are those of semantic-conventions-genai (commit 004902b of its main branch), where
all of them are still "Development". Prometheus gets them in its form of the names, a collector as they are. No
attribute is an id, as each of its values would be a series of its own; the agent of a tool's call is left out for that
reason too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from temporalio.exceptions import ApplicationError

from kubiya_worker.protocol import calls, names
from kubiya_worker.protocol import messages as m
from kubiya_worker.tracing import conventions as c
from kubiya_worker.tracing.spans import nanoseconds

_DOUBLING: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_MODEL: Final = (c.OPERATION, c.PROVIDER, c.REQUEST_MODEL, c.RESPONSE_MODEL)


@dataclass(frozen=True)
class Measure:
    """One histogram. `unit` is UCUM's; units in braces are no part of Prometheus' names."""

    name: str
    unit: str
    help: str
    buckets: tuple[float, ...]
    attributes: tuple[str, ...]

    @property
    def prometheus(self) -> str:
        return _prometheus(self.name) + ("_seconds" if self.unit == "s" else "")

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(_prometheus(each) for each in self.attributes)


@dataclass(frozen=True)
class Measured:
    """One value. `attributes` are in the order of the measure's, empty where there is nothing to say."""

    measure: Measure
    value: float
    attributes: tuple[str, ...]

    @property
    def known(self) -> dict[str, str]:
        pairs = zip(self.measure.attributes, self.attributes, strict=True)
        return {name: value for name, value in pairs if value}


MODEL_CALL: Final = Measure(
    "gen_ai.client.operation.duration", "s", "Time of a model call", _DOUBLING, (*_MODEL, c.ERROR)
)
FIRST_CHUNK: Final = Measure(
    "gen_ai.client.operation.time_to_first_chunk", "s", "Time to the first chunk of an answer", _DOUBLING, _MODEL
)
TOKENS: Final = Measure(
    "gen_ai.client.token.usage",
    "{token}",
    "Tokens of a model call; those of caches are among `input`",
    tuple(4**power for power in range(14)),
    (*_MODEL, c.TOKEN_TYPE),
)
TOOL_CALL: Final = Measure(
    "gen_ai.execute_tool.duration",
    "s",
    "Time of a tool call that a worker makes; not of a leader's call of a member",
    _DOUBLING,
    (c.TOOL_NAME, c.TOOL_TYPE, c.ERROR),
)
AGENT_TURN: Final = Measure(
    "gen_ai.invoke_agent.duration",
    "s",
    "Time of an agent's turn, or of a member's run, with its waits for people",
    (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6),
    (c.AGENT_NAME, c.ERROR),
)
TEAM_TURN: Final = Measure(
    "gen_ai.workflow.duration",
    "s",
    "Time of a team's turn, with its waits for people",
    (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200),
    (c.WORKFLOW_NAME, c.ERROR),
)
MEASURES: Final = (MODEL_CALL, FIRST_CHUNK, TOKENS, TOOL_CALL, AGENT_TURN, TEAM_TURN)


def error_type(error: BaseException) -> str:
    """Return the kind of a fault, for `error.type`."""
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return (isinstance(error, ApplicationError) and error.type) or type(error).__name__


def tool_fault(outcome: calls.ToolOutcome | None) -> str:
    """Return the `error.type` of a tool call that came to its end; empty for a success."""
    status = str((outcome.message or {}).get("status") or "") if outcome else ""
    return "" if status in ("", m.TOOL_SUCCESS) else c.TOOL_ERROR


def of_step(
    kind: str,
    given: Any,
    result: Any,
    error: str,
    seconds: float,
    notes: Mapping[str, Any],
    contexts: Callable[[str], calls.Context | None],
) -> Iterator[Measured]:
    """Yield what is measured of an activity that has ended. `error` is a type, empty for success."""
    if kind in (names.CALL_MODEL, names.COMPACT):
        call = given.call if isinstance(given, calls.CompactInput) else given
        context = contexts(call.execution_id)
        yield from _of_model(context.model_id if context else "", result, error, seconds, notes)
    elif kind == names.CALL_TOOL and isinstance(given, calls.ToolInput):
        yield from _of_tool(given, result, error, seconds)
    elif not error and isinstance(getattr(given, "traced", None), calls.TracedTurn):
        yield from _of_turn(given.traced, given.member.name if isinstance(given, calls.MemberEnd) else "")


def _of_model(
    asked: str, result: calls.ModelResult | None, error: str, seconds: float, notes: Mapping[str, Any]
) -> Iterator[Measured]:
    answered = (result.provider or "", result.model or "") if result else ("", "")
    about = (c.CHAT, answered[0], asked, answered[1])
    yield Measured(MODEL_CALL, seconds, (*about, error))
    if c.FIRST_CHUNK in notes:
        yield Measured(FIRST_CHUNK, float(notes[c.FIRST_CHUNK]), about)
    for kind in ("input", "output"):
        count = result.usage.get(f"{kind}_tokens") if result else None
        if count:
            yield Measured(TOKENS, count, (*about, kind))


def _of_tool(
    asked: calls.ToolInput, outcome: calls.ToolOutcome | None, error: str, seconds: float
) -> Iterator[Measured]:
    if outcome is not None and (outcome.approval is not None or outcome.delegation is not None):
        return  # a question to a person, or the beginning of a member's run
    yield Measured(TOOL_CALL, seconds, (asked.tool_name, c.FUNCTION, error or tool_fault(outcome)))


def _of_turn(traced: calls.TracedTurn, member: str) -> Iterator[Measured]:
    began = nanoseconds(traced.started_at)
    if began:
        measure = TEAM_TURN if traced.kind == "team" else AGENT_TURN
        who = member or traced.agent_name or traced.agent_id
        yield Measured(measure, max(0.0, time.time() - began / 1e9), (who, traced.error))


def _prometheus(name: str) -> str:
    return name.replace(".", "_")
