"""Our conversation as pydantic-ai's and back: nothing is lost on the way."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_ai import messages as pai
from pydantic_ai.usage import RequestUsage

from kubiya_worker.models import conversion
from kubiya_worker.models.paired_messages import paired
from kubiya_worker.protocol.execution import Usage
from kubiya_worker.protocol.messages import Message

names = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
texts = st.text(max_size=60)
arguments = st.one_of(
    st.dictionaries(st.text(max_size=8), st.one_of(st.integers(), st.text(max_size=20), st.none())).map(json.dumps),
    st.text(min_size=1, max_size=40),  # malformed
)


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """Turns as the workflow keeps them: user, then assistant steps, each call with its result."""
    messages: list[Message] = []
    number = 0
    for _ in range(draw(st.integers(1, 4))):
        messages.append({"role": "user", "content": draw(texts)})
        for _ in range(draw(st.integers(0, 3))):
            calls = []
            for _ in range(draw(st.integers(0, 3))):
                number += 1
                calls.append({"id": f"c{number}", "name": draw(names), "arguments": draw(arguments)})
            thinking = (
                [{"content": draw(texts), "signature": "s", "provider": "anthropic"}] if draw(st.booleans()) else []
            )
            messages.append({"role": "assistant", "content": draw(texts), "tool_calls": calls, "thinking": thinking})
            for call in calls:
                messages.append(
                    {"role": "tool", "content": draw(texts), "tool_call_id": call["id"], "tool_name": call["name"]}
                )
    return messages


def back(converted: list[pai.ModelMessage]) -> list[Message]:
    """The reverse way, through the code that reads a model's answer."""
    messages: list[Message] = []
    for message in converted:
        if isinstance(message, pai.ModelResponse):
            text = "".join(part.content for part in message.parts if isinstance(part, pai.TextPart))
            reply = conversion.to_reply(message, text)
            messages.append(
                {
                    "role": "assistant",
                    "content": reply.content,
                    "tool_calls": reply.tool_calls,
                    "thinking": reply.thinking,
                }
            )
            continue
        for part in message.parts:
            if isinstance(part, pai.UserPromptPart):
                messages.append({"role": "user", "content": part.content})
            elif isinstance(part, pai.ToolReturnPart):
                messages.append(
                    {
                        "role": "tool",
                        "content": part.content,
                        "tool_call_id": part.tool_call_id,
                        "tool_name": part.tool_name,
                    }
                )
    return messages


@settings(max_examples=200)
@given(conversations())
def test_a_conversation_comes_back_as_it_went(messages: list[Message]) -> None:
    assert back(conversion.to_messages("", messages)) == messages


@settings(max_examples=100)
@given(conversations(), st.randoms(use_true_random=False))
def test_whatever_is_missing_each_call_has_one_result_right_after_it(messages: list[Message], random: Any) -> None:
    kept = [message for message in messages if random.random() < 0.7]
    ordered = paired(kept)
    expected = 0
    for at, message in enumerate(ordered):
        if message["role"] == "tool":
            expected -= 1
            assert expected >= 0
            continue
        assert expected == 0
        calls = message.get("tool_calls") or []
        expected = len(calls)
        assert [after["tool_call_id"] for after in ordered[at + 1 : at + 1 + expected]] == [
            call["id"] for call in calls
        ]
    assert expected == 0


def test_system_prompt_comes_first_and_only_if_there_is_one() -> None:
    first = conversion.to_messages("be brief", [{"role": "user", "content": "hi"}])[0]
    assert [type(part) for part in first.parts] == [pai.SystemPromptPart, pai.UserPromptPart]
    assert len(conversion.to_messages("", [{"role": "user", "content": "hi"}])[0].parts) == 1


def test_signed_thoughts_are_plain_json_in_between() -> None:
    part = pai.ThinkingPart("hm", signature="sig", provider_name="anthropic", provider_details={"k": 1})
    reply = conversion.to_reply(pai.ModelResponse(parts=[part]), "")
    stored = json.loads(json.dumps(reply.thinking))
    response = conversion.to_messages("", [{"role": "assistant", "content": "", "thinking": stored}])[0]
    assert response.parts == [part]


def test_finish_reasons_in_our_words() -> None:
    call = pai.ToolCallPart("shell", "{}", tool_call_id="c")
    cases: list[tuple[list[Any], Any, dict[str, Any] | None, str]] = [
        ([call], "tool_call", None, "tool_calls"),
        ([call], "stop", None, "tool_calls"),
        ([call], "length", None, "length"),
        ([], "tool_call", None, "stop"),
        ([], "content_filter", None, "content_filter"),
        ([], None, {"finish_reason": "eos"}, "eos"),
        ([], None, None, "stop"),
    ]
    for parts, reason, details, expected in cases:
        response = pai.ModelResponse(parts=parts, finish_reason=reason, provider_details=details)
        assert conversion.to_reply(response, "").finish_reason == expected


def test_usage_counts_cached_tokens_once() -> None:
    usage = RequestUsage(input_tokens=100, output_tokens=5, cache_read_tokens=60, cache_write_tokens=20)
    assert conversion.to_usage(usage) == Usage(100, 5, 60, 20)
