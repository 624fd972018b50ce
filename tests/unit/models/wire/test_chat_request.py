"""A request for chat completions is what its endpoint takes, message by message."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kubiya_worker.models.base import ModelRequest
from kubiya_worker.models.connection import GATEWAY, Connection
from kubiya_worker.models.paired_messages import NO_RESULT
from kubiya_worker.models.wire.chat_request import body_of, dispensable, encoded, extra_fields
from kubiya_worker.models.wire.outgoing import IMAGES, KNOWN, SYSTEM, refused_fields
from kubiya_worker.protocol.tools import ToolSpec

CONNECTION = Connection(GATEWAY, "http://gateway.example/v1", "k", metadata=True)
SHELL = ToolSpec.parse({"name": "shell", "description": "run", "parameters": {"type": "object", "properties": {}}})


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def calling(*ids: str, text: str = "") -> dict[str, Any]:
    calls = [{"id": each, "name": "shell", "arguments": "{}"} for each in ids]
    return {"role": "assistant", "content": text, "tool_calls": calls}


def result(call: str, text: Any = "r", **more: Any) -> dict[str, Any]:
    return {"role": "tool", "content": text, "tool_call_id": call, "tool_name": "shell", **more}


def sent(messages: list[dict[str, Any]], system: str = "", model: str = "m", **more: Any) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = body_of(model, ModelRequest(model, system, messages, **more), CONNECTION)[
        "messages"
    ]
    return written


def roles(messages: list[dict[str, Any]]) -> list[str]:
    return [message["role"] for message in messages]


def test_the_whole_request() -> None:
    request = ModelRequest("m", "Help.", [user("hi")], [SHELL], metadata={"trace_id": "t"})
    assert body_of("m", request, CONNECTION) == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "system", "content": "Help."}, {"role": "user", "content": "hi"}],
        "tools": [
            {"type": "function", "function": {"name": "shell", "description": "run", "parameters": SHELL.parameters}}
        ],
        "tool_choice": "auto",
        "metadata": {"trace_id": "t"},
    }


@pytest.mark.parametrize(
    ("deviation", "left_out", "stream"),
    [
        ({"stream": False}, {"stream_options"}, False),
        ({"stream_options": False}, {"stream_options"}, True),
        ({"tool_choice": "omit"}, {"tool_choice"}, True),
        ({}, set(), True),
    ],
)
def test_what_an_endpoint_does_not_take_is_left_out(
    deviation: dict[str, Any], left_out: set[str], stream: bool
) -> None:
    body = body_of("m", ModelRequest("m", "", [], [SHELL], {"compatibility": deviation}), CONNECTION)
    assert {"stream_options", "tool_choice"} - body.keys() == left_out and body["stream"] is stream


def test_without_tools_there_is_no_choice_of_them() -> None:
    body = body_of("m", ModelRequest("m", "", [], settings={"parallel_tool_calls": False}), CONNECTION)
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & body.keys()


def test_each_call_has_one_result_right_after_it() -> None:
    written = sent([user("go"), calling("a", "b"), user("never mind"), result("b"), result("orphan")])
    assert roles(written) == ["user", "assistant", "tool", "tool", "user"]
    assert [message["content"] for message in written[2:4]] == [NO_RESULT, "r"]


def test_an_answer_that_was_cut_is_told_of_in_the_next_message_alone() -> None:
    written = sent([user("go"), {"role": "assistant", "content": "half", "cut": "length"}, user("on"), user("on")])
    assert written[2]["content"].startswith("(Your answer before this was cut") and written[3]["content"] == "on"


def test_images_follow_all_results_of_an_answer() -> None:
    shot = result("a", "shot", image_data=[("image/png", b"one"), ("image/jpeg", b"two")])
    written = sent([user("go"), calling("a", "b"), shot, result("b"), user("and?")])
    assert roles(written) == ["user", "assistant", "tool", "tool", "user", "user"]
    assert written[2]["content"].startswith("shot\n") and written[3]["content"] == "r"
    about, *images = written[4]["content"]
    assert "shell" in about["text"] and "call a" in about["text"]
    urls = [image["image_url"]["url"] for image in images]
    assert urls == ["data:image/png;base64,b25l", "data:image/jpeg;base64,dHdv"]
    at_the_end = sent([user("go"), calling("a"), result("a", None, image_data=[("image/png", b"one")])])
    assert roles(at_the_end) == ["user", "assistant", "tool", "user"]


def test_a_model_without_the_role_system_gets_its_words_as_a_persons() -> None:
    messages = [user("a"), {"role": "system", "content": "note"}]
    written = sent(messages, "Help.", "o1-mini")
    assert [(one["role"], one["content"]) for one in written] == [("user", "Help.\n\na"), ("user", "note")]
    assert roles(sent(messages, "Help.", "o1")) == ["system", "user", "system"]


def test_an_endpoint_that_refuses_the_role_system_gets_its_words_in_the_persons_message() -> None:
    said = {"error": {"message": "Developer instruction is not enabled for models/gemma-3-27b-it"}}
    for body in (said, {"message": "System role not supported"}, {"message": "system messages are not allowed"}):
        assert refused_fields(400, body, ["metadata"]) == {SYSTEM}
    request = ModelRequest("m", "Help.", [user("a"), calling("x"), result("x"), {"role": "system", "content": "note"}])
    written = body_of("m", request, CONNECTION, {SYSTEM})["messages"]
    assert roles(written) == ["user", "assistant", "tool", "user"]
    assert (written[0]["content"], written[3]["content"]) == ("Help.\n\na", "note")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
        (404, "No endpoints found that support image input"),
        (400, "m is not a multimodal model"),
        (400, "At most 0 image(s) may be provided in one request."),
        (400, "This model does not support images"),
    ],
)
def test_an_endpoint_that_takes_no_images_is_asked_without_them(status: int, said: str) -> None:
    shot = result("a", "shot", image_data=[("image/png", b"one")])
    request = ModelRequest("m", "", [user("go"), calling("a"), shot])
    sent_fields = dispensable(body_of("m", request, CONNECTION))
    assert refused_fields(status, {"error": {"message": said}}, sent_fields) == {IMAGES}
    assert not refused_fields(status, {"error": {"message": said}}, sent_fields - {IMAGES})
    assert not refused_fields(400, {"error": {"message": "Could not process image"}}, sent_fields)
    written = body_of("m", request, CONNECTION, {IMAGES})["messages"]
    assert roles(written) == ["user", "assistant", "tool"] and "takes none" in written[2]["content"]


def test_half_a_character_does_not_stop_a_request() -> None:
    body = body_of("m", ModelRequest("m", "", [user("half \ud800 and \ud83d\ude00")]), CONNECTION)
    assert json.loads(encoded(body))["messages"][0]["content"] == "half \ufffd and \U0001f600"


def test_a_request_leaves_the_conversation_as_it_was() -> None:
    messages = [user("go"), calling("a"), result("a"), user("on")]
    before = json.dumps(messages)
    marked = sent(messages, "Help.", "claude-sonnet-4", tools=[SHELL])
    assert "cache_control" in json.dumps(marked)
    assert json.dumps(messages) == before and "cache_control" not in json.dumps(SHELL.wire())


def test_extra_fields_are_those_of_the_model_alone() -> None:
    messages: list[Any] = [{"role": "assistant", "content": "", "opaque": 1}, {"role": "tool", "tool_call_id": "a"}]
    assert extra_fields(messages, KNOWN) == {"opaque"}
