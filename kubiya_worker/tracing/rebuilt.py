"""This module rebuilds the trace of an execution from its events, for hosts whose workers sent none. Pure.

The spans are made by the functions of the live ones, and their ids and parents are the same. What events do not tell is
missing: attempts that failed, summaries, and queues.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kubiya_worker.protocol import calls
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import messages as m
from kubiya_worker.tracing import conventions as c
from kubiya_worker.tracing import ids, spans
from kubiya_worker.tracing.spans import nanoseconds

Event = Mapping[str, Any]
Placed = tuple[ids.TurnTrace, spans.Span]

_PLAIN: Final = {member: plain for plain, member in ev.MEMBER_TYPES.items()}
_DECISIONS: Final = {"rejected": m.TOOL_DENIED}
_USAGE: Final = ("input_tokens", "output_tokens", "cost_usd")


@dataclass
class _Agent:
    """One agent at work in one turn: that of the execution, or a member. `free` is since when only its model works."""

    trace: ids.TurnTrace
    context: calls.Context
    name: str  # of a member; empty for the execution's own agent or team
    turn: int  # as the activities of its workflow count; a member has one
    began: str
    free: str
    last: str
    model: str = ""
    steps: int = 0
    usage: dict[str, float] = field(default_factory=dict)
    waits: bool = False  # the turn is over: what a person says next begins another


def spans_of(execution: Mapping[str, Any], events: Iterable[Event]) -> list[Placed]:
    """Return the spans of an execution, each with its trace. `events` are {event_type, timestamp, data}, in order."""
    reader = _SpanReader(execution)
    for event in events:
        kind = str(event.get("event_type"))
        reader.take(_PLAIN.get(kind, kind), str(event.get("timestamp") or ""), event.get("data") or {})
    return reader.finish()


class _SpanReader:
    def __init__(self, execution: Mapping[str, Any]) -> None:
        self._row = execution
        self._id = str(execution.get("id"))
        self._caller = str((execution.get("execution_metadata") or {}).get(ids.TRACEPARENT) or "")
        self._spans: list[Placed] = []
        self._turn = 1
        self._agents: dict[str, _Agent] = {}  # by the id of their run
        self._calls: dict[str, tuple[str, Mapping[str, Any]]] = {}  # begun tool calls
        self._asked: dict[str, tuple[str, Mapping[str, Any], _Agent]] = {}
        self._granted: dict[str, str] = {}  # tool call -> its approval
        self._seen: set[str] = set()

    def take(self, kind: str, at: str, data: Mapping[str, Any]) -> None:
        if kind == ev.STATUS:
            self._status(str(data.get("status") or ""), at)
            return
        if kind == ev.MESSAGE and data.get("role") == "user":
            self._person(at)
            return
        if kind == ev.APPROVAL_RESOLVED:
            self._resolved(at, data)
            return
        if kind not in (ev.RUN_STARTED, ev.MESSAGE, ev.TOOL_STARTED, ev.TOOL_COMPLETED, ev.APPROVAL_REQUESTED):
            return
        agent = self._agent(at, data)
        agent.last = at
        if kind == ev.MESSAGE:
            self._message(agent, at, data)
        elif kind == ev.TOOL_STARTED:
            self._calls.setdefault(str(data.get("tool_execution_id")), (at, data))
        elif kind == ev.TOOL_COMPLETED:
            self._tool(agent, at, data)
        elif kind == ev.APPROVAL_REQUESTED:
            self._asked[str(data.get("approval_id"))] = (at, data, agent)

    def finish(self) -> list[Placed]:
        """End what no event has ended, and return all spans."""
        status = str(self._row.get("status") or "")
        for key in list(self._agents):
            self._end(key, status if key == self._id else ex.COMPLETED)
        return self._spans

    # -- agents and turns

    def _agent(self, at: str, data: Mapping[str, Any]) -> _Agent:
        key = str(data.get("member_execution_id") or self._id)
        if key not in self._agents:
            self._agents[key] = self._new(key, at, data)
        return self._agents[key]

    def _new(self, key: str, at: str, data: Mapping[str, Any]) -> _Agent:
        if key == self._id:
            trace = ids.trace_of(key, self._turn, None, self._caller, 1.0)
            about = calls.Context(str(self._row.get("entity_id") or ""), str(self._row.get("entity_name") or ""))
            return _Agent(trace, about, "", self._turn, at, at, at)
        name = str(data.get("member_name") or "")
        call_id = str(data.get("parent_tool_execution_id") or "")
        member = ex.Member(self._id, name, [], "", call_id, "", "", turn=self._turn, traceparent=self._caller)
        trace = ids.trace_of(key, self._turn, member, None, 1.0)
        return _Agent(trace, calls.Context("", name), name, 1, at, at, at)

    def _person(self, at: str) -> None:
        agent = self._agents.get(self._id)
        if agent is None or not agent.waits:
            return
        self._end(self._id, ex.COMPLETED)
        self._turn += 1
        self._agents[self._id] = self._new(self._id, at, {})

    def _status(self, status: str, at: str) -> None:
        agent = self._agents.get(self._id)
        if agent is not None and status == ex.WAITING:
            agent.waits, agent.last = True, at

    def _end(self, key: str, status: str) -> None:
        agent = self._agents.pop(key)
        failed = status in (ex.FAILED, ex.CANCELLED, ex.TERMINATED, ex.INTERRUPTED)
        traced = calls.TracedTurn(
            *(agent.context.agent_id, agent.context.agent_name),
            kind="team" if key == self._id and self._row.get("execution_type") == "team" else "agent",
            turn=agent.trace.turn,
            started_at=agent.began,
            model=agent.model,
            error=status if failed else "",
        )
        shown_status = ex.COMPLETED if status == ex.WAITING and agent.waits else status
        end = nanoseconds(agent.last)
        self._place(
            agent, spans.of_turn(agent.trace, traced, end, name=agent.name, usage=agent.usage, status=shown_status)
        )

    # -- steps

    def _message(self, agent: _Agent, at: str, data: Mapping[str, Any]) -> None:
        key = str(data.get("message_id"))
        if data.get("role", "assistant") != "assistant" or data.get("made_by_team") or key in self._seen:
            return
        self._seen.add(key)
        agent.steps += 1
        step, usage = data.get("step") or {}, dict(data.get("usage") or {})
        start, first = str(step.get("started_at") or agent.free), str(step.get("first_at") or "")
        agent.model = str(data.get("model") or agent.model)
        for name in _USAGE:
            agent.usage[name] = agent.usage.get(name, 0) + (usage.get(name) or 0)
        notes = {c.FIRST_CHUNK: round((nanoseconds(first) - nanoseconds(start)) / 1e9, 6)} if first else {}
        asked = calls.Context(agent.context.agent_id, agent.context.agent_name, model_id=agent.model)
        provider = str(data.get("model_provider") or "")
        answer = calls.ModelResult({}, usage, "", agent.model, provider)
        attempt = self._attempt(agent, f"model-{agent.turn}-{agent.steps}", step, start, at)
        self._place(agent, spans.of_model(agent.trace, asked, attempt, answer, notes))
        agent.free = at

    def _tool(self, agent: _Agent, at: str, data: Mapping[str, Any]) -> None:
        key = str(data.get("tool_execution_id"))
        start, began = self._calls.pop(key, (at, data))
        call_id = key.removeprefix(f"{agent.trace.execution_id}:")
        outcome = str(data.get("outcome") or data.get("status") or "")
        error = c.WORKER_LOST if outcome == m.TOOL_UNKNOWN else ""
        approval = self._granted.get(key, "")
        activity = f"tool-{call_id}-{approval[:8]}" if approval else f"tool-{call_id}"
        attempt = self._attempt(agent, activity, began.get("step") or {}, start, at, error)
        asked = calls.ToolInput(agent.trace.execution_id, call_id, str(data.get("tool_name")), "", 0)
        delegation = "" if began.get("delegate") else None
        ended = calls.ToolOutcome(message={"status": outcome}, delegation=delegation)
        span = spans.of_tool(agent.trace, agent.context, attempt, asked, ended, {})
        if span is not None:
            self._place(agent, span)
        agent.free = at

    def _resolved(self, at: str, data: Mapping[str, Any]) -> None:
        key, status = str(data.get("approval_id")), str(data.get("status") or "")
        if key not in self._asked:
            return
        asked_at, asked, agent = self._asked.pop(key)
        call_id = str(asked.get("tool_execution_id") or "")
        if status == "approved":
            self._granted[call_id] = key
        own = call_id.removeprefix(f"{agent.trace.execution_id}:")
        decision = _DECISIONS.get(status, status)
        decided = calls.TracedApproval(key, str(asked.get("tool_name")), own, asked_at, decision)
        self._place(agent, spans.of_approval(agent.trace, decided, nanoseconds(at)))
        agent.free = agent.last = at

    def _attempt(
        self, agent: _Agent, activity: str, step: Mapping[str, Any], start: str, end: str, error: str = ""
    ) -> spans.Attempt:
        """Return the attempt that an event tells of; `activity` is its activity in events of earlier versions."""
        number = int(step.get("attempt") or 1)
        identity = ids.step_span(agent.trace.execution_id, str(step.get("activity") or activity), number)
        began, ended = nanoseconds(start), nanoseconds(end)
        worker = str(step.get("worker_id") or "")
        return spans.Attempt(identity, number, worker, "", began, max(began, ended), error)

    def _place(self, agent: _Agent, span: spans.Span) -> None:
        self._spans.append((agent.trace, span))
