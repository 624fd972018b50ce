"""These tests read messages of others: sound ones stay as they are, odd ones break nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kubiya_worker.models import conversion
from kubiya_worker.protocol import messages as m

NOW = "2026-01-01T00:00:00+00:00"
CALL = {"id": "c1", "name": "shell", "arguments": "{}"}
SOUND: list[m.Message] = [
    {"role": "user", "content": "hi", "message_id": "u1", "timestamp": NOW, "user_id": "x", "tool_calls": None},
    {"role": "assistant", "content": "", "message_id": "a1", "tool_calls": [CALL], "thinking": [{"content": "hm"}]},
    {"role": "tool", "content": "r", "tool_call_id": "c1", "tool_name": "shell", "status": "failed"},
    {"role": "system", "content": "note"},
]
ODD: list[Any] = [None, "x", 5, True, [], ["x"], [None], [{}], {}, {"a": None}, [{"id": None, "name": 5}], [CALL, 5]]


def test_sound_messages_stay_as_they_are() -> None:
    assert [m.readable(message) for message in SOUND] == SOUND
    assert m.said(SOUND[0], "later") == SOUND[0]
    assert m.said({"content": "hi"}, NOW) == {"role": "user", "timestamp": NOW, "content": "hi"}


@pytest.mark.parametrize("field", ["role", "content", "tool_calls", "thinking", "timestamp", "message_id", "status"])
def test_odd_fields_break_no_step(field: str) -> None:
    for odd in ODD:
        session = copy.deepcopy(SOUND)
        for message in session:
            message[field] = odd
        read = [m.readable(message) for message in session]
        conversion.to_messages("p", read)
        m.digest_of(read)
        assert all(isinstance(message.get("message_id", ""), str) for message in read)
        for message in session:
            said = m.said(message, NOW)
            assert said["role"] in ("user", "assistant", "system") and isinstance(said["timestamp"], str)
            assert not said.get("tool_calls") and not said.get("thinking")
            conversion.to_messages("p", [said])


def test_a_call_without_its_parts_is_left_out() -> None:
    assert m.readable({"role": "assistant", "tool_calls": [CALL, {"id": "x"}, 5]})["tool_calls"] == [CALL]
