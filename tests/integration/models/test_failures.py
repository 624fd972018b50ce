"""Each way in which a model call fails: its kind, whether it may be repeated, and that it was tried once."""

from __future__ import annotations

import asyncio
import socket
import time
from email.utils import formatdate
from typing import Any

import pytest

from kubiya_worker.models import Endpoint, ModelError, ModelRequest, Models

from .conftest import KEY, user


def test_rate_limit_tells_when_to_come_back(talk: Any, endpoint: Any) -> None:
    error = talk({"status": 429, "headers": {"Retry-After": "7"}, "body": {"error": {"message": "slow down"}}}).fail()
    assert (error.kind, error.status, error.retryable, error.retry_after) == ("rate_limited", 429, True, 7.0)
    assert "slow down" in error.line()
    assert endpoint.count == 1  # retries are not the client's business


def test_retry_after_as_a_date(talk: Any) -> None:
    later = formatdate(time.time() + 300, usegmt=True)
    error = talk({"status": 503, "headers": {"Retry-After": later}, "body": {}}).fail()
    assert error.retryable
    assert error.retry_after is not None and 200 < error.retry_after <= 301


def test_an_exhausted_quota_is_not_worth_a_retry(talk: Any) -> None:
    error = talk({"status": 429, "body": {"error": {"message": "no credit", "code": "insufficient_quota"}}}).fail()
    assert (error.kind, error.retryable) == ("quota", False)
    assert "quota" in error.remedy


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504, 529])
def test_passing_trouble_may_be_retried(talk: Any, endpoint: Any, status: int) -> None:
    error = talk({"status": status, "body": "<html>bad gateway</html>"}).fail()
    assert (error.kind, error.status, error.retryable) == ("unavailable", status, True)
    assert endpoint.count == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_is_told_without_repeating_it(talk: Any, status: int) -> None:
    error = talk({"status": status, "body": {"error": {"message": f"Incorrect API key provided: {KEY}"}}}).fail()
    assert (error.kind, error.status, error.retryable) == ("auth", status, False)
    assert "LITELLM_API_KEY" in error.remedy
    assert KEY not in error.line()
    assert error.__cause__ is None


def test_a_key_in_any_other_answer_is_masked(talk: Any) -> None:
    error = talk({"status": 500, "body": {"error": {"message": f"upstream said no to {KEY}"}}}).fail()
    assert KEY not in error.line()
    assert error.__cause__ is None


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "too many tokens", "code": "context_length_exceeded"}},
        {"error": {"message": "litellm.ContextWindowExceededError: AnthropicException", "code": "400"}},
        {"error": {"message": "This model's maximum context length is 8192 tokens"}},
        {"error": {"message": "prompt is too long: 210000 tokens > 200000 maximum"}},
    ],
)
def test_a_conversation_beyond_the_window(talk: Any, body: dict[str, Any]) -> None:
    error = talk({"status": 400, "body": body}).fail()
    assert (error.kind, error.retryable) == ("context_overflow", False)


def test_a_refused_request(talk: Any) -> None:
    body = {"error": {"message": "litellm.ContentPolicyViolationError: filtered", "code": "400"}}
    error = talk({"status": 400, "body": body}).fail()
    assert (error.kind, error.retryable) == ("refused", False)


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_request_that_will_fail_again(talk: Any, status: int) -> None:
    error = talk({"status": status, "body": {"error": {"message": "no such thing"}}}).fail()
    assert (error.kind, error.status, error.retryable) == ("bad_request", status, False)
    assert error.remedy


def test_a_stream_that_is_cut_off(talk: Any) -> None:
    error = talk({"text": "one two three four", "cut_after": 3}).fail()
    assert (error.kind, error.retryable) == ("cut_stream", True)


def test_a_stream_that_ends_without_a_reason_is_cut_too(talk: Any) -> None:
    error = talk({"text": "one two three", "finish_reason": None}).fail()
    assert (error.kind, error.retryable) == ("cut_stream", True)


def test_a_cut_inside_a_tool_call_is_no_tool_call(talk: Any) -> None:
    answer = {"tools": [{"name": "shell", "arguments": '{"command": "rm -rf build"}'}], "cut_after": 3}
    assert talk(answer).fail().kind == "cut_stream"


def test_a_cut_after_the_reason_is_no_loss(talk: Any) -> None:
    reply = talk({"text": "all said", "cut_after": 4}).ask().reply
    assert (reply.content, reply.finish_reason) == ("all said", "stop")


def test_silence_after_the_reason_is_no_loss(talk: Any) -> None:
    setup = talk({"text": "all said", "silence": {"after": 4, "seconds": 60}}, idle_timeout=3.0)
    assert setup.ask().reply.content == "all said"


def test_an_error_inside_the_stream(talk: Any) -> None:
    error = talk({"text": "one", "error": {"message": "overloaded", "type": "server_error"}}).fail()
    assert (error.kind, error.retryable) == ("unavailable", True)


@pytest.mark.parametrize("body", ["<html>a login page</html>", "words", {}, {"hello": "you"}, "", "{"])
def test_an_answer_that_is_none(talk: Any, body: Any) -> None:
    error = talk({"body": body}).fail()
    assert (error.kind, error.retryable) == ("bad_answer", True)
    assert "address" in error.remedy
    assert "<html>" not in error.line()


def test_an_error_with_status_200(talk: Any) -> None:
    error = talk({"body": {"error": {"message": f"odd {KEY}"}}}).fail()
    assert (error.kind, error.retryable) == ("bad_answer", True)
    assert "odd" in error.line() and KEY not in error.line()
    assert talk({"body": {"error": {"message": "no", "code": 400}}}).fail().kind == "bad_request"
    assert talk({"body": {"error": {"message": "no", "type": "rate_limit_error"}}}).fail().kind == "rate_limited"


def test_silence_before_the_first_word(talk: Any) -> None:
    error = talk({"text": "late", "first_delay": 60}, idle_timeout=0.3).fail()
    assert (error.kind, error.retryable) == ("silent", True)


def test_silence_in_the_middle(talk: Any) -> None:
    started = time.monotonic()
    error = talk({"text": "one two", "silence": {"after": 2, "seconds": 120}}, idle_timeout=0.3).fail()
    assert error.kind == "silent"
    assert time.monotonic() - started < 60


def test_slow_but_steady_is_not_silent(talk: Any) -> None:
    """Longer than the timeout in all, and far from it between any two pieces."""
    words = " ".join(str(number) for number in range(20))
    setup = talk({"text": words, "chunk_delay": 0.2}, idle_timeout=3.0)
    assert setup.ask().reply.content == words


def test_timeout_of_the_model_config_bounds_the_whole_call(talk: Any) -> None:
    error = talk({"text": "word " * 500, "chunk_delay": 0.05}).fail(settings={"timeout": 0.5})
    assert (error.kind, error.retryable) == ("unavailable", True)
    assert "timeout" in error.remedy


def test_nobody_listens() -> None:
    async def scenario(port: int) -> None:
        models = Models(Endpoint(f"http://127.0.0.1:{port}/v1", KEY), {})
        try:
            [_ async for _ in models.select("m").stream(ModelRequest("m", "", [user("hi")]))]
        finally:
            await models.close()

    with socket.socket() as taken:  # bound, so that nobody else gets it, and not listened on
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ModelError) as caught:
            asyncio.run(scenario(port))
    assert (caught.value.kind, caught.value.retryable, caught.value.status) == ("unavailable", True, None)
    assert f"127.0.0.1:{port}" in caught.value.line()
    assert "LITELLM_API_BASE" in caught.value.remedy


def test_the_call_after_a_failure_works(talk: Any) -> None:
    setup = talk({"status": 500, "body": {}}, {"text": "back"})
    assert setup.fail().retryable
    assert setup.ask().reply.content == "back"
