"""The interceptor that makes a span of each step of an execution; workflow code knows nothing of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import structlog
from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from kubiya_worker.protocol import calls, names
from kubiya_worker.tracing import current, ids, spans
from kubiya_worker.tracing.current import STEP, Step
from kubiya_worker.tracing.measures import error_type

log = structlog.get_logger()

# Attempts with a span of their own, and activities whose success is the end of something.
STEPS: Final = frozenset({names.CALL_MODEL, names.COMPACT, names.CALL_TOOL})
ENDS: Final = frozenset({names.END_TURN, names.END_EXECUTION, names.END_MEMBER, names.REPORT})


class SpanSink(Protocol):
    """A sink takes spans. It never waits, and never raises for a collector that is away."""

    def emit(self, trace: ids.TurnTrace, span: spans.Span) -> None: ...


class Tracing(Interceptor):
    """Make the spans of a worker's activities. `contexts` returns what this worker knows of an execution."""

    def __init__(self, sink: SpanSink, worker: str, ratio: float = 1.0, *, to_models: bool = False) -> None:
        self.sink, self.worker, self.ratio, self.to_models = sink, worker, ratio, to_models
        self.contexts: Callable[[str], calls.Context | None] = lambda _: None

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Tracing(next, self)

    def send(self, trace: ids.TurnTrace, *made: spans.Span | None) -> None:
        for span in made if trace.sampled else ():
            if span is not None:
                self.sink.emit(trace, span)


class _Tracing(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, tracing: Tracing) -> None:
        super().__init__(next)
        self._tracing = tracing

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        kind = activity.info().activity_type
        request = input.args[0] if input.args else None
        if kind in STEPS and request is not None:
            return await self._step(input, request)
        result = await super().execute_activity(input)
        if kind in ENDS:
            _guarded(lambda: _end(self._tracing, request, result))
        return result

    async def _step(self, input: ExecuteActivityInput, given: Any) -> Any:
        tracing, info, start = self._tracing, activity.info(), time.time_ns()
        call = given.call if isinstance(given, calls.CompactInput) else given

        def find() -> ids.TurnTrace | None:
            context = tracing.contexts(call.execution_id)
            return _trace(call.execution_id, call.turn, context, tracing.ratio) if context else None

        span = ids.step_span(call.execution_id, info.activity_id, info.attempt)
        step = Step(span, find, tracing.worker, to_models=tracing.to_models)
        notes = current.notes()
        STEP.set(step)  # for the whole task of this activity: the SDK logs how it ended after this has returned
        result, error = None, ""
        try:
            result = await super().execute_activity(input)
            return result
        except BaseException as raised:
            error = error_type(raised)
            raise
        finally:
            about = (span, info.attempt, tracing.worker, info.task_queue)
            attempt = spans.Attempt(*about, start, time.time_ns(), error)
            _guarded(lambda: _step_ended(tracing, step, call, info, attempt, result, notes))


def _step_ended(
    tracing: Tracing,
    step: Step,
    call: Any,
    info: activity.Info,
    attempt: spans.Attempt,
    result: Any,
    notes: Mapping[str, Any],
) -> None:
    trace, context = step.find(), tracing.contexts(call.execution_id)
    if trace is None or context is None:
        return
    if isinstance(call, calls.ToolInput):
        span = spans.of_tool(trace, context, attempt, call, result, notes)
    else:
        span = spans.of_model(trace, context, attempt, result, notes)
    lost = spans.lost_attempt(info.heartbeat_details) if info.attempt > 1 else None
    if span is not None and lost is not None:
        identity = ids.step_span(call.execution_id, info.activity_id, info.attempt - 1)
        tracing.send(trace, spans.lost(span, attempt, lost, identity))
    tracing.send(trace, span)


def _end(tracing: Tracing, given: Any, result: Any) -> None:
    now = time.time_ns()
    if isinstance(given, calls.ReportInput) and given.decided is not None:
        _decided(tracing, given, given.decided, now)
    member = getattr(given, "member", None)
    for lost in getattr(given, "lost", ()):
        trace = ids.trace_of(given.execution_id, lost.turn, member, lost.caller, tracing.ratio)
        tracing.send(trace, spans.of_lost_call(trace, lost))
    traced = getattr(given, "traced", None)
    if not isinstance(traced, calls.TracedTurn):
        return
    trace = ids.trace_of(given.execution_id, traced.turn, member, traced.caller, tracing.ratio)
    usage, status = {}, "failed" if traced.error else "completed"
    if isinstance(given, calls.TurnInput):
        usage, status = given.turn_record, result.status
    elif isinstance(given, calls.ReportInput):
        status = str(given.patch.get("status") or status)
    name = member.name if member else ""
    tracing.send(trace, spans.of_turn(trace, traced, now, name=name, usage=usage, status=status))


def _decided(tracing: Tracing, given: calls.ReportInput, decided: calls.TracedApproval, now: int) -> None:
    """Make the span of a wait. A worker that has just taken the execution over knows no context of it yet."""
    caller = decided.caller
    if caller is None:
        context = tracing.contexts(given.execution_id)
        if context is None:
            return
        caller = str(context.metadata.get(ids.TRACEPARENT) or "")
    trace = ids.trace_of(given.execution_id, decided.turn, given.member, caller, tracing.ratio)
    tracing.send(trace, spans.of_approval(trace, decided, now))


def _trace(execution_id: str, turn: int, context: calls.Context, ratio: float) -> ids.TurnTrace:
    return ids.trace_of(execution_id, turn, context.member, context.metadata.get(ids.TRACEPARENT), ratio)


def _guarded(work: Callable[[], None]) -> None:
    """Do work that no execution may depend on."""
    try:
        work()
    except Exception:
        log.exception("tracing.failed")
