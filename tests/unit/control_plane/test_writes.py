"""The list of writes, and values and records as the published control plane takes them."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pydantic_core
import pytest

from kubiya_worker.control_plane import json_values, records, reduced_writes, writes
from kubiya_worker.control_plane.throttled_log import EVERY, ThrottledLog


@pytest.mark.parametrize(
    ("write", "kind", "required"),
    [
        (writes.execution("e", status="running"), "status", True),
        (writes.session("e", [], user_id=None, turn=1), "session", True),
        (writes.events("e", []), "events", True),
        (writes.job_status("e", "job/1", status="completed"), "job_status", True),
        (writes.job_row({}), "job_row", True),
        (writes.turn({}), "turn", False),
        (writes.tool_calls([{"execution_id": "e"}]), "tool_calls", False),
        (writes.tool_call({}), "tool_call", False),
        (writes.agent("a", status="running"), "agent_status", False),
    ],
)
def test_the_list_says_of_each_write_whether_it_is_required(write: writes.Write, kind: str, required: bool) -> None:
    assert write.kind is not None
    assert (write.kind.name, write.optional) == (kind, not required)


def test_what_is_not_in_the_list_is_required() -> None:
    assert not writes.Write("POST", "/somewhere/else", {}).optional


@pytest.fixture(params=["pydantic's encoder", "Python's encoder", "while it is loaded"])
def encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A worker has pydantic's encoder once the code of steps is loaded, and Python's before that."""
    if request.param == "pydantic's encoder":
        monkeypatch.setitem(sys.modules, "pydantic_core", pydantic_core)
    elif request.param == "while it is loaded":
        monkeypatch.setitem(sys.modules, "pydantic_core", ModuleType("pydantic_core"))
    else:
        monkeypatch.delitem(sys.modules, "pydantic_core")
    return str(request.param)


@pytest.mark.parametrize(
    "value", ["x\x00", "x\ud83d", math.nan, -math.inf, "\U0001f600 é \\u0000", "x", 2.5, None, Path("p")]
)
def test_both_encoders_send_the_same(encoder: str, value: Any) -> None:
    expected = {"x\x00": "x\ufffd", "x\ud83d": "x\ufffd", Path("p"): "p"}.get(value, value)
    if isinstance(value, float) and not math.isfinite(value):
        expected = None
    sent = json_values.encoded({"a": [value]})
    assert sent.isascii() and json.loads(sent) == {"a": [expected]}


def test_nul_half_surrogates_and_numbers_that_are_none_are_replaced_and_nothing_else(encoder: str) -> None:
    odd = {
        "a\x00": ["x\ud83d", {"n": math.nan, "i": -math.inf}],
        "ok": "\U0001f600 é \\u0000",
        "n": [1, 2.5, True, None],
    }
    sent = json.loads(json_values.encoded(odd))
    assert sent == {
        "a\ufffd": ["x\ufffd", {"n": None, "i": None}],
        "ok": "\U0001f600 é \\u0000",
        "n": [1, 2.5, True, None],
    }


def test_a_turn_is_typed_whatever_it_is_made_of() -> None:
    made = records.turn(
        {
            "execution_id": "e",
            "turn_number": 1,
            "model": None,
            "started_at": "2026-01-01T00:00:00+00:00",
            "completed_at": "2026-01-01T00:00:01.500+00:00",
            "finish_reason": "content_filter",
            "input_tokens": 2**40,
            "output_tokens": 1.5,
            "total_tokens": None,
            "cost_usd": 0.25,
            "response_preview": "x" * 900,
            "error_message": None,
        }
    )
    assert made["model"] == "unknown" and made["duration_ms"] == 1500 and made["finish_reason"] == "error"
    assert (made["input_tokens"], made["output_tokens"], made["total_cost"]) == (2**31 - 1, 1, 0.25)
    assert len(made["response_preview"]) == 500 and "cost_usd" not in made
    assert None not in made.values()


@pytest.mark.parametrize("started", [None, 5, "yesterday", ""])
def test_a_time_that_is_none_is_not_sent(started: object) -> None:
    made = records.tool_call({"execution_id": "e", "tool_name": "t", "started_at": started, "completed_at": started})
    assert made["started_at"].startswith("1970") and "completed_at" not in made


@pytest.mark.parametrize("given", [["a"], "text", 5, None])
def test_a_tools_input_is_an_object_or_left_out(given: object) -> None:
    made = records.tool_call({"execution_id": "e", "tool_name": "t", "tool_input": given, "tool_output": {"k": 1}})
    assert "tool_input" not in made and "turn_id" not in made
    assert isinstance(made["tool_output"], str)


def test_a_tools_texts_are_cut() -> None:
    record = {"execution_id": "e", "tool_name": "t", "tool_input": {"file": "x" * 20_000}, "tool_output": "y" * 20_000}
    made = records.tool_call({**record, "tool_output_size": 20_000}, "row")
    assert len(made["tool_input"]["file"]) < 10_100 and len(made["tool_output"]) == 10_000
    assert (made["tool_output_size"], made["turn_id"]) == (20_000, "row")


def test_a_status_gets_there_with_ever_less_beside_it() -> None:
    write = writes.execution("e", status="completed", usage={}, response="r", execution_metadata={}, error_message="x")
    assert [sorted(less.body) for less in reduced_writes.reduced(write)] == [
        ["error_message", "response", "status"],
        ["error_message", "status"],
        ["status"],
    ]
    assert reduced_writes.reduced(writes.execution("e", status="running")) == []


def test_a_session_gets_there_as_plain_text() -> None:
    message = {"role": "assistant", "content": "hi", "message_id": "m", "tool_calls": [{}], "thinking": [{}]}
    (less,) = reduced_writes.reduced(writes.session("e", [message], user_id=None, turn=1))
    assert less.body["messages"] == [{"role": "assistant", "content": "hi", "message_id": "m"}]


def test_the_same_fault_is_one_line_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    complaints = ThrottledLog(lambda: now[0])
    for at in (0.0, 1.0, 2.0, EVERY + 1):
        now[0] = at
        complaints.add("write.dropped", "turn 500", "kind=turn broke")
    complaints.add("write.dropped", "turn 404", "kind=turn gone")
    assert [record.getMessage() for record in caplog.records] == [
        "write.dropped kind=turn broke",
        "write.dropped kind=turn broke 2 more since the last line",
        "write.dropped kind=turn gone",
    ]
