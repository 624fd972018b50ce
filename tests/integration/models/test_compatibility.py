"""Compatibility settings on the wire: what the endpoint is sent, and that each answer is read as a stream is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.models import Endpoint, ModelError, ModelReply, ModelRequest, Models, compatibility
from kubiya_worker.models.compatibility import Compatibility, Endpoints
from kubiya_worker.protocol.execution import Usage
from tests.support.model_endpoint import ModelEndpoint

from .conftest import KEY, SHELL, user

LS = {"name": "shell", "arguments": {"command": "ls"}, "id": "c1"}


def ask(
    endpoint: ModelEndpoint, settings: dict[str, Any], worker: Compatibility | None = None, **environ: str
) -> tuple[list[Any], dict[str, Any], dict[str, str]]:
    """(what came, the body that was sent, its headers)."""

    async def run() -> list[Any]:
        models = Models(Endpoint(endpoint.url, KEY), environ, endpoints=Endpoints(worker or Compatibility()))
        request = ModelRequest("small", "You are ops.", [user("go")], [SHELL], settings, {"trace_id": "t"})
        try:
            return [item async for item in models.select("small").stream(request)]
        finally:
            await models.close()

    items = asyncio.run(run())
    sent = endpoint.requests[-1]
    return items, sent["body"], sent["headers"]


def test_an_answer_that_is_not_streamed_is_read_like_one_that_is(endpoint: ModelEndpoint) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 60}}
    endpoint.script[:] = [{"text": "Looking.", "tools": [LS, {**LS, "id": "c2"}], "usage": usage}]
    items, body, _ = ask(endpoint, {"compatibility": {"stream": False}})
    assert not body.get("stream") and "stream_options" not in body
    *deltas, reply = items
    assert "".join(delta.content for delta in deltas) == "Looking."
    assert isinstance(reply, ModelReply) and reply.usage == Usage(100, 7, 60)
    assert [(c["id"], c["name"], c["arguments"]) for c in reply.tool_calls] == [
        ("c1", "shell", '{"command": "ls"}'),
        ("c2", "shell", '{"command": "ls"}'),
    ]
    assert reply.finish_reason == "tool_calls"


def test_stream_options_and_tool_choice_can_be_left_out(endpoint: ModelEndpoint) -> None:
    endpoint.script[:] = [{"text": "ok"}, {"text": "ok"}]
    _, body, _ = ask(endpoint, {"compatibility": {"stream_options": False, "tool_choice": "omit"}})
    assert body["stream"] is True and "stream_options" not in body
    assert body["tools"] and "tool_choice" not in body
    _, body, _ = ask(endpoint, {})
    assert body["stream_options"] == {"include_usage": True} and body["tool_choice"] == "auto"


@pytest.mark.parametrize(("field", "other"), [("max_tokens", "max_completion_tokens")[::step] for step in (1, -1)])
def test_the_limit_has_the_name_that_the_endpoint_knows(endpoint: ModelEndpoint, field: str, other: str) -> None:
    endpoint.script[:] = [{"text": "ok"}]
    _, body, _ = ask(endpoint, {"max_tokens": 64, "compatibility": {"max_tokens_field": field}})
    assert body[field] == 64 and other not in body


def test_fields_and_headers_are_added_and_the_agents_win(endpoint: ModelEndpoint) -> None:
    endpoint.script[:] = [{"text": "ok"}]
    worker = Compatibility(extra_body={"num_ctx": 1, "keep": 2}, extra_headers={"X-A": "worker", "X-B": "worker"})
    agent = {"extra_body": {"num_ctx": 8192}, "extra_headers": {"X-B": "${KUBIYA_MODEL_HEADER_B}"}}
    _, body, headers = ask(endpoint, {"compatibility": agent}, worker, KUBIYA_MODEL_HEADER_B="tenant-17")
    assert (body["num_ctx"], body["keep"]) == (8192, 2)
    assert body["metadata"] == {"trace_id": "t"}
    assert (headers["x-a"], headers["x-b"]) == ("worker", "tenant-17")
    assert headers["authorization"] == f"Bearer {KEY}"


def test_a_header_that_the_server_repeats_is_not_shown(endpoint: ModelEndpoint) -> None:
    said = {"error": {"message": "the key s3cr3t-value is not known, nor is tenant-17-secret"}}
    endpoint.script[:] = [{"status": 400, "body": said}]
    agent = {"extra_headers": {"X-B": "${KUBIYA_MODEL_HEADER_B}"}}
    with pytest.raises(ModelError) as caught:
        worker = compatibility.parse({"extra_headers": {"X-A": "${TENANT}"}}, "here", {"TENANT": "s3cr3t-value"})
        ask(endpoint, {"compatibility": agent}, worker, KUBIYA_MODEL_HEADER_B="tenant-17-secret")
    assert "is not known" in caught.value.line()
    assert "s3cr3t" not in caught.value.line() and "tenant-17" not in caught.value.line()


@pytest.mark.parametrize(
    ("said", "left_out"),
    [
        ({"message": "Unsupported parameter: 'stream_options'", "param": "stream_options"}, {"stream_options"}),
        ({"message": 'Unknown name "metadata": Cannot find field.', "status": "INVALID_ARGUMENT"}, {"metadata"}),
        ({"message": "tool_choice is not supported by this model"}, {"tool_choice"}),
        ({"message": "Extra inputs are not permitted: metadata, stream_options"}, {"metadata", "stream_options"}),
        ({"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'"}, {"max_tokens"}),
    ],
)
def test_a_field_of_ours_that_is_refused_is_left_out_and_stays_so(
    endpoint: ModelEndpoint, said: dict[str, Any], left_out: set[str]
) -> None:
    endpoint.script[:] = [{"status": 400, "body": {"error": said}}, {"text": "ok"}]
    items, body, _ = ask(endpoint, {"max_tokens": 64})
    assert items[-1].content == "ok" and endpoint.count == 2
    first = endpoint.requests[0]["body"]
    assert first.keys() - body.keys() == left_out
    assert ("max_completion_tokens" in body) == ("max_tokens" in left_out)


def test_a_setting_of_a_person_that_is_refused_is_named_and_not_left_out(endpoint: ModelEndpoint) -> None:
    said = {"message": "Unsupported value: 'temperature'", "param": "temperature", "code": "unsupported_value"}
    endpoint.script[:] = [{"status": 400, "body": {"error": said}}]
    with pytest.raises(ModelError) as caught:
        ask(endpoint, {"temperature": 0.2})
    assert endpoint.count == 1 and "`temperature` in the agent's model_config" in caught.value.remedy


def test_a_key_that_is_none_is_refused_before_the_call(endpoint: ModelEndpoint) -> None:
    with pytest.raises(ConfigurationError, match="no setting 'strem'"):
        ask(endpoint, {"compatibility": {"strem": False}})
    assert endpoint.count == 0
