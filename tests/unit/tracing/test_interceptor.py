"""Each step becomes a span; nothing that goes wrong with a span reaches the step."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from kubiya_worker.activities.attempts import heartbeats
from kubiya_worker.protocol import calls, names
from kubiya_worker.protocol.execution import Member
from kubiya_worker.tracing import conventions as c
from kubiya_worker.tracing import current, ids, spans
from kubiya_worker.tracing.interceptor import Tracing

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"
SECRET = "the-secret-prompt"
MODEL = calls.ModelInput("e1", 1, 1, "m1", 0, [{"message": {"content": SECRET}}], "d")
TOOL = calls.ToolInput("e1", "call_0", "shell", "m1", 1, arguments=json.dumps({"command": SECRET}), turn=1)
USAGE = {"input_tokens": 7, "output_tokens": 3, "cache_read_tokens": 5, "cost_usd": 0.25}
ANSWER = calls.ModelResult({"content": SECRET}, USAGE, "stop", "big-2026", "acme")
RAN = calls.ToolOutcome(message={"status": "success", "content": SECRET})

Work = Callable[[], Awaitable[Any]]


class Sink:
    """This sink keeps spans with their traces."""

    def __init__(self) -> None:
        self.kept: list[tuple[ids.TurnTrace, spans.Span]] = []

    def emit(self, trace: ids.TurnTrace, span: spans.Span) -> None:
        self.kept.append((trace, span))

    @property
    def spans(self) -> list[spans.Span]:
        return [span for _, span in self.kept]


class Doing(ActivityInboundInterceptor):
    """This activity does some work."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        return await self._work()


def context(caller: str = "") -> calls.Context:
    metadata = {"traceparent": caller} if caller else {}
    return calls.Context("a1", agent_name="ops", model_id="big", system_prompt=SECRET, metadata=metadata)


async def run(
    kind: str, given: Any, work: Work, sink: Any, known: calls.Context | None, *, to_models: bool = False, **info: Any
) -> Any:
    tracing = Tracing(sink, "w1", to_models=to_models)
    tracing.contexts = lambda execution_id: known
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.default_info(), activity_type=kind, task_queue="q1", **info)
    inner = tracing.intercept_activity(Doing(work))
    asked = ExecuteActivityInput(fn=lambda: None, args=[given], executor=None, headers={})

    async def execute() -> Any:
        return await inner.execute_activity(asked)

    return await environment.run(execute)


def answering(value: Any) -> Work:
    async def work() -> Any:
        return value

    return work


async def test_a_model_call_is_a_span_by_the_conventions_without_any_text() -> None:
    sink = Sink()

    async def work() -> Any:
        current.note(c.FIRST_CHUNK, 0.5)
        return ANSWER

    assert await run(names.CALL_MODEL, MODEL, work, sink, context()) is ANSWER
    ((trace, span),) = sink.kept
    assert (span.name, span.parent, span.calls_out, span.error) == ("chat big", trace.agent, True, "")
    assert span.end >= span.start > 10**18
    assert span.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "big",
        "gen_ai.agent.id": "a1",
        "gen_ai.agent.name": "ops",
        "gen_ai.conversation.id": "e1",
        "kubiya.execution.id": "e1",
        "gen_ai.provider.name": "acme",
        "gen_ai.response.model": "big-2026",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.5,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 5,
        "kubiya.cost_usd": 0.25,
        "kubiya.worker.id": "w1",
        "kubiya.queue": "q1",
    }
    assert SECRET not in repr(sink.kept)


async def test_a_tool_call_is_a_span_and_its_program_and_servers_learn_of_it() -> None:
    sink, seen = Sink(), list[Any]()

    async def work() -> Any:
        seen.extend([current.variables(), current.carrier(), current.model_headers(), current.log_fields()])
        return RAN

    await run(names.CALL_TOOL, TOOL, work, sink, context())
    ((trace, span),) = sink.kept
    value = trace.traceparent(span.id)
    ids_of_line = {"trace_id": f"{trace.trace_id:032x}", "span_id": f"{span.id:016x}"}
    assert seen == [{"TRACEPARENT": value}, {"traceparent": value}, {}, ids_of_line]
    assert span.name == "execute_tool shell" and span.attributes[c.TOOL_CALL] == "call_0"
    assert current.variables() == current.carrier() == current.log_fields() == {}
    assert SECRET not in repr(sink.kept)


async def test_models_are_told_only_where_the_setting_says_so() -> None:
    async def work() -> Any:
        return current.model_headers()

    assert await run(names.CALL_MODEL, MODEL, work, Sink(), context()) == {}
    (told,) = (await run(names.CALL_MODEL, MODEL, work, Sink(), context(), to_models=True)).values()
    assert ids.caller_of(told) is not None


async def test_a_caller_that_is_not_sampled_is_told_on_and_nothing_is_sent() -> None:
    sink = Sink()

    async def work() -> Any:
        return current.traceparent()

    told = await run(names.CALL_TOOL, TOOL, work, sink, context(f"{CALLER}0"))
    assert told.startswith(CALLER[:36]) and told.endswith("-00") and not sink.kept


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ApplicationError(SECRET, type="rate_limited"), "rate_limited"),
        (ValueError(SECRET), "ValueError"),
        (asyncio.CancelledError(), "cancelled"),
    ],
)
async def test_a_failure_is_told_by_its_kind(error: BaseException, kind: str) -> None:
    sink = Sink()

    async def work() -> Any:
        raise error

    with pytest.raises(type(error)):
        await run(names.CALL_MODEL, MODEL, work, sink, context())
    assert [span.error for span in sink.spans] == [kind] and SECRET not in repr(sink.kept)


@pytest.mark.parametrize(("status", "error"), [("success", ""), ("failed", "tool_error"), ("denied", "tool_error")])
async def test_how_a_tool_ended_is_told(status: str, error: str) -> None:
    sink = Sink()
    await run(names.CALL_TOOL, TOOL, answering(calls.ToolOutcome(message={"status": status})), sink, context())
    assert [(span.error, span.attributes[c.STATUS]) for span in sink.spans] == [(error, status)]


async def test_a_question_is_no_tool_call_and_a_delegation_has_the_id_that_its_member_knows() -> None:
    sink = Sink()
    question = calls.ApprovalRequest("shell", {}, "h", "high", "why")
    await run(names.CALL_TOOL, TOOL, answering(calls.ToolOutcome(approval=question)), sink, context())
    assert not sink.kept
    await run(names.CALL_TOOL, TOOL, answering(calls.ToolOutcome(delegation="task")), sink, context())
    assert [span.id for span in sink.spans] == [ids.delegation_span("e1", "call_0")]


async def test_each_attempt_of_each_step_has_an_id_of_its_own_in_whatever_run_of_its_workflow() -> None:
    sink = Sink()
    for info in ({"attempt": 1}, {"attempt": 2}, {"workflow_run_id": "other"}, {"activity_id": "9"}, {"attempt": 1}):
        await run(names.CALL_MODEL, MODEL, answering(ANSWER), sink, context(), **info)
    found = [span.id for span in sink.spans]
    assert len(set(found)) == 3 and found[0] == found[2] == found[-1]


async def test_the_attempt_whose_worker_is_gone_is_shown_and_one_that_failed_is_not_shown_again() -> None:
    sink = Sink()
    lost = {"began": 1_000.0, "seen": 1_004.5, "worker": "w0", "ended": False}
    for told in (lost, {**lost, "ended": True}):
        details: list[Any] = [{"input_tokens": 1}, {"unusable": 0}, {current.MARK: told}]
        await run(names.CALL_MODEL, MODEL, answering(ANSWER), sink, context(), attempt=2, heartbeat_details=details)
    first, second, third = sink.spans
    assert (first.error, first.start, first.end) == ("worker_lost", 1_000 * 10**9, 1_004_500_000_000)
    assert (first.attributes[c.WORKER], first.attributes[c.ATTEMPT]) == ("w0", 1)
    assert second.id == third.id != first.id and not second.error
    await run(names.CALL_MODEL, MODEL, answering(ANSWER), sink, context(), attempt=1)
    assert sink.spans[-1].id == first.id  # what the lost attempt had told others


async def test_a_call_that_runs_once_is_told_by_whoever_reports_its_unknown_outcome() -> None:
    sink, began = Sink(), {"began": 1_000.0, "seen": 1_004.5, "worker": "w0", "ended": False}
    lost = calls.LostCall(
        *("shell", "call_0", "tool-call_0", "unknown", 1, "2026-01-01T00:00:00+00:00"),
        noticed_at="2026-01-01T00:00:12+00:00",
        agent_id="a1",
        caller=f"{CALLER}1",
        turn=1,
    )
    for heartbeat in ([{"host": "h"}, {current.MARK: began}], [], [{current.MARK: {**began, "ended": True}}]):
        report = calls.ReportInput("e1", lost=[dataclasses.replace(lost, heartbeat=heartbeat)])
        await run(names.REPORT, report, answering(None), sink, None)  # a worker that has just taken it over
    seen, unseen = sink.spans
    assert (seen.start, seen.end, unseen.end - unseen.start) == (1_000 * 10**9, 1_004_500_000_000, 12 * 10**9)
    assert seen.error == unseen.error == "worker_lost" and seen.attributes[c.STATUS] == "unknown"
    assert seen.attributes[c.WORKER] == "w0" and c.WORKER not in unseen.attributes
    trace = sink.kept[0][0]
    assert trace.trace_id == ids.caller_of(f"{CALLER}1").trace_id  # type: ignore[union-attr]
    same = answering(RAN)
    await run(names.CALL_TOOL, TOOL, same, sink, context(), activity_id="tool-call_0", attempt=1)
    assert {span.id for span in sink.spans} == {seen.id}  # what the call's program was told
    member = Member("e1", "logs", [], "m1", "call_0", "wf", "wf", turn=2)
    for given, result in (
        (calls.TurnInput("e1", "a1", 1, [], {}, [], [], {}, lost=[lost]), calls.TurnResult("completed")),
        (calls.MemberEnd("e1.1", member, lost=[lost]), None),
    ):
        kind = names.END_MEMBER if isinstance(given, calls.MemberEnd) else names.END_TURN
        await run(kind, given, answering(result), sink, None)
    assert len(sink.spans) == 5


async def test_heartbeats_carry_what_the_next_attempt_needs_while_a_step_is_traced() -> None:
    environment, beats = ActivityEnvironment(), list[Any]()
    environment.on_heartbeat = lambda *details: beats.append(details)

    async def fails() -> None:
        async with heartbeats(lambda: ({"usage": 1},)):
            raise ValueError

    async def traced() -> None:
        step = current.Step(7, lambda: None, "w1", to_models=False)
        token = current.STEP.set(step)
        try:
            await fails()
        finally:
            current.STEP.reset(token)

    for work in (fails, traced):
        with pytest.raises(ValueError):
            await environment.run(work)
    ((usage, mark),) = beats
    assert usage == {"usage": 1} and mark[current.MARK]["ended"] and spans.lost_attempt(beats[0]) is None


async def test_a_turn_is_the_root_with_its_times_and_its_usage() -> None:
    sink = Sink()
    began = "2026-11-29T10:00:00+00:00"
    traced = calls.TracedTurn("a1", "ops", turn=1, started_at=began, model="big", caller=f"{CALLER}1")
    turn = calls.TurnInput("e1", "a1", 1, [], {"input_tokens": 9, "output_tokens": 4}, [], [], {}, traced=traced)
    await run(names.END_TURN, turn, answering(calls.TurnResult("completed")), sink, None)
    ((trace, span),) = sink.kept
    assert (span.name, span.id, span.parent) == ("invoke_agent ops", trace.agent, 0xB7AD6B7169203331)
    assert span.start == spans.nanoseconds(began) and span.end > span.start
    assert (span.attributes[c.INPUT_TOKENS], span.attributes[c.STATUS]) == (9, "completed")


async def test_an_end_outside_of_a_turn_and_the_end_of_a_member_are_told_too() -> None:
    sink = Sink()
    cancelled = calls.TracedTurn("t1", "crew", kind="team", turn=2, error="CancelledByUser")
    report = calls.ReportInput("e1", patch={"status": "cancelled"}, traced=cancelled)
    await run(names.END_EXECUTION, report, answering({}), sink, None)
    member = Member("e1", "logs", [], "m1", "call_0", "wf", "wf", turn=2)
    end = calls.MemberEnd("e1.1", member, traced=calls.TracedTurn("a2", "Log reader", turn=1))
    await run(names.END_MEMBER, end, answering(None), sink, None)
    (_, team), (trace, run_of_member) = sink.kept
    assert (team.name, team.error, team.attributes[c.STATUS]) == (
        "invoke_workflow crew",
        "CancelledByUser",
        "cancelled",
    )
    assert (run_of_member.name, run_of_member.parent) == ("invoke_agent logs", ids.delegation_span("e1", "call_0"))
    assert trace.trace_id == ids.trace_id("e1", 2)


async def test_between_turns_nothing_ends() -> None:
    sink = Sink()
    report = calls.ReportInput("e1", patch={"status": "cancelled"})
    await run(names.END_EXECUTION, report, answering({}), sink, context())
    assert not sink.kept


async def test_a_decided_question_is_a_span_of_the_wait() -> None:
    sink = Sink()
    decided = calls.TracedApproval("ap1", "shell", "call_0", "2026-11-29T10:00:00+00:00", "approved", 1)
    await run(names.REPORT, calls.ReportInput("e1", decided=decided), answering(None), sink, context())
    (span,) = sink.spans
    assert (span.name, span.attributes[c.DECISION]) == ("approval shell", "approved")
    assert span.start == spans.nanoseconds(decided.asked_at)


class Broken:
    """This sink cannot take a span."""

    def emit(self, trace: ids.TurnTrace, span: spans.Span) -> None:
        raise RuntimeError


async def test_a_broken_sink_and_an_unknown_execution_harm_no_step() -> None:
    assert await run(names.CALL_MODEL, MODEL, answering(ANSWER), Broken(), context()) is ANSWER
    sink = Sink()
    assert await run(names.CALL_MODEL, MODEL, answering(ANSWER), sink, None) is ANSWER
    assert not sink.kept


async def test_other_activities_have_no_span() -> None:
    sink = Sink()

    async def work() -> Any:
        return current.STEP.get()

    assert await run(names.BEGIN_EXECUTION, None, work, sink, context()) is None and not sink.kept
