"""Events of Anthropic, Google and Bedrock that differ from their description become events that their packages read."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from kubiya_worker.models.wire.anthropic_events import AnthropicEvents
from kubiya_worker.models.wire.converse_events import ConverseEvents, restored
from kubiya_worker.models.wire.google_chunks import GoogleChunks
from kubiya_worker.models.wire.native_blocks import Unreadable

Fields = dict[str, Any]

# -- Anthropic

STOP: Fields = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}
END: Fields = {"type": "message_stop"}


def begins(block: Fields, **index: Any) -> Fields:
    return {"type": "content_block_start", "content_block": block, **index}


def goes_on(delta: Fields, **index: Any) -> Fields:
    return {"type": "content_block_delta", "delta": delta, **index}


def closes(**index: Any) -> Fields:
    return {"type": "content_block_stop", **index}


def call(identity: Any = "t1", **more: Any) -> Fields:
    return {"type": "tool_use", "id": identity, "name": "shell", "input": {}, **more}


def piece(text: Any) -> Fields:
    return {"type": "input_json_delta", "partial_json": text}


def said(text: Any) -> Fields:
    return {"type": "text_delta", "text": text}


def of_anthropic(*values: Fields, told: bool = False) -> list[Fields]:
    shaper = AnthropicEvents()
    made = [event for value in values for event in shaper.feed(value, "")]
    return made + list(shaper.end(told=told))


def blocks_of(*values: Fields, told: bool = False) -> list[list[Any]]:
    """The blocks as [type, id, text or thought or arguments, signature], each as its events say."""
    found: dict[int, list[Any]] = {}
    closed = set()
    for event in of_anthropic(*values, told=told):
        if event["type"] == "content_block_start":
            block = event["content_block"]
            assert event["index"] not in found
            written = block.get("text", "") or block.get("thinking", "")
            found[event["index"]] = [block["type"], block.get("id"), written, block.get("signature", "")]
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            assert event["index"] not in closed
            found[event["index"]][3] += delta.get("signature", "")
            found[event["index"]][2] += delta.get("text") or delta.get("thinking") or delta.get("partial_json") or ""
        elif event["type"] == "content_block_stop":
            closed.add(event["index"])
    assert closed == set(found)
    return list(found.values())


LS = '{"command": "ls"}'
CALLS: dict[str, tuple[list[Fields], list[tuple[Any, str]]]] = {
    "in the beginning": ([begins(call(input={"command": "ls"}), index=0), STOP], [("t1", LS)]),
    "in the beginning and in pieces": (
        [begins(call(input={"command": "ls"}), index=0), goes_on(piece(LS), index=0), STOP],
        [("t1", LS)],
    ),
    "as text in the beginning": ([begins(call(input=LS), index=0), closes(index=0), STOP], [("t1", LS)]),
    "as an object in a piece": ([begins(call(), index=0), goes_on(piece({"command": "ls"}), index=0)], [("t1", LS)]),
    "null in a piece": (
        [begins(call(input=None), index=0), goes_on(piece(None), index=0), goes_on(piece(LS), index=0)],
        [("t1", LS)],
    ),
    "a number as id": ([begins(call(7), index=0), goes_on(piece(LS), index=0)], [("7", LS)]),
    "no index": (
        [begins(call()), goes_on(piece(LS)), begins(call("t2")), goes_on(piece("{}"))],
        [("t1", LS), ("t2", "{}")],
    ),
    "one index for two": (
        [
            begins(call(), index=0),
            goes_on(piece(LS), index=0),
            begins(call("t2"), index=0),
            goes_on(piece("{}"), index=0),
        ],
        [("t1", LS), ("t2", "{}")],
    ),
    "one index, each ended": (
        [begins(call(), index=0), closes(index=0), begins(call("t2"), index=0), goes_on(piece(LS), index=0)],
        [("t1", ""), ("t2", LS)],
    ),
    "side by side": (
        [
            begins(call(), index=0),
            begins(call("t2"), index=1),
            goes_on(piece(LS), index=0),
            goes_on(piece("{}"), index=1),
        ],
        [("t1", LS), ("t2", "{}")],
    ),
    "the beginning twice": (
        [begins(call(), index=0), begins(call(), index=0), goes_on(piece(LS), index=0)],
        [("t1", LS)],
    ),
    "an index as text": ([begins(call(), index="0"), goes_on(piece(LS), index="0")], [("t1", LS)]),
}


@pytest.mark.parametrize("name", CALLS)
def test_arguments_reach_the_call_that_they_belong_to(name: str) -> None:
    values, expected = CALLS[name]
    assert [(found[1], found[2]) for found in blocks_of(*values, STOP)] == expected


TEXTS: dict[str, tuple[list[Fields], list[tuple[str, str, str]]]] = {
    "no beginning": ([goes_on(said("a"), index=0)], [("text", "a", "")]),
    "null": ([begins({"type": "text", "text": None}, index=0), goes_on(said(None), index=0)], [("text", "", "")]),
    "a number": ([goes_on(said(42), index=0)], [("text", "42", "")]),
    "another kind at the same index": (
        [goes_on({"type": "thinking_delta", "thinking": "hm"}, index=0), goes_on(said("a"), index=0)],
        [("thinking", "hm", ""), ("text", "a", "")],
    ),
    "a signature in pieces": (
        [
            goes_on({"type": "thinking_delta", "thinking": "hm"}, index=0),
            goes_on({"type": "signature_delta", "signature": "S1"}, index=0),
            goes_on({"type": "signature_delta", "signature": "S2"}, index=0),
        ],
        [("thinking", "hm", "S1S2")],
    ),
    "a signature in the beginning and again": (
        [
            begins({"type": "thinking", "thinking": "hm", "signature": "S"}, index=0),
            goes_on({"type": "signature_delta", "signature": "S"}, index=0),
        ],
        [("thinking", "hm", "S")],
    ),
    "a sealed thought without data": ([begins({"type": "redacted_thinking"}, index=0)], []),
    "a whole answer": (
        [
            {
                "type": "message",
                "content": [{"type": "thinking", "thinking": "hm", "signature": "S"}, {"type": "text", "text": "a"}],
                "stop_reason": "end_turn",
            }
        ],
        [("thinking", "hm", "S"), ("text", "a", "")],
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_and_thoughts_of_anthropic_are_whole(name: str) -> None:
    values, expected = TEXTS[name]
    assert [(found[0], found[2], found[3]) for found in blocks_of(*values)] == expected


REASONS: list[tuple[list[Fields], bool, str | None]] = [
    ([goes_on(said("a")), {"type": "message_delta", "delta": {"stop_reason": None}}, END], False, "end_turn"),
    ([goes_on(said("a")), END], False, "end_turn"),
    ([begins(call()), END], False, "tool_use"),
    ([goes_on(said("a"))], True, "end_turn"),
    ([goes_on(said("a"))], False, None),
    ([{"type": "message_start", "message": {}}, END], False, None),
    (
        [{"type": "message_start", "message": {"stop_reason": "max_tokens"}}, goes_on(said("a")), END],
        False,
        "max_tokens",
    ),
    ([goes_on(said("a")), STOP, {"type": "message_delta", "delta": {}}, END], False, "end_turn"),
]


@pytest.mark.parametrize(("values", "told", "reason"), REASONS)
def test_an_answer_is_whole_when_the_server_says_so_in_any_way(
    values: list[Fields], told: bool, reason: str | None
) -> None:
    events = of_anthropic(*values, told=told)
    reasons = [event["delta"]["stop_reason"] for event in events if event["type"] == "message_delta"]
    assert (reasons[-1] if reasons else None) == reason
    assert events[0]["type"] == "message_start"


COUNTS: list[tuple[Any, Any, tuple[int, int]]] = [
    ({"input_tokens": 10, "output_tokens": 1}, {"output_tokens": 9}, (10, 9)),
    ({"input_tokens": 10, "output_tokens": 1}, None, (10, 1)),
    ({"input_tokens": 10}, {"input_tokens": 0, "output_tokens": 9}, (10, 9)),
    ({"input_tokens": None, "output_tokens": None}, {"input_tokens": "12", "output_tokens": 9.0}, (12, 9)),
    (None, {"input_tokens": 12, "output_tokens": 9}, (12, 9)),
    (None, None, (0, 0)),
]


@pytest.mark.parametrize(("first", "last", "expected"), COUNTS)
def test_counts_that_are_null_or_fall_back_to_nothing_count_for_nothing(
    first: Any, last: Any, expected: tuple[int, int]
) -> None:
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last}
    *_, made = of_anthropic({"type": "message_start", "message": {"usage": first}}, end)
    counts = {"input_tokens": 0, **made["usage"]}
    assert (counts["input_tokens"], counts["output_tokens"]) == expected


def test_arguments_without_a_call_are_told() -> None:
    with pytest.raises(Unreadable, match="has not begun"):
        of_anthropic(goes_on(piece(LS), index=3))


ERRORS: list[tuple[Fields, str, bool]] = [
    ({"type": "error", "error": {"type": "overloaded_error"}}, "", True),
    ({"error": {"message": "no"}}, "", True),
    ({"message": "no"}, "error", True),
    ({"type": "news", "message": "hi", "status": "failed"}, "news", False),
    ({"type": "message_start", "message": None}, "message_start", False),
]


@pytest.mark.parametrize(("value", "name", "wrong"), ERRORS)
def test_an_error_is_known_without_the_name_of_its_event(value: Fields, name: str, wrong: bool) -> None:
    assert (AnthropicEvents().error_in(value, name) is not None) is wrong


# -- Google


def of_google(*values: Fields, told: bool = False) -> list[Fields]:
    shaper = GoogleChunks()
    made = [chunk for value in values for chunk in shaper.feed(value, "")]
    return made + list(shaper.end(told=told))


def holds(*parts: Any, **more: Any) -> Fields:
    return {"candidates": [{"content": {"parts": list(parts)}, **more}]}


CALL = {"name": "shell", "args": {"command": "ls"}}
PARTS: list[tuple[Fields, list[Fields]]] = [
    (holds({"text": "a"}), [{"text": "a"}]),
    (holds(None, {}, {"text": None}, {"hologram": {"x": 1}}, {"text": "a"}), [{"text": "a"}]),
    (holds({"text": 42}), [{"text": "42"}]),
    ({"candidates": {"content": {"parts": {"text": "a"}}}}, [{"text": "a"}]),
    ({"candidates": [{"content": "a"}]}, [{"text": "a"}]),
    ({"response": holds({"text": "a"})}, [{"text": "a"}]),
    (holds({"functionCall": {**CALL, "id": 7}}), [{"functionCall": {**CALL, "id": "7"}}]),
    (holds({"functionCall": {**CALL, "args": '{"command": "ls"}'}}), [{"functionCall": CALL}]),
    (holds({"functionCall": {"name": "shell", "args": None}}), [{"functionCall": {"name": "shell", "args": {}}}]),
    (holds({"function_call": CALL}), [{"functionCall": CALL}]),
    (holds({"text": "hm", "thought": True}), [{"text": "hm", "thought": True}]),
    (holds({"thoughtSignature": "c2ln"}), [{"text": "", "thoughtSignature": "c2ln"}]),
    (holds({"text": "a", "thoughtSignature": "!!!"}), [{"text": "a"}]),
]


@pytest.mark.parametrize(("value", "expected"), PARTS)
def test_parts_of_google_are_read_one_by_one(value: Fields, expected: list[Fields]) -> None:
    [chunk] = of_google(value)
    assert chunk["candidates"][0]["content"]["parts"] == expected


@pytest.mark.parametrize("wrong", [{"args": {}}, {"name": None}, {"name": "shell", "args": ["ls"]}, {}])
def test_a_call_that_cannot_be_run_is_told(wrong: Fields) -> None:
    with pytest.raises(Unreadable, match="a call"):
        of_google(holds({"functionCall": wrong}))


def partial(path: str, more: bool = True, snake: bool = False, **value: Any) -> Fields:
    """A piece of a call's arguments."""
    if snake:
        return {"partial_args": [{"json_path": path, **value}], "will_continue": more}
    return {"partialArgs": [{"jsonPath": path, **value}], "willContinue": more}


BEGUN = {"name": "shell", "willContinue": True}
# The pieces of a call -> its arguments; None where the call is not made.
PIECES: dict[str, tuple[list[Fields], Fields | None]] = {
    "a text in pieces": (
        [BEGUN, partial("$.command", stringValue="ls "), partial("$.command", stringValue="-l"), {}],
        {"command": "ls -l"},
    ),
    "an end with the last piece": ([BEGUN, partial("$.n", more=False, numberValue=5)], {"n": 5}),
    "the name with the first piece": ([{**BEGUN, **partial("$.n", more=False, boolValue=False)}], {"n": False}),
    "all kinds of places": (
        [
            BEGUN,
            partial("$.a.b[1].c", stringValue="x"),
            partial("$['a b'][\"d\"]", nullValue="NULL_VALUE"),
            partial("e", numberValue=0),
            {},
        ],
        {"a": {"b": [None, {"c": "x"}]}, "a b": {"d": None}, "e": 0},
    ),
    "names in the way of Python": (
        [{"name": "shell", "will_continue": True}, partial("$.command", more=False, snake=True, string_value="ls")],
        {"command": "ls"},
    ),
    "arguments beside pieces": (
        [{**BEGUN, "args": {"n": 1}}, partial("$.m", more=False, numberValue=2)],
        {"n": 1, "m": 2},
    ),
    "an empty piece after the end": ([BEGUN, partial("$.n", more=False, numberValue=5), {}], {"n": 5}),
    "no mark of the end": ([BEGUN, partial("$.n", numberValue=5)], {"n": 5}),
    "no arguments": ([BEGUN, {}], {}),
}


@pytest.mark.parametrize("name", PIECES)
def test_pieces_of_a_call_of_google_are_one_call(name: str) -> None:
    pieces, expected = PIECES[name]
    begin, *more = [{"functionCall": one} for one in pieces]
    made = of_google(holds({**begin, "thoughtSignature": "c2ln"}), *map(holds, more), holds(finishReason="STOP"))
    parts = [part for chunk in made for one in chunk["candidates"] for part in one.get("content", {}).get("parts", [])]
    assert parts == [{"functionCall": {"name": "shell", "args": expected}, "thoughtSignature": "c2ln"}]


def test_pieces_of_two_calls_are_told_apart_by_their_ids() -> None:
    begun_calls = [{"functionCall": {**BEGUN, "id": name}} for name in "ab"]
    more = [{"functionCall": {**partial("$.n", more=False, numberValue=n), "id": name}} for n, name in enumerate("ab")]
    made = of_google(holds(*begun_calls, *more))
    parts = [part for chunk in made for one in chunk["candidates"] for part in one["content"]["parts"]]
    assert [part["functionCall"] for part in parts] == [
        {"name": "shell", "args": {"n": n}, "id": name} for n, name in enumerate("ab")
    ]


def test_a_call_that_was_cut_in_its_pieces_is_not_made() -> None:
    made = of_google(holds({"functionCall": BEGUN}), holds(finishReason="MAX_TOKENS"))
    assert [one for chunk in made for one in chunk["candidates"] if "content" in one] == []


@pytest.mark.parametrize("path", ["", "$", "$[0]", "$.a[99999]", "$.a..b", "$.n.x"])
def test_an_argument_in_no_place_is_told(path: str) -> None:
    with pytest.raises(Unreadable, match="in no place"):
        first, second = {**BEGUN, **partial("$.n", numberValue=1)}, partial(path, numberValue=2)
        of_google(holds({"functionCall": first}, {"functionCall": second}))


CANDIDATES: list[tuple[list[Fields], list[str]]] = [
    ([{"candidates": [{"index": 1, "content": "B"}, {"index": 0, "content": "a"}]}], ["a"]),
    ([{"candidates": [{"index": 1, "content": "B"}]}, {"candidates": [{"index": 0, "content": "a"}]}], ["a"]),
    ([{"candidates": [{"content": "a"}]}, {"candidates": [{"index": 1, "content": "B"}]}], ["a"]),
    ([{"candidates": [{"index": 1, "content": "B"}]}], ["B"]),
]


@pytest.mark.parametrize(("values", "texts"), CANDIDATES)
def test_only_the_first_candidate_counts(values: list[Fields], texts: list[str]) -> None:
    candidates = [candidate for chunk in of_google(*values) for candidate in chunk.get("candidates") or ()]
    assert [part["text"] for candidate in candidates for part in candidate["content"]["parts"]] == texts


USAGES: list[tuple[Any, Fields]] = [
    ({"promptTokenCount": "12", "candidatesTokenCount": 5.5}, {"promptTokenCount": 12, "candidatesTokenCount": 5}),
    (
        {"promptTokenCount": 12, "thoughtsTokenCount": 3, "totalTokenCount": 30},
        {"promptTokenCount": 12, "thoughtsTokenCount": 3, "totalTokenCount": 30, "candidatesTokenCount": 15},
    ),
    ({"promptTokenCount": None, "trafficType": "ON_DEMAND"}, {}),
    (None, {}),
]


@pytest.mark.parametrize(("usage", "expected"), USAGES)
def test_counts_of_google_are_numbers(usage: Any, expected: Fields) -> None:
    [chunk] = of_google({"candidates": [], "usageMetadata": usage})
    assert chunk.get("usageMetadata", {}) == expected


def test_the_words_of_a_stop_are_kept() -> None:
    shaper = GoogleChunks()
    [chunk] = shaper.feed({"candidates": [{"finishReason": "SAFETY", "finishMessage": "blocked by x"}]}, "")
    assert shaper.stopped == ("SAFETY", "blocked by x")
    assert "finishReason" not in chunk["candidates"][0]


def test_an_end_mark_without_a_reason_ends_google_s_answer() -> None:
    assert of_google(holds({"text": "a"}), told=True)[-1]["candidates"][0]["finishReason"] == "STOP"
    assert of_google(holds({"text": "a"}))[-1]["candidates"][0].get("finishReason") is None
    ids = [chunk["responseId"] for chunk in of_google({**holds(), "responseId": "r1"}, {**holds(), "responseId": "r2"})]
    assert ids == ["r1", "r1"]  # another one would mean a second request to the package


# -- Bedrock


def of_bedrock(*events: tuple[str, Fields]) -> list[tuple[str, Fields]]:
    shaper = ConverseEvents()
    return [pair for name, value in events for made in shaper.feed(name, value) for pair in made.items()]


def delta(content: Fields, **index: Any) -> tuple[str, Fields]:
    return ("contentBlockDelta", {"delta": content, **index})


def begun(identity: Any = "t1", name: Any = "shell", **index: Any) -> tuple[str, Fields]:
    return ("contentBlockStart", {"start": {"toolUse": {"toolUseId": identity, "name": name}}, **index})


def at(number: int) -> Fields:
    return {"contentBlockIndex": number}


ARGUMENTS = {"toolUse": {"input": LS}}
SEALED = base64.b64encode(b"abc").decode()
DELTAS: dict[str, tuple[list[tuple[str, Fields]], list[tuple[int, Fields]]]] = {
    "no index": ([delta({"text": "a"}), delta({"text": "b"})], [(0, {"text": "a"}), (0, {"text": "b"})]),
    "no index, a call": ([begun(), delta(ARGUMENTS)], [(0, ARGUMENTS)]),
    "no id": ([begun(None, **at(0)), delta(ARGUMENTS, **at(0))], [(0, ARGUMENTS)]),
    "one index for two calls": (
        [begun(**at(0)), delta(ARGUMENTS, **at(0)), begun("t2", **at(0)), delta(ARGUMENTS, **at(0))],
        [(0, ARGUMENTS), (1, ARGUMENTS)],
    ),
    "one index for a text and a call": (
        [delta({"text": "a"}, **at(0)), begun(**at(0)), delta(ARGUMENTS, **at(0))],
        [(0, {"text": "a"}), (1, ARGUMENTS)],
    ),
    "nothing in it": (
        [
            delta({}, **at(0)),
            delta({"text": None}, **at(0)),
            ("contentBlockDelta", at(0)),
            delta({"text": "a"}, **at(0)),
        ],
        [(0, {"text": "a"})],
    ),
    "a beginning of nothing": (
        [("contentBlockStart", {"start": {}, **at(0)}), ("contentBlockStart", at(0)), delta({"text": "a"}, **at(0))],
        [(0, {"text": "a"})],
    ),
    "a signature in pieces": (
        [
            delta({"reasoningContent": {"text": "hm"}}, **at(0)),
            delta({"reasoningContent": {"signature": "S"}}, **at(0)),
            delta({"reasoningContent": {"signature": "2"}}, **at(0)),
            delta({"text": "a"}, **at(1)),
        ],
        [(0, {"reasoningContent": {"text": "hm"}}), (0, {"reasoningContent": {"signature": "S2"}}), (1, {"text": "a"})],
    ),
    "a sealed thought in pieces": (
        [
            delta({"reasoningContent": {"redactedContent": SEALED}}, **at(0)),
            delta({"reasoningContent": {"redactedContent": SEALED}}, **at(0)),
        ],
        [(0, {"reasoningContent": {"redactedContent": b"abcabc"}})],
    ),
}


@pytest.mark.parametrize("name", DELTAS)
def test_pieces_of_bedrock_reach_the_block_that_they_belong_to(name: str) -> None:
    events, expected = DELTAS[name]
    made = of_bedrock(*events, ("messageStop", {"stopReason": "end_turn"}))
    found = [value for kind, value in made if kind == "contentBlockDelta"]
    assert [(value["contentBlockIndex"], value["delta"]) for value in found] == expected
    begun_calls = [value for kind, value in made if kind == "contentBlockStart"]
    assert all(value["start"]["toolUse"]["name"] == "shell" for value in begun_calls)


@pytest.mark.parametrize("events", [[delta(ARGUMENTS, **at(0))], [begun(name=None, **at(0))]])
def test_a_call_that_lacks_its_beginning_or_its_name_is_told(events: list[tuple[str, Fields]]) -> None:
    with pytest.raises(Unreadable, match="a call"):
        of_bedrock(*events)


METERED: list[tuple[list[Any], tuple[int, int]]] = [
    ([{"inputTokens": 10, "outputTokens": 20}], (10, 20)),
    ([{"inputTokens": 10, "outputTokens": 20}, {"inputTokens": 10, "outputTokens": 20}], (10, 20)),
    ([{"inputTokens": 10, "outputTokens": 5}, {"inputTokens": 10, "outputTokens": 20}], (10, 20)),
    ([{"inputTokens": 10, "totalTokens": 30}], (10, 20)),
    ([{"inputTokens": 5}], (5, 0)),
    ([None, {"inputTokens": None, "outputTokens": None}], (0, 0)),
]


@pytest.mark.parametrize(("usages", "expected"), METERED)
def test_counts_of_bedrock_count_once(usages: list[Any], expected: tuple[int, int]) -> None:
    made = [value["usage"] for _, value in of_bedrock(*(("metadata", {"usage": usage}) for usage in usages))]
    assert (sum(u["inputTokens"] for u in made), sum(u["outputTokens"] for u in made)) == expected


@pytest.mark.parametrize(
    ("events", "reason"),
    [([delta({"text": "a"})], "end_turn"), ([begun()], "tool_use")],
)
def test_a_stop_without_a_reason_is_a_stop(events: list[tuple[str, Fields]], reason: str) -> None:
    assert of_bedrock(*events, ("messageStop", {"stopReason": None}))[-1] == ("messageStop", {"stopReason": reason})


def test_a_whole_answer_of_bedrock_is_read() -> None:
    content = [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "S"}}},
        {"text": "a"},
        {"toolUse": {"toolUseId": "t1", "name": "shell", "input": {"command": "ls"}}},
    ]
    answer = {"output": {"message": {"content": content}}, "stopReason": "tool_use", "usage": {"inputTokens": 1}}
    made = [pair for event in ConverseEvents().whole(answer) for pair in event.items()]
    assert [value["delta"] for kind, value in made if kind == "contentBlockDelta"] == [
        {"reasoningContent": {"text": "hm"}},
        {"reasoningContent": {"signature": "S"}},
        {"text": "a"},
        ARGUMENTS,
    ]


@pytest.mark.parametrize("sealed", [b"abc", "é".encode(), b"\xff\xfe\x00", b"kubiya-worker/base64:x", "no base64!"])
def test_a_sealed_thought_goes_back_as_it_came(sealed: Any) -> None:
    came = base64.b64encode(sealed).decode() if isinstance(sealed, bytes) else sealed
    made = of_bedrock(delta({"reasoningContent": {"redactedContent": came}}, **at(0)), ("messageStop", {}))
    (held,) = [value["delta"]["reasoningContent"] for kind, value in made if kind == "contentBlockDelta"]
    text = held["redactedContent"].decode()  # as the package keeps it
    thought = {"reasoningContent": {"redactedContent": text.encode()}}
    (back,) = restored([{"role": "assistant", "content": [thought, {"text": "a"}]}])
    expected = sealed if isinstance(sealed, bytes) else sealed.encode()
    assert back["content"] == [{"reasoningContent": {"redactedContent": expected}}, {"text": "a"}]
