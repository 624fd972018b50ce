"""A provider's own fields go back to it alone, in their place; redaction removes such a field as a whole."""

from __future__ import annotations

import json
from typing import Any

from kubiya_worker.models.wire import outgoing
from kubiya_worker.models.wire.answer import AnswerBuilder
from kubiya_worker.tools.redaction import Redactor

HERE = outgoing.origin_of("gateway:4000", "claude")
CALL = {"id": "a", "name": "shell", "arguments": '{"command":  "ls"}'}
BLOCKS = [{"type": "thinking", "thinking": "weigh", "signature": "sig=="}]


def message(**fields: Any) -> dict[str, Any]:
    entry = {"origin": HERE, "fields": {"thinking_blocks": BLOCKS, "opaque": "x"}, "calls": {"0": {"extra_content": 1}}}
    return {"role": "assistant", "content": "Looking.", "tool_calls": [CALL], "thinking": [entry], **fields}


def test_it_goes_back_in_its_place_to_where_it_came_from() -> None:
    assert outgoing.assistant(message(), HERE) == {
        "role": "assistant",
        "content": "Looking.",
        "tool_calls": [
            {
                "extra_content": 1,
                "id": "a",
                "type": "function",
                "function": {"name": "shell", "arguments": '{"command":  "ls"}'},
            }
        ],
        "thinking_blocks": BLOCKS,
        "opaque": "x",
    }


def test_it_goes_nowhere_else() -> None:
    for other in (outgoing.origin_of("gateway:4000", "gpt"), outgoing.origin_of("elsewhere", "claude")):
        sent = outgoing.assistant(message(), other)
        assert set(sent) == {"role", "content", "tool_calls"}
        assert set(sent["tool_calls"][0]) == {"id", "type", "function"}


def test_it_survives_json_and_is_the_same_each_time() -> None:
    kept = json.loads(json.dumps(message()))
    assert json.dumps(outgoing.assistant(kept, HERE)) == json.dumps(outgoing.assistant(message(), HERE))


def test_a_redaction_takes_a_field_as_a_whole_and_leaves_the_others_untouched() -> None:
    (entry,) = message()["thinking"]
    assert outgoing.unchanged(entry, Redactor(["hunter2-secret"]).value) == entry
    entry["fields"]["thinking_blocks"] = [{"type": "thinking", "thinking": "hunter2-secret", "signature": "s"}]
    entry["prefix"] = "<think>hunter2-secret</think>"
    assert outgoing.unchanged(entry, Redactor(["hunter2-secret"]).value) == {
        "origin": HERE,
        "fields": {"opaque": "x"},
        "calls": {"0": {"extra_content": 1}},
    }


def test_a_thought_in_tags_goes_back_as_it_stood() -> None:
    answer = AnswerBuilder()
    text = "<think>plan</think>\n\nyes"
    for piece in text:
        answer.feed({"choices": [{"delta": {"content": piece}}]})
    answer.end()
    entry = outgoing.entry_of(answer, [], HERE)
    assert entry is not None
    sent = outgoing.assistant({"role": "assistant", "content": answer.text, "thinking": [entry]}, HERE)
    assert sent == {"role": "assistant", "content": text}


def test_arguments_that_are_no_object_are_wrapped_and_names_are_made_sendable() -> None:
    calls = [{"id": "a", "name": "functions.no such", "arguments": "{'a': 1}"}]
    (sent,) = outgoing.assistant(message(tool_calls=calls), "x")["tool_calls"]
    assert json.loads(sent["function"]["arguments"]) == {"INVALID_JSON": "{'a': 1}"}
    assert sent["function"]["name"] == "functions_no_such"


def test_a_message_without_a_word_is_still_a_message() -> None:
    assert outgoing.assistant({"role": "assistant", "content": ""}, HERE)["content"] == ""
    assert outgoing.assistant(message(content=""), HERE)["content"] is None


def test_what_an_earlier_version_kept_goes_back_too() -> None:
    earlier = [
        {"content": "first ", "id": "reasoning_content", "provider": "litellm"},
        {"call": 0, "provider": "litellm", "details": {"extra_content": {"google": "sig"}}},
    ]
    sent = outgoing.assistant(message(thinking=earlier), HERE, "litellm")
    assert sent["reasoning_content"] == "first "
    assert sent["tool_calls"][0]["extra_content"] == {"google": "sig"}
    assert "reasoning_content" not in outgoing.assistant(message(thinking=earlier), HERE, "openai")


def test_what_is_too_large_to_be_kept_is_left_out() -> None:
    answer = AnswerBuilder()
    answer.feed({"choices": [{"delta": {"blob": "x" * outgoing.LARGEST, "content": "yes"}}]})
    answer.end()
    assert outgoing.entry_of(answer, [], HERE) is None
