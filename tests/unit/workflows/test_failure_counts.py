"""The same failure of the same call is counted; anything else begins anew."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kubiya_worker.protocol import same_failures
from kubiya_worker.protocol.messages import TOOL_DENIED, TOOL_FAILED, TOOL_SUCCESS
from kubiya_worker.workflows.failure_counts import MORE, REMEMBERED, FailureCounts

CALL = {"id": "call_1", "name": "shell", "arguments": '{"command": "false"}'}


def fail(counts: FailureCounts, call: dict[str, str] = CALL, text: str = "exit code 1", *, told: bool = False) -> Any:
    return counts.note(call, same_failures.failure_hash(TOOL_FAILED, text, call["id"]), text, told=told)


def times(counts: FailureCounts, call: dict[str, str] = CALL) -> int:
    known = counts.known(call)
    return known.times if known else 0


def test_the_same_call_may_be_written_in_another_way_and_has_another_id() -> None:
    counts = FailureCounts()
    fail(counts)
    fail(counts, {**CALL, "id": "call_2", "arguments": '{ "command":"false" }'})
    assert times(counts) == 2
    assert times(counts, {**CALL, "arguments": '{"command": "true"}'}) == 0


@pytest.mark.parametrize("other", ["exit code 2", ""])
def test_another_result_begins_anew(other: str) -> None:
    counts = FailureCounts()
    fail(counts)
    fail(counts)
    if other:
        fail(counts, text=other)
    else:
        counts.note(CALL, same_failures.failure_hash(TOOL_SUCCESS, "", "call_1"), "", told=False)
    assert times(counts) == bool(other)


def test_calls_in_between_change_nothing_and_a_person_does() -> None:
    counts = FailureCounts()
    fail(counts)
    fail(counts, {**CALL, "name": "python"})
    counts.note({**CALL, "name": "read_file"}, "", "fine", told=False)
    fail(counts)
    assert times(counts) == 2
    counts.forget()
    assert times(counts) == 0


def test_it_goes_on_when_it_fails_twice_more_after_the_model_was_told() -> None:
    counts = FailureCounts()
    assert [fail(counts) for _ in range(4)] == [None] * 4
    assert fail(counts, told=True) is None
    assert [bool(fail(counts, told=True)) for _ in range(MORE)] == [False, True]
    found = fail(counts, text="exit code 1", told=True)
    found.text += "\n" + same_failures.note("shell", 8)
    assert found.what() == 'shell {"command": "false"} has failed 8 times in the same way: exit code 1'


def test_the_state_goes_through_json() -> None:
    counts = FailureCounts()
    for _ in range(6):
        fail(counts, told=times(counts) >= 4)
    restored = FailureCounts.restore(json.loads(json.dumps(counts.snapshot())))
    assert restored.snapshot() == counts.snapshot()
    assert fail(restored, told=True).times == 7


def test_only_the_newest_calls_are_remembered() -> None:
    counts = FailureCounts()
    calls = [{**CALL, "arguments": f'{{"command": "{n}"}}'} for n in range(REMEMBERED + 1)]
    for call in calls:
        fail(counts, call)
    assert (times(counts, calls[0]), times(counts, calls[1])) == (0, 1)


def test_what_hashes_differ_by() -> None:
    one = same_failures.failure_hash(TOOL_FAILED, "see .kubiya/call_1.txt", "call_1")
    assert one == same_failures.failure_hash(TOOL_FAILED, "see .kubiya/call_2.txt", "call_2")
    assert one != same_failures.failure_hash(TOOL_DENIED, "see .kubiya/call_1.txt", "call_1")
    assert same_failures.failure_hash(TOOL_FAILED, "half a pair: \ud83d", "call_1")
    assert same_failures.call_hash({**CALL, "arguments": "{"}) != same_failures.call_hash(CALL)
