"""An answer is put together from chunks, even when indexes, ids, names or places are wrong."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from kubiya_worker.models.base import RESET, TEXT, THINKING, THOUGHT
from kubiya_worker.models.wire.answer import AnswerBuilder, chunk_of
from kubiya_worker.protocol.execution import Usage


def said(*deltas: dict[str, Any], tools: tuple[str, ...] = ("shell",), finish: str = "stop") -> AnswerBuilder:
    """The answer that comes in these pieces."""
    answer = AnswerBuilder(tools)
    for delta in deltas:
        answer.feed({"choices": [{"index": 0, "delta": delta}]})
    answer.feed({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    answer.end()
    return answer


def call(arguments: Any = None, name: str | None = None, **fields: Any) -> dict[str, Any]:
    """A piece of one tool call."""
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{**fields, "function": {k: v for k, v in function.items() if v is not None}}]}


def calls(answer: AnswerBuilder) -> list[tuple[str, str]]:
    return [(found.name, found.arguments()) for found in answer.calls.complete()]


TAGS = ("thought", "reasoning", "reflection", "Analysis", "REASONING_SCRATCHPAD", "chain_of_thought")
ONE, TWO = '{"command": "one"}', '{"command": "two"}'


@pytest.mark.parametrize(
    "pieces",
    [
        [call(ONE, "shell", index=0, id="a"), call(TWO, "shell", index=1, id="b")],
        [call(ONE, "shell", index=0, id="a"), call(TWO, "shell", index=0, id="b")],
        [call(ONE, "shell", id="a"), call(TWO, "shell", id="b")],
        [call(ONE, "shell", index=0), call(TWO, "shell", index=0)],
        [call(ONE, "shell"), call(TWO, "shell")],
        [call(ONE, "shell", index=0, id="a"), call(TWO, "shell", index=1, id="a")],
        [call(ONE, "shell", index=0, id=0), call(TWO, "shell", index=0, id=1)],
        [call(ONE, "shell", index=0, id="a"), call(TWO, "shell", index=0, id="a")],
        [call("", "shell", index=0), call(ONE, index=0), call("", "shell", index=0), call(TWO, index=0)],
        [
            call(ONE[:5], "shell", index=0, id="a"),
            call(TWO[:5], "shell", index=0, id="b"),
            call(ONE[5:], index=0, id="a"),
            call(TWO[5:], index=0, id="b"),
        ],
        [
            call(ONE[:5], "shell", index=0),
            call(TWO[:5], "shell", index=1),
            call(ONE[5:], index=0),
            call(TWO[5:], index=1),
        ],
        [{"tool_calls": [{"function": {"name": "shell", "arguments": text}} for text in (ONE, TWO)]}],
        [{"tool_calls": [{"id": text, "function": {"name": "shell", "arguments": text}} for text in (ONE, TWO)]}],
        [call("", "shell", index=0, id="a"), call(ONE), call("", "shell", index=0, id="a"), call(TWO)],
        [call(ONE[:6], "shell", id="a"), call(ONE[6:]), call(TWO[:6], "shell", id="a"), call(TWO[6:])],
    ],
)
def test_two_calls_stay_two(pieces: list[dict[str, Any]]) -> None:
    assert calls(said(*pieces)) == [("shell", ONE), ("shell", TWO)]


@pytest.mark.parametrize(
    "pieces",
    [
        [call(ONE, "shell", index=0, id="a")],
        [call(ONE[:4], "shell", index=0, id="a"), call(ONE[4:9], "shell", index=0, id="a"), call(ONE[9:], id="a")],
        [call(ONE[:4], "shell", index=0, id="a"), call(ONE[4:], "shell", index=0)],
        [call(ONE[:4], "shell", index=0, id="a"), call(ONE[4:], "shell", index=0, id="changes")],
        [call(ONE[:4], "shell", index=0, id="a"), call(ONE[4:], index=0, id="changes")],
        [call("", "sh", index=0, id="a"), call("", "ell", index=0), call(ONE, index=0)],
        [call("", "sh", index=0, id="a"), call("", "shell", index=0), call(ONE, index=0)],
        [call(ONE, "shell", index=0, id="a"), call(ONE, "shell", index=0, id="a")],
        [call(ONE, "shell", index=0, id="a"), call('{"command":"one"}', "shell", index=0, id="a")],
        [call(ONE, "shell"), call(ONE, "shell")],
        [call(ONE, "shell", index=0, id="a"), call("", "shell", index=0, id="a")],
        [call({"command": "one"}, "shell", index=0, id="a")],
        [{"tool_calls": [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "shell", "input": ONE}}]}],
        [call({"command": "one"}, "shell", index=0, id="a"), call({"command": "one"}, "shell", index=0, id="a")],
        [call("{}", "shell", index=0, id="a"), call(ONE, index=0)],
        [call("", "shell", id="a"), call(ONE, index=0)],
        [{"toolCalls": [{"index": 0, "id": "a", "function": {"name": "shell", "arguments": ONE}}]}],
        [{"tool_call": {"id": "a", "function": {"name": "shell", "arguments": ONE}}}],
        [{"tool_calls": json.dumps([{"id": "a", "function": {"name": "shell", "arguments": ONE}}])}],
        [{"content": [{"type": "tool_use", "id": "a", "name": "shell", "input": {"command": "one"}}]}],
        [call({}, "shell", index=0, id="a"), call(ONE, "shell", index=0, id="a")],
        [call(ONE[:4], "shell", index=0, id="a"), call(ONE[:9], index=0), call(ONE, index=0)],
        [call(ONE[:4], "shell", index=0, id="a"), call(ONE[4:], index=0), call(ONE, index=0)],
        [call(None, "shell", index=0, id="a"), call(ONE, index=0)],
        [call(ONE, "shell", index=0, id="a"), call({}, index=0)],
        [call(ONE, "shell", index=0, id="a"), call(ONE, "shell", index=1, id="a")],
        [{"function_call": {"name": "shell", "arguments": ONE[:3]}}, {"function_call": {"arguments": ONE[3:]}}],
    ],
)
def test_one_call_stays_one(pieces: list[dict[str, Any]]) -> None:
    answer = said(*pieces)
    assert [(name, arguments.replace('":"', '": "')) for name, arguments in calls(answer)] == [("shell", ONE)]


def test_an_object_within_an_object_of_the_same_name_is_no_repetition() -> None:
    pieces = [call('{"a": ', "shell", index=0, id="x"), call('{"a": 1}', index=0), call("}", index=0)]
    assert calls(said(*pieces)) == [("shell", '{"a": {"a": 1}}')]


def test_two_names_at_one_place_are_two_calls_when_both_are_tools() -> None:
    pieces = [call("", "now", index=0), call("", "shell", index=0), call(ONE, index=0)]
    assert calls(said(*pieces, tools=("now", "shell"))) == [("now", ""), ("shell", ONE)]


def test_an_integer_becomes_a_text_and_no_id_stays_empty() -> None:
    assert [c.id for c in said(call(ONE, "shell", id=7), call(TWO, "shell", id=None, index=1)).calls.complete()] == [
        "7",
        "",
    ]


def test_tags_are_found_wherever_they_are_cut() -> None:
    text = "<think>secret plan</think>\n\nThe answer is 42."
    for cut in range(1, 40):
        pieces = [text[at : at + cut] for at in range(0, len(text), cut)]
        assert said(*({"content": piece} for piece in pieces)).text == "The answer is 42.", cut


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<thinking>a</thinking>b", "b"),
        ("\n <THINK>a</THINK>\nb", "b"),
        ("<think>a</think><think>c</think>b", "b"),
        ("[THINK]a[/THINK]b", "b"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>", "b"),
        ("<|channel|>final<|message|>b", "b"),
        ("a</think>b", "b"),
        ("</think>b", "b"),
        ("<think>a", ""),
        ("Write <think>x</think> around it.", "Write <think>x</think> around it."),
        ("`</think>` ends it.", "`</think>` ends it."),
        ("1 < 2 <thin air", "1 < 2 <thin air"),
        ("<think>a<think>b</think>c</think>d", "d"),
        ("<think><think>a</think>d", "d"),
        ("<think>a</think></think>d", "d"),
        ("<think>a<think>b<think>c</think>d</think>e</think>\nf", "f"),
        ("<think>a<think>b</think>c<think>d</think>e</think>f", "f"),
        ("<think>the tag <think></think>Use <think>x</think> now", "Use <think>x</think> now"),
        ("<think>the tag `<think>`</think>It is </think> at the end", "It is </think> at the end"),
        ("<think>a</think>\n</th b", "</th b"),
        ('<thinking time="3">a</thinking>b', "b"),
        ("<think>a</thinking>\nb", "b"),
        ("<thought>a<thought>b</thought>c</thought>d", "d"),
        ("<think/>b", "b"),
        ("<think />\nb", "b"),
        ("<think_never_used_51bce0c7>a</think_never_used_51bce0c7>b", "b"),
        ("<antThinking>a</antThinking>b", "b"),
        ("<|inner_prefix|>a<|inner_suffix|>b", "b"),
        ("<|channel>thought\na<channel|>b", "b"),
        ("<|begin_of_thinking|>a<|end_of_thinking|>b", "b"),
        ("<|channel|>analysis<|message|>a<|start|>assistant<|channel|>final<|message|>b", "b"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>b", "b"),
        ("[think] about it", "[think] about it"),
        ("<thinkpad>a</thinkpad>", "<thinkpad>a</thinkpad>"),
        ("  indented", "  indented"),
        ("Hi<|im_end|>", "Hi"),
        ("Hi<|eot_id|>\n", "Hi"),
        ("Hi<\uff5cend\u2581of\u2581sentence\uff5c>", "Hi"),
        ("`<|im_end|>` ends a turn, <|x", "`<|im_end|>` ends a turn, <|x"),
        ("A line that is <s>struck</s>", "A line that is <s>struck</s>"),
        ("<", "<"),
    ],
)
def test_only_a_thought_before_the_answer_is_taken_out(text: str, answer: str) -> None:
    for cut in (1, 3, 1000):
        found = said(*({"content": text[at : at + cut]} for at in range(0, len(text), cut)))
        assert found.text == answer, cut
        if answer != text:
            assert found.prefix + found.text in (text, text.removesuffix("<|return|>"), answer), cut


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<tag>a</tag>\n\nb", "b"),
        ("<tag>a</tag><reflection>c</reflection>b", "b"),
        ("<tag>a", "<tag>a"),
        ("<tag>a</tag>\n", "<tag>a</tag>\n"),
        ("<tag>a</tag><reflection>b", "<reflection>b"),
        ("<tag> is a tag for thoughts.", "<tag> is a tag for thoughts."),
        ("`<tag>` is a tag", "`<tag>` is a tag"),
        ("The tag <tag>a</tag> is closed", "The tag <tag>a</tag> is closed"),
        ("<think>a</think><tag>b</tag><c>d</c>", "<tag>b</tag><c>d</c>"),
    ],
)
def test_a_tag_that_an_answer_may_begin_with_counts_only_before_more_and_closed(text: str, answer: str) -> None:
    for tag, cut in itertools.product(TAGS, (1, 3, 1000)):
        sent, shown = (part.replace("tag>", f"{tag}>") for part in (text, answer))
        found = said(*({"content": sent[at : at + cut]} for at in range(0, len(sent), cut)))
        assert found.text == shown, (tag, cut)
        assert found.prefix + found.text == sent, (tag, cut)


def test_such_a_tag_is_text_beside_thoughts_in_a_field_and_a_thought_before_a_call() -> None:
    text = "<analysis>a</analysis>b"
    assert said({"reasoning_content": "plan"}, {"content": text}).text == text
    asked = said({"content": "<analysis>a</analysis>"}, call(ONE, "shell", index=0, id="a"))
    assert (asked.text, asked.prefix) == ("", "<analysis>a</analysis>")


def test_what_was_shown_as_the_answer_is_taken_back_when_it_was_a_thought() -> None:
    answer = AnswerBuilder()
    deltas = [
        d for text in ("plan", "</think>", "yes") for d in answer.feed({"choices": [{"delta": {"content": text}}]})
    ]
    deltas += answer.end()
    assert [(d.kind, d.content) for d in deltas] == [
        (TEXT, "plan"),
        (RESET, ""),
        (THINKING, "plan"),
        (THOUGHT, ""),
        (TEXT, "yes"),
    ]


def test_a_closing_tag_ends_no_text_when_thoughts_have_a_field_of_their_own() -> None:
    answer = said({"reasoning_content": "plan"}, {"content": "It is </think> that ends it."})
    assert answer.text == "It is </think> that ends it."


def test_halves_of_a_character_meet_across_pieces_and_what_stays_alone_is_replaced() -> None:
    pieces = ["\ud83c", "\udf89", " \ud83c", "x", "\udf89", "\ud83c"]
    assert said(*({"content": piece} for piece in pieces)).text == "🎉 \ufffdx\ufffd\ufffd"
    thought = said({"reasoning": "\ud83c"}, {"reasoning": "\udf89"})
    assert thought.fields == {"reasoning": "🎉"}
    assert calls(said(call('{"a": "\ud83c', "shell", index=0), call('\udf89"}', index=0))) == [("shell", '{"a": "🎉"}')]


def test_only_the_first_choice_counts_in_whichever_order_they_come() -> None:
    answer = AnswerBuilder()
    for index, text in ((1, "OTHER"), (0, "this"), (1, "WORDS"), (0, " one")):
        answer.feed({"choices": [{"index": index, "delta": {"content": text}}]})
    answer.end()
    assert answer.text == "this one"
    both = AnswerBuilder()
    both.feed({"choices": [{"delta": {"content": "first"}}, {"delta": {"content": "second"}}]})
    both.end()
    assert both.text == "first"


def test_a_choice_that_is_the_only_one_counts_whatever_its_number() -> None:
    answer = AnswerBuilder()
    answer.feed({"choices": [{"index": 1, "delta": {"content": "only"}, "finish_reason": "stop"}]})
    answer.end()
    assert (answer.text, answer.reason) == ("only", "stop")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 1000, "completion_tokens": 50}, Usage(1000, 50)),
        ({"prompt_tokens": 1000, "completion_tokens": None, "total_tokens": 1000}, Usage(1000, 0)),
        ({"prompt_tokens": None, "completion_tokens": 50, "total_tokens": 1050}, Usage(1000, 50)),
        ({"prompt_tokens": 1000, "completion_tokens": 50, "cached_tokens": 800}, Usage(1000, 50, 800)),
        ({"prompt_tokens": 1000, "completion_tokens": 5, "prompt_cache_hit_tokens": 800}, Usage(1000, 5, 800)),
        (
            {
                "prompt_tokens": 1000,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 200},
                "cache_read_input_tokens": 700,
            },
            Usage(1000, 5, 700, 200),
        ),
        (
            {
                "input_tokens": 100,
                "output_tokens": 5,
                "cache_read_input_tokens": 700,
                "cache_creation_input_tokens": 200,
            },
            Usage(1000, 5, 700, 200),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 115,
                "completion_tokens_details": {"reasoning_tokens": 100},
            },
            Usage(10, 105),
        ),
        ({"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}, Usage(10, 5)),
        ({"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}, Usage(10, 5)),
        ({"inputTokens": 2, "outputTokens": 5, "totalTokens": 15, "cacheReadInputTokens": 8}, Usage(10, 5, 8)),
        ({"promptTokens": 10, "completionTokens": 5}, Usage(10, 5)),
        ({"billed_units": {"input_tokens": 9}, "tokens": {"input_tokens": 10, "output_tokens": 5}}, Usage(10, 5)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}, Usage(10, 105)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "cached_input_tokens": 8}, Usage(10, 5, 8)),
        ({"input_token_count": 10, "generated_token_count": 5}, Usage(10, 5)),
        ({"prompt_tokens": "10", "completion_tokens": 5.0, "prompt_tokens_details": None}, Usage(10, 5)),
    ],
)
@pytest.mark.parametrize(
    "place",
    [
        lambda usage: {"choices": [], "usage": usage},
        lambda usage: {"choices": [], "usage": None, "x_groq": {"usage": usage}},
        lambda usage: {"choices": [{"index": 0, "delta": {}, "usage": usage}]},
        lambda usage: {"choices": [], "meta_info": usage},
        lambda usage: {"choices": [], "usage": [usage]},
    ],
)
def test_usage_is_found_in_every_place_and_under_every_name(usage: Any, expected: Usage, place: Any) -> None:
    answer = AnswerBuilder()
    answer.feed(place(usage))
    assert answer.counts.usage() == expected


@pytest.mark.parametrize(
    "events",
    [
        [{"message": {"role": "assistant", "content": "Hi"}, "done": False}, {"message": {"role": "assistant"}}],
        [{"response": "H"}, {"response": "i"}, {"response": ""}],
        [{"token": {"text": "Hi"}}, {"token": {"text": "</s>", "special": True}, "generated_text": "Hi"}],
    ],
)
def test_servers_that_send_a_form_of_their_own_are_read(events: list[dict[str, Any]]) -> None:
    answer = AnswerBuilder()
    for event in events:
        answer.feed(chunk_of(event))
    answer.end()
    assert answer.text == "Hi"


def test_the_last_usage_counts_and_one_without_numbers_is_none() -> None:
    answer = AnswerBuilder()
    for out in (10, 20, 50):
        answer.feed(
            {"choices": [{"delta": {"content": "x"}}], "usage": {"prompt_tokens": 100, "completion_tokens": out}}
        )
    answer.feed({"choices": [], "usage": {"prompt_tokens": None, "completion_tokens": None}})
    answer.feed({"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}})
    assert answer.counts.usage() == Usage(100, 50)


@pytest.mark.parametrize(
    ("chunk", "nanos"),
    [
        ({"usage": {"prompt_tokens": 1, "cost": 0.0025}}, 2_500_000),
        ({"usage": {"prompt_tokens": 1, "cost": {"total_cost": 0.5, "input_tokens_cost": 0.1}}}, 500_000_000),
        ({"usage": {"prompt_tokens": 1, "estimated_cost": "0.001"}}, 1_000_000),
        ({"usage": {"prompt_tokens": 1, "cost_in_usd_ticks": 10_000_000}}, 1_000_000),
        (
            {"usage": {"cost": 0.1, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.4}}},
            500_000_000,
        ),
        ({"_hidden_params": {"response_cost": 0.25}}, 250_000_000),
        ({"usage": {"prompt_tokens": 1, "cost": None}}, None),
    ],
)
def test_what_a_gateway_says_it_cost(chunk: dict[str, Any], nanos: int | None) -> None:
    answer = AnswerBuilder()
    answer.feed({"choices": [], **chunk})
    assert answer.counts.nanos == nanos


def test_usage_beside_a_choice_is_not_the_end_and_alone_it_is() -> None:
    usage = {"usage": {"prompt_tokens": 9, "completion_tokens": 1}}
    answer = AnswerBuilder()
    ends = []
    for chunk in (
        {"choices": [{"delta": {"role": "assistant"}}], **usage},
        {"choices": [], **usage},  # nothing has been said yet
        {"choices": [{"delta": {"content": "half"}}], **usage},
        {"choices": [], **usage},
        {"choices": [{"delta": {"content": " more"}}]},
    ):
        answer.feed(chunk)
        ends.append(answer.is_whole)
    assert ends == [False, False, False, True, False]


def test_thoughts_and_seals_are_put_together_as_whole_blocks() -> None:
    pieces = [
        {"type": "thinking", "thinking": "weigh "},
        {"type": "thinking", "thinking": "it"},
        {"type": "thinking", "thinking": "", "signature": "sig-1"},
        {"type": "redacted_thinking", "data": "SEALED"},
        {"type": "thinking", "thinking": "again"},
        {"type": "thinking", "signature": "sig-"},
        {"type": "thinking", "signature": "2"},
    ]
    answer = said(
        *({"thinking_blocks": [piece], "provider_specific_fields": {"thinking_blocks": [piece]}} for piece in pieces)
    )
    assert answer.fields == {
        "thinking_blocks": [
            {"type": "thinking", "thinking": "weigh it", "signature": "sig-1"},
            {"type": "redacted_thinking", "data": "SEALED"},
            {"type": "thinking", "thinking": "again", "signature": "sig-2"},
        ]
    }


def test_details_are_joined_by_place_and_sealed_ones_are_kept_apart() -> None:
    pieces = [
        {"type": "reasoning.summary", "summary": "think", "index": 0, "id": "a"},
        {"type": "reasoning.summary", "summary": "ing", "index": 0},
        {"type": "reasoning.encrypted", "data": "ONE", "index": 1, "id": "b"},
        {"type": "reasoning.encrypted", "data": "TWO", "index": 1, "id": "c"},
        {"type": "reasoning.encrypted", "data": "TWO", "index": 1, "id": "c"},
    ]
    answer = said(*({"reasoning_details": [piece]} for piece in pieces))
    assert answer.fields["reasoning_details"] == [
        {"type": "reasoning.summary", "summary": "thinking", "index": 0, "id": "a"},
        {"type": "reasoning.encrypted", "data": "ONE", "index": 1, "id": "b"},
        {"type": "reasoning.encrypted", "data": "TWO", "index": 1, "id": "c"},
    ]


def test_what_nobody_here_knows_is_kept_in_its_place() -> None:
    answer = said(
        {"reasoning_opaque": "abc"},
        {"reasoning_opaque": "def", "vendor": {"a": [1]}},
        call(ONE, "shell", id="a", thought_signature="sig", function_note="x"),
        {"vendor": {"a": [2], "b": None}},
    )
    assert answer.fields == {"reasoning_opaque": "abcdef", "vendor": {"a": [1, 2]}}
    assert answer.calls.complete()[0].extra == {"thought_signature": "sig", "function_note": "x"}


@pytest.mark.parametrize("same", [{"id": "a"}, {}])
def test_a_message_that_repeats_what_came_in_pieces_adds_nothing(same: dict[str, Any]) -> None:
    answer = AnswerBuilder(("shell",))
    answer.feed({"choices": [{"delta": {"content": "Hello ", "reasoning_content": "hm"}}]})
    answer.feed({"choices": [{"delta": call(ONE, "shell", id="a", index=0)}]})
    answer.feed({"choices": [{"delta": call(TWO, "shell", id="b", index=0)}]})
    both = [*call(ONE, "shell", **same)["tool_calls"], *call(TWO, "shell")["tool_calls"]]
    whole = {"content": "Hello you", "reasoning_content": "hm", "tool_calls": both}
    answer.feed({"choices": [{"message": whole, "finish_reason": "stop"}]})
    answer.end()
    assert (answer.text, answer.fields) == ("Hello you", {"reasoning_content": "hm"})
    assert calls(answer) == [("shell", ONE), ("shell", TWO)]


def test_content_in_parts_has_its_thoughts_taken_out() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "plan"}]}, {"type": "text", "text": "yes"}]
    answer = AnswerBuilder()
    deltas = answer.feed({"choices": [{"delta": {"content": parts}}]}) + answer.end()
    assert [(d.kind, d.content) for d in deltas] == [(THINKING, "plan"), (THOUGHT, ""), (TEXT, "yes")]


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"delta": "yes"}, "yes"),
        ({"delta": ["y", {"type": "text", "text": "es"}]}, "yes"),
        ({"delta": {"content": {"type": "text", "text": "yes"}}}, "yes"),
        ({"delta": {"content": {"type": "text", "text": {"value": "yes"}}}}, "yes"),
        ({"delta": {"content": [{"type": "output_text", "text": "yes"}, None, {"type": "annotation"}]}}, "yes"),
        ({"delta": {"content": 42}}, "42"),
        ({"delta": {"content": False}}, ""),
        ({"delta": None, "message": {"content": "yes"}}, "yes"),
    ],
)
def test_text_is_read_in_every_form(choice: dict[str, Any], text: str) -> None:
    answer = AnswerBuilder()
    answer.feed({"choices": [choice]})
    answer.end()
    assert answer.text == text


def test_a_choice_and_a_call_may_stand_without_the_list_around_them() -> None:
    answer = AnswerBuilder(("shell",))
    raw = {"id": "a", "function": {"name": "shell", "arguments": ONE}}
    answer.feed({"choices": {"delta": {"content": "yes", "tool_calls": raw}, "finish_reason": "stop"}})
    answer.end()
    assert (answer.text, calls(answer), answer.reason) == ("yes", [("shell", ONE)], "stop")


@pytest.mark.parametrize(
    "raw",
    [
        {"name": "shell", "arguments": ONE},
        {"name": "shell", "input": {"command": "one"}},
        {"function": {"name": "shell", "parameters": {"command": "one"}}},
        {"function": {"name": "shell", "arguments": None, "args": {"command": "one"}}},
        {"function": None, "name": "shell", "parameters": ONE},
    ],
)
def test_a_call_is_read_without_its_inner_object_and_by_other_names(raw: dict[str, Any]) -> None:
    answer = said({"tool_calls": [{"index": 0, "id": "a", **raw}]})
    assert calls(answer) == [("shell", ONE)]
    assert answer.calls.complete()[0].extra == {}


def test_a_refusal_may_be_a_part_of_the_content() -> None:
    answer = said({"content": [{"type": "refusal", "refusal": "I will not"}]})
    assert (answer.refusal, answer.is_empty) == ("I will not", False)


@pytest.mark.parametrize("name", ["data", "response", "result", "output"])
def test_an_answer_may_come_in_an_envelope(name: str) -> None:
    inner = {"choices": [{"message": {"content": "yes"}}]}
    assert chunk_of({"code": 0, "message": "success", name: inner, "usage": {"x": 1}}) == {**inner, "usage": {"x": 1}}
    assert chunk_of({name: {"choices": None}}) == {name: {"choices": None}}
    assert chunk_of({"choices": [1], name: inner})["choices"] == [1]


@pytest.mark.parametrize("reason", [{"type": "length", "length": 10}, ["length"], {"reason": "length"}, " length "])
def test_a_reason_may_stand_in_an_object_or_a_list(reason: Any) -> None:
    answer = AnswerBuilder()
    answer.feed({"choices": [{"delta": {"content": "Half"}, "finish_reason": reason}]})
    assert answer.reason == "length"


@pytest.mark.parametrize("text", ["", " \n", "\u200b", "\ufeff\u2060", "\u00a0\u3000"])
def test_text_that_nobody_sees_is_none(text: str) -> None:
    assert said({"content": text}).is_empty


@pytest.mark.parametrize("delta", [{}, {"role": "assistant"}, {"role": "assistant", "content": ""}, None])
def test_a_whole_message_beside_an_empty_delta_is_read(delta: Any) -> None:
    answer = AnswerBuilder(("shell",))
    message = {
        "role": "assistant",
        "content": "a",
        "tool_calls": [{"id": "x", "function": {"name": "shell", "arguments": ONE}}],
    }
    answer.feed({"choices": [{"index": 0, "delta": delta, "message": message, "finish_reason": "tool_calls"}]})
    answer.end()
    assert (answer.text, calls(answer)) == ("a", [("shell", ONE)])
