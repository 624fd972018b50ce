"""An answer's parts go into a message and come back as they were, in their order, with what a provider has signed."""

from __future__ import annotations

import json

import pytest
from pydantic_ai.messages import ModelResponsePart, TextPart, ThinkingPart, ToolCallPart

from kubiya_worker.models import answer_parts
from kubiya_worker.protocol.messages import Message

THOUGHT = ThinkingPart("hm", signature="s1", provider_name="anthropic")
SEALED = ThinkingPart("", id="redacted_thinking", signature="s2", provider_name="anthropic")
SIGNED = ToolCallPart(
    "shell", "{}", tool_call_id="c1", provider_name="google", provider_details={"thought_signature": "x"}
)
TEXT, CALL = TextPart("Looking. "), ToolCallPart("shell", '{"a": 1}', tool_call_id="c2")


def message_of(*given: ModelResponsePart) -> Message:
    calls = [
        {"id": part.tool_call_id, "name": part.tool_name, "arguments": part.args}
        for part in given
        if isinstance(part, ToolCallPart)
    ]
    text = "".join(part.content for part in given if isinstance(part, TextPart))
    message = {"role": "assistant", "content": text, "tool_calls": calls, "thinking": answer_parts.entries(given)}
    kept: Message = json.loads(json.dumps(message))
    return kept


@pytest.mark.parametrize(
    "given",
    [
        [TEXT],
        [CALL],
        [THOUGHT],
        [THOUGHT, TEXT, CALL],
        [SEALED, THOUGHT, CALL],
        [THOUGHT, TEXT, THOUGHT, TextPart("Found."), CALL],
        [TEXT, THOUGHT, CALL],
        [CALL, TEXT],
        [TEXT, SIGNED, CALL],
        [SIGNED, CALL, THOUGHT],
        [],
    ],
)
def test_parts_come_back_as_they_were(given: list[ModelResponsePart]) -> None:
    assert answer_parts.restored(message_of(*given)) == given


def test_nothing_is_kept_of_what_the_message_says_already() -> None:
    assert answer_parts.entries([TEXT, CALL]) == []
    assert [set(entry) & {"text", "call"} for entry in answer_parts.entries([THOUGHT, TEXT, CALL])] == [set()]


def test_an_order_that_does_not_fit_any_more_is_the_plain_one_and_signatures_of_calls_stay() -> None:
    message = message_of(THOUGHT, TEXT, SIGNED, THOUGHT, TextPart("More."), CALL)
    message["content"] = "[redacted]"
    assert answer_parts.restored(message) == [THOUGHT, THOUGHT, TextPart("[redacted]"), SIGNED, CALL]


def test_a_message_of_an_earlier_version_has_thoughts_alone() -> None:
    entry = {"content": "hm", "signature": "s1", "provider": "anthropic"}
    calls = [{"id": "c2", "name": "shell", "arguments": '{"a": 1}'}]
    message = {"role": "assistant", "content": "Looking. ", "tool_calls": calls, "thinking": [entry]}
    assert answer_parts.restored(message) == [THOUGHT, TEXT, CALL]
