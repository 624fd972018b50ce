"""The three shapes of endpoints, OpenAI's, Anthropic's and Google's: what the port promises holds in each.

The endpoint refuses what the real ones refuse: a call without its result, a thought that came back changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from kubiya_worker.models import ModelReply
from kubiya_worker.models.choice import installed
from kubiya_worker.models.paired_messages import NO_RESULT
from kubiya_worker.protocol.messages import Message
from tests.support.model_endpoint import ModelEndpoint

from .conftest import SHELL, Talk, user

MODELS = {"openai": "gpt-test", "anthropic": "anthropic:claude-sonnet-5", "google": "google:gemini-3-pro-preview"}
PACKAGES = {"anthropic": "anthropic", "google": "google.genai"}
KEYS = {"ANTHROPIC_API_KEY": "sk-ant-canary", "GOOGLE_API_KEY": "sk-goo-canary"}
LS, DF = ({"name": "shell", "arguments": {"command": command}} for command in ("ls", "df"))

pytestmark = pytest.mark.filterwarnings("ignore:The model:DeprecationWarning")  # the package knows the calendar

Scripted = Callable[..., Talk]


@pytest.fixture(params=MODELS)
def shape(request: pytest.FixtureRequest) -> str:
    if request.param in PACKAGES and not installed(PACKAGES[request.param]):
        pytest.skip(f"{PACKAGES[request.param]} is not installed")
    return str(request.param)


@pytest.fixture
def scripted(shape: str, endpoint: ModelEndpoint, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", endpoint.root)
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", endpoint.root)

    def talk(*script: dict[str, Any], **settings: Any) -> Talk:
        endpoint.script[:] = script
        return Talk(endpoint, model_id=MODELS[shape], environ=KEYS, **settings)

    return talk


def said(reply: ModelReply) -> Message:
    """The reply as the conversation keeps it: through JSON."""
    message = {"role": "assistant", "content": reply.content, "tool_calls": reply.tool_calls}
    kept: Message = json.loads(json.dumps({**message, "thinking": reply.thinking}))
    return kept


def result(call: dict[str, str], content: str = "done") -> Message:
    return {"role": "tool", "content": content, "tool_call_id": call["id"], "tool_name": call["name"]}


def test_text_streams_and_its_tokens_are_counted(scripted: Scripted) -> None:
    answered = scripted({"text": "The disk is full"}).ask(user("why?"), system_prompt="You are ops.")
    assert answered.text() == answered.reply.content == "The disk is full"
    assert len(answered.deltas) > 1
    assert answered.reply.finish_reason == "stop"
    assert answered.reply.usage.input_tokens > 0 and answered.reply.usage.output_tokens > 0


def test_parallel_calls_and_their_results_go_back_in_order(scripted: Scripted, endpoint: ModelEndpoint) -> None:
    setup = scripted({"text": "Looking.", "tools": [LS, DF]}, {"text": "Both."})
    reply = setup.ask(user("look"), tools=[SHELL]).reply
    assert [json.loads(call["arguments"])["command"] for call in reply.tool_calls] == ["ls", "df"]
    assert len({call["id"] for call in reply.tool_calls}) == 2
    assert reply.finish_reason == "tool_calls"
    first, second = reply.tool_calls
    late = [result(second, "second"), result(first, "first")]  # as they came in
    assert setup.ask(user("look"), said(reply), *late, tools=[SHELL]).reply.content == "Both."
    sent = json.dumps(endpoint.requests[1]["body"])
    assert sent.index("first") < sent.index("second")


def test_a_call_whose_result_was_never_made_is_answered_for_it(scripted: Scripted, endpoint: ModelEndpoint) -> None:
    setup = scripted({"tools": [LS]}, {"text": "Fine."})
    reply = setup.ask(user("look"), tools=[SHELL]).reply
    assert setup.ask(user("look"), said(reply), user("never mind"), tools=[SHELL]).reply.content == "Fine."
    assert NO_RESULT in json.dumps(endpoint.requests[1]["body"])


def test_thoughts_are_told_apart_and_come_back_as_they_were(scripted: Scripted, shape: str) -> None:
    thinks = {"thinking": "let me see", "text": "Looking.", "tools": [LS, DF]}
    setup = scripted(thinks, {**thinks, "thinking": "and now"}, {"text": "Done."})
    conversation: list[Message] = [user("2+2")]
    for thought in ("let me see", "and now"):
        answered = setup.ask(*conversation, tools=[SHELL], settings={"thinking": "low"})
        assert (answered.text("thinking"), answered.text()) == (thought, "Looking.")
        assert [d.index for d in answered.deltas if d.kind == "thought"] == [0]
        assert bool(answered.text("thought")) == (shape == "anthropic")  # the signature
        conversation += [said(answered.reply), *map(result, answered.reply.tool_calls)]
    answered = setup.ask(*conversation, tools=[SHELL], settings={"thinking": "low"})
    assert answered.reply.content == "Done."


def test_thoughts_between_texts_keep_their_places(scripted: Scripted, endpoint: ModelEndpoint, shape: str) -> None:
    pairs = [{"thinking": "one", "text": "First. "}, {"thinking": "two", "text": "Second. "}, {"thinking": "three"}]
    setup = scripted({"thinking": pairs, "tools": [LS]}, {"text": "Done."})
    answered = setup.ask(user("go"), tools=[SHELL], settings={"thinking": True})
    assert answered.reply.content == answered.text() == "First. Second. "
    ended = [d.index for d in answered.deltas if d.kind == "thought"]
    assert ended == [0, 1, 2] or shape == "openai"  # which has one field for all of them
    again = setup.ask(user("go"), said(answered.reply), *map(result, answered.reply.tool_calls), tools=[SHELL])
    assert again.reply.content == "Done."
    if shape == "google":
        parts = endpoint.requests[1]["body"]["contents"][1]["parts"]
        order = [part.get("text") or part["functionCall"]["name"] for part in parts]
        assert order == ["one", "First. ", "two", "Second. ", "three", "shell"]


def test_an_answer_that_was_redacted_still_goes_back(scripted: Scripted, shape: str) -> None:
    pairs = [{"thinking": "one", "text": "First. "}, {"thinking": "two", "text": "Second."}]
    setup = scripted({"thinking": pairs, "tools": [LS]}, {"text": "Done."})
    reply = setup.ask(user("go"), tools=[SHELL]).reply
    kept = said(reply)
    kept["content"] = "[redacted] " + kept["content"]
    kept["thinking"] = [x for x in kept["thinking"] if "content" not in x]  # their signatures would not fit either
    assert setup.ask(user("go"), kept, *map(result, reply.tool_calls), tools=[SHELL]).reply.content == "Done."


def test_thinking_is_asked_for_in_the_words_of_the_provider(
    scripted: Scripted, endpoint: ModelEndpoint, shape: str
) -> None:
    scripted({"text": "ok"}).ask(settings={"thinking": "high"})
    body = endpoint.requests[0]["body"]
    if shape == "openai":
        assert body["reasoning_effort"] == "high"
    elif shape == "anthropic":
        assert body["thinking"]["type"] != "disabled"
    else:
        assert "HIGH" in json.dumps(body["generationConfig"]["thinkingConfig"])


def test_thinking_that_is_no_level_is_left_out(scripted: Scripted, endpoint: ModelEndpoint) -> None:
    scripted({"text": "ok"}).ask(settings={"thinking": "very much"})
    body = json.dumps(endpoint.requests[0]["body"])
    assert "very much" not in body and "reasoning_effort" not in body and "thinking" not in body.lower()


@pytest.mark.parametrize(
    "answer", [{"refusal": "I cannot help with that."}, {"text": "Well,", "finish_reason": "content_filter"}]
)
def test_a_refusal_is_no_answer(scripted: Scripted, answer: dict[str, Any]) -> None:
    error = scripted(answer).fail()
    assert (error.kind, error.retryable) == ("refused", False)
    assert "refused to answer" in error.line() and str(answer.get("refusal", "")) in error.line() + " "


@pytest.mark.parametrize(
    ("fault", "kind", "retryable"),
    [
        ("context_overflow", "context_overflow", False),
        ("rate_limited", "rate_limited", True),
        ("overloaded", "unavailable", True),
        ("server_error", "unavailable", True),
        ("auth", "auth", False),
        ("bad_request", "bad_request", False),
    ],
)
def test_failures_have_one_name_in_all_shapes(
    scripted: Scripted, endpoint: ModelEndpoint, fault: str, kind: str, retryable: bool
) -> None:
    error = scripted({"fault": fault, "headers": {"Retry-After": "7"}}).fail()
    assert (error.kind, error.retryable) == (kind, retryable)
    assert error.retry_after == (7.0 if retryable else None)
    assert endpoint.count == 1  # the providers' packages do not try again by themselves
    assert "canary" not in error.line()


OVERLOADED = {
    "openai": {"message": "The server is overloaded", "type": "server_error", "code": 503},
    "anthropic": {"type": "overloaded_error", "message": "Overloaded"},
    "google": {"code": 503, "message": "The model is overloaded", "status": "UNAVAILABLE"},
}


def test_a_failure_inside_the_stream_may_be_tried_again(scripted: Scripted, shape: str) -> None:
    error = scripted({"text": "one two", "error": OVERLOADED[shape]}).fail()
    assert error.retryable and error.kind in ("unavailable", "cut_stream")


def test_an_answer_that_the_window_cut_is_an_overflow(scripted: Scripted, shape: str) -> None:
    if shape != "anthropic":
        pytest.skip("only Anthropic says so")
    error = scripted({"text": "half of", "finish_reason": "model_context_window_exceeded"}).fail()
    assert (error.kind, error.retryable) == ("context_overflow", False)


@pytest.mark.parametrize(
    "answer", [{"text": "one two three four", "cut_after": 4}, {"text": "one two", "finish_reason": None}]
)
def test_a_cut_stream_may_be_tried_again(scripted: Scripted, answer: dict[str, Any]) -> None:
    error = scripted(answer).fail()
    assert (error.kind, error.retryable) == ("cut_stream", True)


def test_silence_is_noticed(scripted: Scripted) -> None:
    error = scripted({"text": "late", "first_delay": 60}, idle_timeout=1.0).fail()
    assert (error.kind, error.retryable) == ("silent", True)


def test_malformed_arguments_are_kept_or_refused_by_the_provider(scripted: Scripted, shape: str) -> None:
    setup = scripted({"tools": [{"name": "shell", "arguments": '{"command": "ls'}]}, {"text": "Sorry."})
    if shape == "google":  # does not pass them on
        error = setup.fail(tools=[SHELL])
        assert (error.kind, error.retryable) == ("bad_answer", True)
        return
    reply = setup.ask(user("go"), tools=[SHELL]).reply
    assert reply.tool_calls[0]["arguments"] == '{"command": "ls'
    told = [said(reply), result(reply.tool_calls[0], "the arguments are not JSON")]
    assert setup.ask(user("go"), *told, tools=[SHELL]).reply.content == "Sorry."
