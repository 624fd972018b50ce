"""The OpenAI-compatible path: what goes over the wire, and what comes back."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest

from kubiya_worker.models import Delta, ModelReply, ModelRequest
from kubiya_worker.models.paired_messages import NO_RESULT
from kubiya_worker.protocol.execution import Usage

from .conftest import KEY, SHELL, user


def test_text_streams_in_pieces_and_ends_with_the_whole(talk: Any) -> None:
    answered = talk({"text": "The disk is full of logs"}).ask(user("why?"))
    assert [delta.content for delta in answered.deltas] == ["The", " disk", " is", " full", " of", " logs"]
    assert answered.reply.content == answered.text() == "The disk is full of logs"
    assert answered.reply.finish_reason == "stop"
    assert answered.reply.model == "kubiya/claude-sonnet-4"
    assert answered.reply.provider == "litellm"


def test_first_piece_arrives_while_the_model_still_writes(talk: Any) -> None:
    async def first() -> Delta:
        models = setup.models()
        async with aclosing(models.select(None).stream(ModelRequest("m", "", [user("hi")]))) as items:
            piece = await anext(items)
        await models.close()
        assert isinstance(piece, Delta)
        return piece

    # What is not handed on at once would be seen only when the model has said no more for too long: a failure.
    setup = talk({"text": "one two three four", "silence": {"after": 2, "seconds": 120}})
    assert asyncio.run(first()).content == "one"


def test_parallel_tool_calls_keep_order_ids_and_raw_arguments(talk: Any) -> None:
    tools = [
        {"name": "shell", "arguments": '{"command":  "ls"}', "id": "a"},
        {"name": "shell", "arguments": {"command": "df"}, "id": "b"},
    ]
    reply = talk({"text": "Looking.", "tools": tools}).ask(user("look"), tools=[SHELL]).reply
    assert reply.content == "Looking."
    assert reply.tool_calls == [
        {"id": "a", "name": "shell", "arguments": '{"command":  "ls"}'},
        {"id": "b", "name": "shell", "arguments": '{"command": "df"}'},
    ]
    assert reply.finish_reason == "tool_calls"


@pytest.mark.parametrize("raw", ['{"command": "ls"', "not json", '["ls"]', '{"a": "\\ud800"}', "{'command': 'ls'}"])
def test_malformed_arguments_survive_as_the_model_wrote_them(talk: Any, endpoint: Any, raw: str) -> None:
    setup = talk({"tools": [{"name": "shell", "arguments": raw, "id": "x"}]}, {"text": "sorry"})
    reply = setup.ask(user("go"), tools=[SHELL]).reply
    assert reply.tool_calls[0]["arguments"] == raw
    setup.ask(
        user("go"),
        {"role": "assistant", "content": "", "tool_calls": reply.tool_calls},
        {"role": "tool", "content": "the arguments are not JSON", "tool_call_id": "x", "tool_name": "shell"},
        tools=[SHELL],
    )
    sent = endpoint.requests[1]["body"]["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert isinstance(json.loads(sent), dict)  # a gateway that parses it does not choke
    if "ud800" not in raw:
        assert sent == raw or raw in json.loads(sent).values()


def test_a_call_without_arguments_gets_an_empty_object(talk: Any) -> None:
    reply = talk({"tools": [{"name": "shell", "arguments": ""}]}).ask(tools=[SHELL]).reply
    assert reply.tool_calls[0]["arguments"] == "{}"


def test_the_conversation_goes_out_as_it_is_kept(talk: Any, endpoint: Any) -> None:
    talk({"text": "ok"}).ask(
        user("list"),
        {
            "role": "assistant",
            "content": "Listing.",
            "tool_calls": [{"id": "t1", "name": "shell", "arguments": '{"command": "ls"}'}],
        },
        {"role": "tool", "content": "a\nb", "tool_call_id": "t1", "tool_name": "shell", "status": "success"},
        user("thanks"),
        system_prompt="You are ops.",
        tools=[SHELL],
        settings={"caching": "off"},  # whose marks test_prompt_cache.py looks at
    )
    body = endpoint.requests[0]["body"]
    assert body["messages"] == [
        {"role": "system", "content": "You are ops."},
        {"role": "user", "content": "list"},
        {
            "role": "assistant",
            "content": "Listing.",
            "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "shell", "arguments": '{"command": "ls"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "a\nb"},
        {"role": "user", "content": "thanks"},
    ]
    assert body["stream_options"] == {"include_usage": True}
    function = {"name": "shell", "description": "run a command", "parameters": SHELL.parameters}
    assert body["tools"] == [{"type": "function", "function": function}]
    assert endpoint.requests[0]["headers"]["authorization"] == f"Bearer {KEY}"


def test_a_call_without_a_result_is_answered_so_that_the_provider_takes_it(talk: Any, endpoint: Any) -> None:
    cancelled = {"role": "assistant", "content": "", "tool_calls": [{"id": "t1", "name": "shell", "arguments": "{}"}]}
    talk({"text": "ok"}).ask(user("go"), cancelled, user("never mind"), tools=[SHELL], settings={"caching": "off"})
    messages = endpoint.requests[0]["body"]["messages"]
    assert messages[2] == {"role": "tool", "tool_call_id": "t1", "content": NO_RESULT}
    assert messages[3] == {"role": "user", "content": "never mind"}


def test_model_config_reaches_the_model(talk: Any, endpoint: Any) -> None:
    settings = {
        "temperature": 0.2,
        "max_tokens": "512",
        "top_p": 0.9,
        "top_k": 40,
        "stop": ["END"],
        "frequency_penalty": 0.1,
        "presence_penalty": 0.3,
        "seed": 7,
        "parallel_tool_calls": False,
        "no_such_setting": 1,
        "demo_delay_ms": 5,
    }
    talk({"text": "ok"}).ask(settings=settings, tools=[SHELL])
    body = endpoint.requests[0]["body"]
    expected = {**settings, "max_tokens": 512}
    del expected["no_such_setting"], expected["demo_delay_ms"]
    assert {name: body.get(name) for name in expected} == expected
    assert not {"no_such_setting", "demo_delay_ms", "metadata"} & body.keys()


def test_a_setting_that_is_no_number_is_left_out(talk: Any, endpoint: Any) -> None:
    talk({"text": "ok"}).ask(settings={"temperature": "warm", "max_tokens": None, "stop": "END"})
    body = endpoint.requests[0]["body"]
    assert not {"temperature", "max_tokens"} & body.keys()
    assert body["stop"] == ["END"]


def test_trace_metadata_goes_to_a_gateway_only(talk: Any, endpoint: Any) -> None:
    trace = {"trace_id": "e1", "generation_name": "agent-chat"}
    talk({"text": "ok"}).ask(metadata=trace)
    talk({"text": "ok"}, gateway=False).ask(metadata=trace)
    assert [request["body"].get("metadata") for request in endpoint.requests] == [trace, None]


def test_usage_is_read_with_its_cached_tokens(talk: Any) -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 7,
        "total_tokens": 107,
        "prompt_tokens_details": {"cached_tokens": 80},
    }
    assert talk({"text": "ok", "usage": usage}).ask().reply.usage == Usage(100, 7, 80, 0)


def test_a_server_without_usage_figures_gives_zeros(talk: Any) -> None:
    assert talk({"text": "ok", "usage": None}).ask().reply.usage == Usage()


def test_thoughts_stream_apart_and_go_back_to_the_provider(talk: Any, endpoint: Any) -> None:
    setup = talk({"thinking": "let me see", "text": "Four.", "tools": [{"name": "shell", "id": "t"}]}, {"text": "ok"})
    answered = setup.ask(user("2+2"), tools=[SHELL])
    assert answered.text("thinking") == "let me see"
    assert answered.text() == answered.reply.content == "Four."
    kept = json.loads(json.dumps(answered.reply.thinking))
    said = {"role": "assistant", "content": "Four.", "thinking": kept, "tool_calls": answered.reply.tool_calls}
    setup.ask(user("2+2"), said, {"role": "tool", "content": "", "tool_call_id": "t", "tool_name": "shell"})
    assert endpoint.requests[1]["body"]["messages"][1]["reasoning_content"] == "let me see"


def test_a_field_that_an_endpoint_sends_and_does_not_take_is_left_out(talk: Any, endpoint: Any) -> None:
    refusal = {"error": {"message": "messages.1: property 'reasoning_content' is unsupported", "code": "bad"}}
    thinks = {"thinking": "let me see", "text": "Four."}
    setup = talk(thinks, {"status": 400, "body": refusal}, {"text": "ok"}, {"status": 400, "body": refusal})
    kept = setup.ask(user("2+2")).reply.thinking
    said = {"role": "assistant", "content": "Four.", "thinking": kept}
    assert setup.ask(user("2+2"), said, user("sure?")).reply.content == "ok"
    sent = [request["body"]["messages"][1:2] for request in endpoint.requests]
    assert sent[1][0]["reasoning_content"] == "let me see"
    assert "reasoning_content" not in sent[2][0]
    assert setup.fail(user("2+2")).kind == "bad_request"  # nothing was sent back that could be left out
    assert len(endpoint.requests) == 4


def test_an_answer_that_the_limit_cut_is_told(talk: Any) -> None:
    assert talk({"text": "half", "finish_reason": "length"}).ask().reply.finish_reason == "length"


def test_a_reason_of_the_servers_own_is_passed_on(talk: Any) -> None:
    assert talk({"text": "ok", "finish_reason": "eos"}).ask().reply.finish_reason == "eos"


def test_stop_with_tool_calls_counts_as_tool_calls(talk: Any) -> None:
    reply = talk({"tools": [{"name": "shell"}], "finish_reason": "stop"}).ask(tools=[SHELL]).reply
    assert reply.finish_reason == "tool_calls"


def test_closing_the_stream_early_hangs_up_and_the_next_call_works(talk: Any, endpoint: Any) -> None:
    async def scenario() -> ModelReply:
        models = setup.models()
        model = models.select(None)
        async with aclosing(model.stream(ModelRequest("m", "", [user("hi")]))) as items:
            async for item in items:
                assert isinstance(item, Delta)
                break
        [*_, reply] = [item async for item in model.stream(ModelRequest("m", "", [user("again")]))]
        await models.close()
        assert isinstance(reply, ModelReply)
        return reply

    setup = talk({"text": "word " * 2000, "chunk_delay": 0.01}, {"text": "fine"})
    assert asyncio.run(asyncio.wait_for(scenario(), 90)).content == "fine"


def test_cancelling_a_silent_call_returns_at_once(talk: Any) -> None:
    async def scenario() -> float:
        models = setup.models()
        stream = models.select(None).stream(ModelRequest("m", "", [user("hi")]))
        first = await anext(stream)
        assert isinstance(first, Delta)
        task = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        started = asyncio.get_running_loop().time()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await models.close()
        return asyncio.get_running_loop().time() - started

    setup = talk({"text": "one two", "silence": {"after": 2, "seconds": 120}})
    assert asyncio.run(scenario()) < 20


def test_fifty_calls_at_once_share_one_client(talk: Any, endpoint: Any) -> None:
    async def scenario() -> list[str]:
        models = setup.models()

        async def one(number: int) -> str:
            *_, reply = [item async for item in models.select(None).stream(ModelRequest("m", "", [user(f"n{number}")]))]
            assert isinstance(reply, ModelReply)
            return reply.content

        contents = await asyncio.gather(*(one(number) for number in range(50)))
        await models.close()
        return contents

    endpoint.tokens = 1
    setup = talk()
    assert asyncio.run(scenario()) == [f"n{number}" for number in range(50)]


def test_a_five_megabyte_prompt_goes_through(talk: Any, endpoint: Any) -> None:
    prompt = "x" * 5_000_000
    assert talk({"text": "long"}).ask(user(prompt)).reply.content == "long"
    assert len(endpoint.requests[0]["body"]["messages"][0]["content"]) == 5_000_000


def test_openai_prefix_with_its_own_key_and_address(talk: Any, endpoint: Any) -> None:
    environ = {"OPENAI_API_KEY": "sk-own", "OPENAI_BASE_URL": endpoint.url}
    talk({"text": "ok"}, model_id="openai:gpt-5-mini", environ=environ).ask(metadata={"trace_id": "e1"})
    assert endpoint.requests[0]["headers"]["authorization"] == "Bearer sk-own"
    assert endpoint.requests[0]["body"]["model"] == "gpt-5-mini"
    assert "metadata" not in endpoint.requests[0]["body"]
