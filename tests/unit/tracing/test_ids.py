"""Ids of traces and spans are the same on each worker, and those of different things differ."""

from __future__ import annotations

import pytest

from kubiya_worker.protocol.execution import Member
from kubiya_worker.tracing import ids

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = 0x0AF7651916CD43DD8448EB211C80319C


def member(**fields: object) -> Member:
    about = {"stream": "e1", "name": "m", "path": [], "parent_message_id": "", "leader": "", "root": "", "turn": 1}
    return Member.parse({**about, "parent_tool_execution_id": "call_0", **fields}) or pytest.fail("no member")


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (CALLER, True),
        (CALLER[:-1] + "0", False),
        (CALLER[:-2] + "03", True),
        ("cc" + CALLER[2:] + "-what-comes-later", True),
    ],
)
def test_a_caller_is_read(text: str, sampled: bool) -> None:
    assert ids.caller_of(text) == ids.CallerSpan(TRACE, 0xB7AD6B7169203331, sampled)


@pytest.mark.parametrize(
    "text",
    [
        *(None, 7, "", "00", CALLER.upper(), CALLER + "-more", "ff" + CALLER[2:], "cc" + CALLER[2:] + "x"),
        "00-" + "0" * 32 + CALLER[35:],
        CALLER[:36] + "0" * 16 + "-01",
        "cc" + CALLER[2:] + "-" + "x" * 600,
    ],
)
def test_what_names_no_span_is_ignored(text: object) -> None:
    assert ids.caller_of(text) is None


def test_the_first_turn_is_in_the_trace_of_its_caller_and_the_next_is_linked_to_it() -> None:
    first = ids.trace_of("e1", 1, None, CALLER, 0.0)
    assert (first.trace_id, first.parent, first.sampled, first.link) == (TRACE, 0xB7AD6B7169203331, True, None)
    second = ids.trace_of("e1", 2, None, CALLER, 0.0)
    assert second.trace_id not in (TRACE, ids.trace_id("e1", 1)) and second.parent == 0
    assert second.link == (TRACE, first.agent) and second.sampled


def test_without_a_caller_each_turn_has_a_trace_and_a_root() -> None:
    traces = [ids.trace_of(execution, turn, None, None, 1.0) for execution in ("e1", "e2") for turn in (1, 2, 3)]
    assert len({each.trace_id for each in traces}) == len({each.agent for each in traces}) == 6
    assert all(each.parent == 0 and each.sampled for each in traces)
    assert traces[2].link == (traces[1].trace_id, traces[1].agent)


def test_a_member_is_below_the_call_of_its_leader() -> None:
    whole = ids.trace_of("e1", 2, None, CALLER, 1.0)
    run = ids.trace_of("e1.1", 1, member(turn=2, traceparent=CALLER), None, 1.0)
    assert (run.trace_id, run.sampled) == (whole.trace_id, True)
    assert run.parent == ids.delegation_span("e1", "call_0")
    inner = ids.trace_of("e1.1.4", 1, member(turn=2, parent_tool_execution_id="e1.1:call_0"), None, 1.0)
    assert inner.parent == ids.delegation_span("e1.1", "call_0")
    assert len({whole.agent, run.agent, inner.agent, run.parent, inner.parent}) == 5


def test_a_caller_that_is_not_sampled_is_obeyed_in_each_turn_and_by_members() -> None:
    silent = CALLER[:-1] + "0"
    assert not ids.trace_of("e1", 1, None, silent, 1.0).sampled
    assert not ids.trace_of("e1", 2, None, silent, 1.0).sampled
    assert not ids.trace_of("e1.1", 1, member(traceparent=silent), None, 1.0).sampled
    assert ids.trace_of("e1", 1, None, silent, 1.0).traceparent(5).endswith("-0000000000000005-00")


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_a_share_of_the_traces_is_sampled(ratio: float) -> None:
    sampled = sum(ids.trace_of(f"e{n}", 1, None, None, ratio).sampled for n in range(2000))
    assert abs(sampled / 2000 - ratio) < 0.04


def test_parts_of_a_name_are_not_mixed_up() -> None:
    assert ids.span_id("a", "bc") != ids.span_id("ab", "c")
