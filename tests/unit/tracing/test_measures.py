"""A step is measured for Prometheus and for a collector; nothing that goes wrong with it reaches the step."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from kubiya_worker.process import metrics
from kubiya_worker.protocol import calls, names
from kubiya_worker.protocol.execution import Member
from kubiya_worker.tracing import conventions as c
from kubiya_worker.tracing import current, measures
from kubiya_worker.tracing.measures import Measured

MODEL = calls.ModelInput("e1", 1, 1, "m1", 0, [], "d")
TOOL = calls.ToolInput("e1", "call_0", "shell", "m1", 1, turn=1)
USAGE = {"input_tokens": 7, "output_tokens": 3, "cache_read_tokens": 5}
ANSWER = calls.ModelResult({"content": "text"}, USAGE, "stop", "big-2026", "acme")
RAN = calls.ToolOutcome(message={"status": "success"})
ASKED = calls.ToolOutcome(approval=calls.ApprovalRequest("shell", {}, "h", "high", "why"))
BROKE = ApplicationError("too many", type="rate_limited")


class Doing(ActivityInboundInterceptor):
    """This activity returns a result, or raises it, and notes the time to its first chunk."""

    def __init__(self, result: Any) -> None:
        self._result = result

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        if isinstance(self._result, BaseException):
            raise self._result
        current.note(c.FIRST_CHUNK, 0.25)
        return self._result


async def measured(kind: str, given: Any, result: Any, contexts: Any = None) -> list[Measured]:
    """Return what a step sends to a collector, once it is on the page as well."""
    taken: list[Measured] = []
    meter = metrics.Meter(metrics.Metrics())
    meter.send = taken.append
    meter.contexts = contexts or (lambda _: calls.Context("a1", agent_name="ops", model_id="big"))
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.default_info(), activity_type=kind)
    inner = meter.intercept_activity(Doing(result))
    asked = ExecuteActivityInput(fn=lambda: None, args=[given], executor=None, headers={})

    async def execute() -> Any:
        return await inner.execute_activity(asked)

    if isinstance(result, BaseException):
        with pytest.raises(type(result)):
            await environment.run(execute)
    else:
        assert await environment.run(execute) is result
    page = meter.metrics.text({}, {}, ("1", "q", "w"))
    assert all(f"{each.measure.prometheus}_count" in page for each in taken)
    return taken


async def test_a_model_call_has_a_time_a_first_chunk_and_tokens() -> None:
    time, first, *tokens = await measured(names.CALL_MODEL, MODEL, ANSWER)
    about = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "acme",
        "gen_ai.request.model": "big",
        "gen_ai.response.model": "big-2026",
    }
    assert (time.measure.name, time.known, 0 <= time.value < 60) == ("gen_ai.client.operation.duration", about, True)
    assert (first.measure.name, first.known, first.value) == (
        "gen_ai.client.operation.time_to_first_chunk",
        about,
        0.25,
    )
    assert [(each.known, each.value) for each in tokens] == [
        ({**about, "gen_ai.token.type": "input"}, 7),
        ({**about, "gen_ai.token.type": "output"}, 3),
    ]


async def test_a_failed_model_call_says_the_kind_and_which_model_was_asked() -> None:
    (time,) = await measured(names.CALL_MODEL, MODEL, BROKE)
    assert time.known == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "big",
        "error.type": "rate_limited",
    }


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (RAN, None),
        (calls.ToolOutcome(message={"status": "denied"}), "tool_error"),
        (asyncio.CancelledError(), "cancelled"),
        (ASKED, "none"),
        (calls.ToolOutcome(delegation="task"), "none"),
    ],
)
async def test_a_tool_call_has_a_time_unless_a_person_or_a_member_comes_first(result: Any, error: str | None) -> None:
    taken = await measured(names.CALL_TOOL, TOOL, result)
    known = {"gen_ai.tool.name": "shell", "gen_ai.tool.type": "function"}
    expected = [] if error == "none" else [{**known, **({"error.type": error} if error else {})}]
    assert [each.known for each in taken] == expected
    assert {each.measure.name for each in taken} <= {"gen_ai.execute_tool.duration"}


async def test_a_turn_lasts_from_its_beginning() -> None:
    began = (datetime.now(UTC) - timedelta(seconds=90)).isoformat()
    turn = calls.TracedTurn("a1", "ops", started_at=began, error="BudgetReached")
    team = dataclasses.replace(turn, kind="team", error="")
    member = Member("e1", "logs", [], "m1", "call_0", "wf", "wf", turn=2)
    given = [
        (names.END_TURN, calls.TurnInput("e1", "a1", 1, [], {}, [], [], {}, traced=turn), calls.TurnResult("failed")),
        (names.END_EXECUTION, calls.ReportInput("e1", traced=team), {"published": False}),
        (names.END_MEMBER, calls.MemberEnd("e1.1", member, traced=turn), None),
        (names.END_MEMBER, calls.MemberEnd("e1.1", member, traced=dataclasses.replace(turn, started_at="")), None),
    ]
    taken = [each for one in given for each in await measured(*one)]
    assert [(each.measure.name, each.known) for each in taken] == [
        ("gen_ai.invoke_agent.duration", {"gen_ai.agent.name": "ops", "error.type": "BudgetReached"}),
        ("gen_ai.workflow.duration", {"gen_ai.workflow.name": "ops"}),
        ("gen_ai.invoke_agent.duration", {"gen_ai.agent.name": "logs", "error.type": "BudgetReached"}),
    ]
    assert all(90 <= each.value < 150 for each in taken)


async def test_what_goes_wrong_with_it_harms_no_step() -> None:
    def broken(_: str) -> None:
        raise RuntimeError

    assert await measured(names.CALL_MODEL, MODEL, ANSWER, broken) == []


def test_no_measure_names_an_execution_and_each_says_seconds_or_tokens() -> None:
    for measure in measures.MEASURES:
        assert not any("id" in each.split(".") for each in measure.attributes)
        assert measure.prometheus.endswith("_seconds") == (measure.unit == "s") and measure.unit in ("s", "{token}")
        assert list(measure.buckets) == sorted(measure.buckets)
