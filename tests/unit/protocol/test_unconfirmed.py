"""A step's result has its unconfirmed events without what the result's message has too."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import unconfirmed

TEXT = "The disk of db-1 is full: /var/log holds 41 GB of old logs. " * 100
ARGUMENTS = '{"command": "du -xh --max-depth=1 /var | sort -h | tail -20"}'
CALLS = [{"id": "c", "name": "shell", "arguments": ARGUMENTS}]


def event(event_type: str, **data: Any) -> ev.Event:
    return ev.event(f"{event_type}:1", event_type, data, "2026-11-29T00:00:00+00:00")


MESSAGE: dict[str, Any] = {"role": "assistant", "content": TEXT, "message_id": "m", "tool_calls": CALLS}
CASES: dict[str, tuple[list[ev.Event], dict[str, Any]]] = {
    "an answer": ([event(ev.MESSAGE, **MESSAGE, model="gpt-4o", usage={"input_tokens": 1})], MESSAGE),
    "its last words": (
        [event(ev.MESSAGE_CHUNK, message_id="m", content=TEXT[-200:]), event(ev.MESSAGE, **MESSAGE)],
        MESSAGE,
    ),
    "words in its middle": (
        [
            {**event(ev.MESSAGE_CHUNK, message_id="m", content=TEXT[70:400]), "after": ["x"]},
            event(ev.MESSAGE_CHUNK, message_id="m", content=TEXT[400:]),
        ],
        MESSAGE,
    ),
    "a tool's output": (
        [event(ev.TOOL_COMPLETED, tool_name="shell", tool_output=TEXT, tool_error=None)],
        {"role": "tool", "content": TEXT, "tool_name": "shell"},
    ),
    "nothing in common": ([event(ev.NOTICE, message="short")], {"role": "tool", "content": "other"}),
    "an empty text": ([event(ev.MESSAGE, content="", role="assistant")], {"role": "assistant", "content": ""}),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_left_out_comes_back(name: str) -> None:
    events, message = CASES[name]
    packed = unconfirmed.packed(events, message)
    assert unconfirmed.unpacked(packed, message) == events
    assert [e["event_id"] for e in packed] == [e["event_id"] for e in events]


@pytest.mark.parametrize("name", ["an answer", "its last words", "words in its middle", "a tool's output"])
def test_the_size_does_not_grow_with_the_message(name: str) -> None:
    events, message = CASES[name]
    assert unconfirmed.size(unconfirmed.packed(events, message)) < 600 < unconfirmed.size(events)


def test_an_event_is_not_changed() -> None:
    events, message = CASES["an answer"]
    before = repr(events)
    unconfirmed.packed(events, message)
    assert repr(events) == before
