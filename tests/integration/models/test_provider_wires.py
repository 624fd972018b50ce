"""Anthropic's, Google's and Bedrock's own wires: what their servers send, well-formed or not, byte for byte.

Whatever comes, the port gives an answer or one ModelError, in time, with the cost that the provider has named.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from kubiya_worker.models import Delta, Endpoint, ModelError, ModelReply, ModelRequest, Models, base
from kubiya_worker.models.choice import installed
from kubiya_worker.protocol.messages import Message
from tests.support.provider_wires import EVENTS, FRAMES, JSON, Piece, Wire, WireServer, data, event, frame

from .conftest import SHELL, user

pytestmark = [
    pytest.mark.filterwarnings("ignore:The model:DeprecationWarning"),  # the package knows the calendar
    pytest.mark.filterwarnings("ignore:.* is not a valid:UserWarning"),  # Google's package tells of new values
]

PACKAGES = {"anthropic": "anthropic", "google": "google.genai", "bedrock": "boto3"}
MODELS = {
    "anthropic": "anthropic:claude-sonnet-5",
    "google": "google:gemini-3-pro-preview",
    "bedrock": "bedrock:us.anthropic.claude-sonnet-4-5-20250929-v1:0",
}
KEYS = {
    "ANTHROPIC_API_KEY": "sk-ant-canary-5f1d00",
    "GOOGLE_API_KEY": "AIza-canary-5f1d00",
    "AWS_ACCESS_KEY_ID": "AKIACANARY5F1D00",
    "AWS_SECRET_ACCESS_KEY": "canary-5f1d00-secret",
    "AWS_REGION": "us-east-1",
}
Pieces = list[Piece]
PAGE = Wire("<html><head><title>Sign in</title></head></html>", headers={"Content-Type": "text/html"})


PLAIN = {"Content-Type": "text/plain"}
SIGNATURE = "InvalidSignatureException"


def stream(*parts: Piece | Pieces, headers: dict[str, str] | None = None, **more: Any) -> Wire:
    flat = [piece for part in parts for piece in (part if isinstance(part, list) else [part])]
    return Wire(flat, headers=headers or EVENTS, **more)


# -- Anthropic: the events of Messages


def start(**usage: Any) -> str:
    counts = {"input_tokens": 10, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 5, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5", "content": []}
    rest = {"stop_reason": None, "stop_sequence": None, "usage": {**counts, **usage}}
    return event("message_start", message={**message, **rest})


def block(index: int, begin: dict[str, Any], *deltas: dict[str, Any]) -> Pieces:
    middle = [event("content_block_delta", index=index, delta=delta) for delta in deltas]
    first = event("content_block_start", index=index, content_block=begin)
    return [first, *middle, event("content_block_stop", index=index)]


def says(index: int, *pieces: str) -> Pieces:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in pieces))


def asks(index: int, *pieces: str, name: str = "shell", call_id: str = "toolu_1") -> Pieces:
    begin = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
    return block(index, begin, *({"type": "input_json_delta", "partial_json": piece} for piece in pieces))


def thinks(index: int, text: str, signature: str) -> Pieces:
    deltas = {"type": "thinking_delta", "thinking": text}, {"type": "signature_delta", "signature": signature}
    return block(index, {"type": "thinking", "thinking": "", "signature": ""}, *deltas)


def ends(reason: str | None = "end_turn") -> Pieces:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [event("message_delta", delta=delta, usage={"output_tokens": 20}), event("message_stop")]


# -- Google: the chunks of streamGenerateContent

COUNTED = {
    "promptTokenCount": 18,
    "cachedContentTokenCount": 5,
    "candidatesTokenCount": 17,
    "thoughtsTokenCount": 3,
    "totalTokenCount": 38,
}


def chunk(*parts: dict[str, Any], **candidate: Any) -> str:
    about = {"modelVersion": "gemini-3-pro", "responseId": "r1", "usageMetadata": COUNTED}
    return data(
        {"candidates": [{"content": {"role": "model", "parts": list(parts)}, "index": 0, **candidate}], **about}
    )


# -- Bedrock: the messages of ConverseStream

OPENED = frame("messageStart", {"role": "assistant"})
METADATA = frame(
    "metadata",
    {
        "usage": {"inputTokens": 10, "outputTokens": 20, "cacheReadInputTokens": 5, "cacheWriteInputTokens": 3},
        "metrics": {"latencyMs": 5},
    },
)


def piece_of(index: int, delta: dict[str, Any]) -> bytes:
    return frame("contentBlockDelta", {"contentBlockIndex": index, "delta": delta})


def stopped(reason: str) -> Pieces:
    return [frame("messageStop", {"stopReason": reason}), METADATA]


def begun(index: int, call_id: str = "tooluse_1") -> bytes:
    call = {"toolUseId": call_id, "name": "shell"}
    return frame("contentBlockStart", {"contentBlockIndex": index, "start": {"toolUse": call}})


def frames(*parts: Piece | Pieces, **more: Any) -> Wire:
    return stream(OPENED, *parts, headers=FRAMES, **more)


# -- asking


@dataclass
class Asked:
    deltas: list[Delta]
    reply: ModelReply
    requests: list[dict[str, Any]]

    @property
    def said(self) -> Message:
        """The reply as the conversation keeps it: through JSON."""
        reply = self.reply
        message = {"role": "assistant", "content": reply.content, "tool_calls": reply.tool_calls}
        kept: Message = json.loads(json.dumps({**message, "thinking": reply.thinking}))
        return kept


Ask = Callable[..., Asked]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """`ask(provider, wire or wires, *messages)`: the answer, or the ModelError is raised."""

    def asked(provider: str, wires: Wire | list[Wire], *messages: Message, idle: float = 20.0) -> Asked:
        if not installed(PACKAGES[provider]):
            pytest.skip(f"{PACKAGES[provider]} is not installed")
        with WireServer(wires if isinstance(wires, list) else [wires]) as server:
            at(server, monkeypatch)
            items = asyncio.run(_items(MODELS[provider], list(messages) or [user("hi")], idle))
            assert isinstance(items[-1], ModelReply)
            return Asked([item for item in items if isinstance(item, Delta)], items[-1], server.requests)

    yield asked


def at(server: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"):
        monkeypatch.setenv(name, server.root)


async def _items(model: str, messages: list[Message], idle: float) -> list[Delta | ModelReply]:
    models = Models(Endpoint("", "", idle_timeout=idle), KEYS)
    try:
        request = ModelRequest(model, "You are ops.", messages, [SHELL])
        return [item async for item in models.select(model).stream(request)]
    finally:
        await models.close()


def failed(ask: Ask, *arguments: Any, **options: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        ask(*arguments, **options)
    line = caught.value.line()
    assert "canary" not in line and "\n" not in line
    return caught.value


# -- answers


ANSWERS = {
    "anthropic": stream(
        start(), event("ping"), says(0, "Hel", "lo"), asks(1, '{"com', 'mand": "ls"}'), ends("tool_use")
    ),
    "google": stream(
        chunk({"text": "Hel"}),
        chunk({"text": "lo"}),
        chunk({"functionCall": {"name": "shell", "args": {"command": "ls"}}, "thoughtSignature": "c2ln"}),
        chunk(finishReason="STOP"),
    ),
    "bedrock": frames(
        *(piece_of(0, {"text": piece}) for piece in ("Hel", "lo")),
        begun(1),
        *(piece_of(1, {"toolUse": {"input": piece}}) for piece in ('{"com', 'mand": "ls"}')),
        stopped("tool_use"),
    ),
}


@pytest.mark.parametrize("provider", MODELS)
def test_text_a_call_and_usage_are_read(ask: Ask, provider: str) -> None:
    asked = ask(provider, ANSWERS[provider])
    assert [delta.content for delta in asked.deltas] == ["Hel", "lo"]
    [call] = asked.reply.tool_calls
    assert (call["name"], json.loads(call["arguments"])) == ("shell", {"command": "ls"})
    usage = asked.reply.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (18, 20, 5)
    assert (asked.reply.content, asked.reply.finish_reason) == ("Hello", "tool_calls")


PLAIN_ANSWER = "".join(map(str, [start(), *says(0, "a"), *ends()[:1]]))
NAMELESS = "".join(line for line in PLAIN_ANSWER.splitlines(True) if not line.startswith("event:"))

# (provider, wire, text): what is new or odd, and yet an answer
UNDERSTOOD = {
    "anthropic, an event that nobody knows": (
        "anthropic",
        stream(start(), event("news", x=1), says(0, "a"), ends()),
        "a",
    ),
    "anthropic, a block that nobody knows": (
        "anthropic",
        stream(start(), block(0, {"type": "hologram"}, {"type": "holo_delta", "y": 2}), says(1, "a"), ends()),
        "a",
    ),
    "anthropic, no end after the reason": ("anthropic", stream(start(), says(0, "a"), ends()[:1]), "a"),
    "anthropic, halves of a character": ("anthropic", stream(start(), says(0, "a\ud83d", "\ude00b"), ends()), "a😀b"),
    "google, one whole answer": (
        "google",
        Wire({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]}, headers=JSON),
        "a",
    ),
    "google, comments and names of events": (
        "google",
        stream(": pi", "ng\n\n", "event: news\nid: 5\n", chunk({"text": "a: :b"}), ":\n", chunk(finishReason="STOP")),
        "a: :b",
    ),
    "google, halves of a character": (
        "google",
        stream(chunk({"text": "a\ud83d"}), chunk({"text": "\ude00b"}), chunk(finishReason="STOP")),
        "a😀b",
    ),
    "anthropic, a byte order mark": ("anthropic", stream("\ufeff", start(), says(0, "a"), ends()), "a"),
    "anthropic, no names of events": ("anthropic", stream(NAMELESS), "a"),
    "anthropic, no line end at the end": ("anthropic", stream(PLAIN_ANSWER[:-2]), "a"),
    "anthropic, events over several lines": (
        "anthropic",
        stream(
            "data: " + json.dumps(json.loads(start().partition("data: ")[2]), indent=1), "\n\n", says(0, "a"), ends()
        ),
        "a",
    ),
    "anthropic, bytes that are no UTF-8": (
        "anthropic",
        stream(start(), "".join(map(str, says(0, "aE"))).replace("aE", "a\xe9").encode("latin-1"), ends()),
        "a\ufffd",
    ),
    "anthropic, one whole answer": (
        "anthropic",
        Wire({"type": "message", "content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn"}, headers=JSON),
        "a",
    ),
    "anthropic, a stream under another type": ("anthropic", stream(PLAIN_ANSWER, headers=JSON), "a"),
    "anthropic, no usage": ("anthropic", stream(start().replace('"usage"', '"other"'), says(0, "a"), ends()), "a"),
    "anthropic, no start": ("anthropic", stream(says(0, "a"), ends()), "a"),
    "anthropic, a thought in tags": ("anthropic", stream(start(), says(0, "<thi", "nk>x</think>\n\na"), ends()), "a"),
    "google, a part that nobody knows": (
        "google",
        stream(chunk({"hologram": {"x": 1}}, {"text": "a"}), chunk(finishReason="STOP")),
        "a",
    ),
    "google, an answer over several lines": (
        "google",
        stream("\ufeffdata:" + json.dumps(json.loads(chunk({"text": "a"}, finishReason="STOP")[6:]), indent=1), "\n\n"),
        "a",
    ),
    "google, chunks in a list": (
        "google",
        Wire(f"[{chunk({'text': 'a'})[6:]},{chunk(finishReason='STOP')[6:]}]", headers=JSON),
        "a",
    ),
    "google, words that keep the connection open": (
        "google",
        stream("data: keep-alive\n\n", "data: \n\n", chunk({"text": "a"}), chunk(finishReason="STOP")),
        "a",
    ),
    "bedrock, one whole answer": (
        "bedrock",
        Wire({"output": {"message": {"content": [{"text": "a"}]}}, "stopReason": "end_turn"}, headers=JSON),
        "a",
    ),
    "bedrock, bytes that are no UTF-8": (
        "bedrock",
        frames(
            frame("contentBlockDelta", b'{"contentBlockIndex": 0, "delta": {"text": "a\xe9"}}'), stopped("end_turn")[:1]
        ),
        "a\ufffd",
    ),
    "bedrock, a thought in tags": (
        "bedrock",
        frames(piece_of(0, {"text": "<thinking>plan"}), piece_of(0, {"text": "</thinking>\n\na"}), stopped("end_turn")),
        "a",
    ),
    "google, a field and a value that nobody knows": (
        "google",
        stream(
            chunk({"text": "a", "news": 1}, safetyRatings=[{"category": "NEW"}], news=2), chunk(finishReason="STOP")
        ),
        "a",
    ),
    "bedrock, an event and a delta that nobody knows": (
        "bedrock",
        frames(frame("news", {"x": 1}), piece_of(0, {"news": 1}), piece_of(0, {"text": "a"}), stopped("end_turn")),
        "a",
    ),
    "bedrock, usage before the reason": (
        "bedrock",
        frames(piece_of(0, {"text": "a"}), METADATA, stopped("end_turn")[:1]),
        "a",
    ),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_what_is_new_is_left_out_and_the_rest_is_read(ask: Ask, name: str) -> None:
    provider, wire, text = UNDERSTOOD[name]
    asked = ask(provider, wire)
    assert (asked.reply.content, asked.reply.finish_reason) == (text, "stop")
    assert "".join(delta.content for delta in asked.deltas if delta.kind == base.TEXT) == text
    json.dumps(asked.reply.thinking).encode()


HELD = {
    "anthropic": stream(start(), says(0, "a"), ends(), hold=True),
    "google": stream(chunk({"text": "a"}), chunk(finishReason="STOP"), hold=True),
    "bedrock": frames(piece_of(0, {"text": "a"}), stopped("end_turn"), hold=True),
}


@pytest.mark.parametrize("provider", MODELS)
def test_a_connection_that_stays_open_does_not_hold_a_whole_answer(
    ask: Ask, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubiya_worker.models.events.AFTER_REASON", 0.1)
    monkeypatch.setattr("kubiya_worker.models.events._LOOK", 0.05)
    assert ask(provider, HELD[provider], idle=300.0).reply.content == "a"


@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
@pytest.mark.parametrize("pieces", [['{"command": "l'], []])
def test_a_call_that_the_limit_cut_is_marked(ask: Ask, provider: str, pieces: list[str]) -> None:
    wire = {
        "anthropic": stream(start(), asks(0, *pieces), ends("max_tokens")),
        "bedrock": frames(begun(0), *(piece_of(0, {"toolUse": {"input": p}}) for p in pieces), stopped("max_tokens")),
    }[provider]
    [call] = ask(provider, wire).reply.tool_calls
    assert call["cut"] == base.LENGTH


def test_what_follows_a_reason_is_waited_for(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some models of Google's give a reason with each piece."""
    monkeypatch.setattr("kubiya_worker.models.events.AFTER_REASON", 0.2)
    monkeypatch.setattr("kubiya_worker.models.events._LOOK", 0.01)
    pieces = (chunk({"text": word}, finishReason="STOP") for word in "abc")
    first, second, third = pieces
    assert ask("google", stream(first, second, 0.5, third)).reply.content == "abc"


@pytest.mark.parametrize("kind", ["text", "arguments"])
def test_an_answer_that_does_not_end_is_stopped(ask: Ask, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubiya_worker.models.events.LARGEST_ANSWER", 50)
    if kind == "arguments":
        reply = ask("anthropic", stream(start(), asks(0, '{"command": "', *["x" * 10] * 40), hold=True)).reply
        assert reply.too_large and reply.tool_calls[0]["cut"] == base.LENGTH
        return
    reply = ask("anthropic", stream(start(), says(0, *["x" * 10] * 40), hold=True)).reply
    assert reply.too_large and reply.finish_reason == base.LENGTH and len(reply.content) == 60


# -- errors

ERROR = {"type": "overloaded_error", "message": "Overloaded"}
HALF: dict[str, Pieces] = {
    "anthropic": [start(), *says(0, "Half")],
    "google": [chunk({"text": "Half"})],
    "bedrock": [OPENED, piece_of(0, {"text": "Half"}), METADATA],
}
UNAVAILABLE = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}

# (provider, what comes, kind, tries, words)
BROKEN: dict[str, tuple[str, Wire, str, int, str]] = {
    "anthropic, overloaded in mid-stream": (
        "anthropic",
        stream(HALF["anthropic"], event("error", error=ERROR)),
        base.UNAVAILABLE,
        base.MANY,
        "Overloaded",
    ),
    "google, overloaded in mid-stream": (
        "google",
        stream(HALF["google"], data(UNAVAILABLE)),
        base.UNAVAILABLE,
        base.MANY,
        "overloaded",
    ),
    "bedrock, throttled in mid-stream": (
        "bedrock",
        stream(HALF["bedrock"], frame("throttlingException", {"message": "slow"}, exception=True), headers=FRAMES),
        base.RATE_LIMITED,
        base.MANY,
        "slow",
    ),
    "bedrock, the model failed in mid-stream": (
        "bedrock",
        stream(HALF["bedrock"], frame("modelStreamErrorException", {"message": "no"}, exception=True), headers=FRAMES),
        base.BAD_ANSWER,
        base.FEW,
        "failed: no",
    ),
    "anthropic, an error without its event's name": (
        "anthropic",
        stream(HALF["anthropic"], data({"type": "error", "error": ERROR})),
        base.UNAVAILABLE,
        base.MANY,
        "Overloaded",
    ),
    "anthropic, an error without words": (
        "anthropic",
        stream(HALF["anthropic"], event("error", error={"type": "api_error"})),
        base.UNAVAILABLE,
        base.MANY,
        "failed: no explanation (api_error)",
    ),
    "anthropic, an error of words alone": (
        "anthropic",
        stream(HALF["anthropic"], "event: error\ndata: the upstream is gone\n\n"),
        base.BAD_ANSWER,
        base.FEW,
        "failed: the upstream is gone",
    ),
    "anthropic, an event that is no JSON": (
        "anthropic",
        stream(HALF["anthropic"], "event: content_block_delta\ndata: {broken\n\n", ends()),
        base.BAD_ANSWER,
        base.FEW,
        "holds an event that is no JSON: {broken",
    ),
    "google, an error in a list": (
        "google",
        stream(HALF["google"], data([UNAVAILABLE])),
        base.UNAVAILABLE,
        base.MANY,
        "overloaded",
    ),
    "google, an event that is no JSON": (
        "google",
        stream(HALF["google"], "data: {broken\n\n"),
        base.BAD_ANSWER,
        base.FEW,
        "holds an event that is no JSON: {broken",
    ),
    "google, a call without a name": (
        "google",
        stream(HALF["google"], chunk({"functionCall": {"args": {}}}), chunk(finishReason="STOP")),
        base.BAD_ANSWER,
        base.FEW,
        "holds a call without a name",
    ),
    "google, a stop with its words": (
        "google",
        stream(HALF["google"], chunk(finishReason="MALFORMED_FUNCTION_CALL", finishMessage="print(default_api")),
        base.BAD_ANSWER,
        base.FEW,
        "(MALFORMED_FUNCTION_CALL): print(default_api",
    ),
    "bedrock, too many tokens a minute in mid-stream": (
        "bedrock",
        stream(
            HALF["bedrock"],
            frame("throttlingException", {"message": "Too many tokens, please wait."}, exception=True),
            headers=FRAMES,
        ),
        base.RATE_LIMITED,
        base.MANY,
        "Too many tokens",
    ),
    "bedrock, an event that is no JSON": (
        "bedrock",
        stream(HALF["bedrock"], frame("contentBlockDelta", b"{broken"), stopped("end_turn"), headers=FRAMES),
        base.BAD_ANSWER,
        base.FEW,
        "holds an event that is no JSON: {broken",
    ),
    "anthropic, cut": ("anthropic", stream(HALF["anthropic"]), base.CUT_STREAM, base.FEW, "why it stopped"),
    "google, cut": ("google", stream(HALF["google"]), base.CUT_STREAM, base.FEW, "why it stopped"),
    "bedrock, cut": ("bedrock", stream(HALF["bedrock"], headers=FRAMES), base.CUT_STREAM, base.FEW, "why it stopped"),
    "bedrock, arguments of no call": (
        "bedrock",
        stream(HALF["bedrock"], piece_of(1, {"toolUse": {"input": "{}"}}), stopped("tool_use"), headers=FRAMES),
        base.BAD_ANSWER,
        base.FEW,
        "arguments of a call that has not begun",
    ),
    "google, too many calls": (
        "google",
        stream(HALF["google"], chunk(finishReason="TOO_MANY_TOOL_CALLS")),
        base.BAD_ANSWER,
        base.FEW,
        "TOO_MANY_TOOL_CALLS",
    ),
    "google, a malformed response": (
        "google",
        stream(HALF["google"], chunk(finishReason="MALFORMED_RESPONSE")),
        base.BAD_ANSWER,
        base.FEW,
        "MALFORMED_RESPONSE",
    ),
    "bedrock, a refusal": (
        "bedrock",
        stream(HALF["bedrock"], stopped("refusal")[:1], headers=FRAMES),
        base.REFUSED,
        base.ONCE,
        "refused to answer",
    ),
    "bedrock, a guardrail": (
        "bedrock",
        stream(HALF["bedrock"], stopped("guardrail_intervened")[:1], headers=FRAMES),
        base.REFUSED,
        base.ONCE,
        "guardrail_intervened",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_an_answer_is_named_and_its_cost_counted(ask: Ask, name: str) -> None:
    provider, wire, kind, tries, words = BROKEN[name]
    error = failed(ask, provider, wire)
    assert (error.kind, error.tries) == (kind, tries), error.line()
    assert words in error.line()
    assert (error.usage.input_tokens, error.usage.cache_read_tokens) == (18, 5)
    assert error.model


def anthropic_error(status: int, kind: str, message: str) -> Wire:
    return Wire({"type": "error", "error": {"type": kind, "message": message}}, status, JSON)


# (provider, what comes instead of an answer, kind, tries, words)
REFUSED: dict[str, tuple[str, Wire, str, int, str]] = {
    "anthropic, a page": ("anthropic", PAGE, base.BAD_ANSWER, base.FEW, "web page: Sign in. Check"),
    "google, a page": ("google", PAGE, base.BAD_ANSWER, base.FEW, "(GOOGLE_GEMINI_BASE_URL)"),
    "anthropic, an error with status 200": (
        "anthropic",
        Wire({"type": "error", "error": ERROR}, headers=JSON),
        base.UNAVAILABLE,
        base.MANY,
        "Overloaded",
    ),
    "google, an error with status 200": (
        "google",
        Wire(UNAVAILABLE, headers=JSON),
        base.UNAVAILABLE,
        base.MANY,
        "over",
    ),
    "anthropic, JSON": ("anthropic", Wire({"id": "m"}, headers=JSON), base.BAD_ANSWER, base.FEW, "ANTHROPIC_BASE_URL"),
    "bedrock, a page": ("bedrock", PAGE, base.BAD_ANSWER, base.FEW, "web page: Sign in. Check"),
    "anthropic, text": ("anthropic", Wire("upstream is gone", headers=PLAIN), base.BAD_ANSWER, base.FEW, "is gone"),
    "anthropic, nothing": ("anthropic", Wire([], headers=EVENTS), base.BAD_ANSWER, base.FEW, "is empty"),
    "google, nothing": ("google", Wire([], headers=EVENTS), base.BAD_ANSWER, base.FEW, "is empty"),
    "bedrock, an error with status 200": (
        "bedrock",
        Wire({"message": "The security token is expired", "__type": "ExpiredTokenException"}, headers=JSON),
        base.AUTH,
        base.ONCE,
        "refused the key",
    ),
    "bedrock, a form that must be filled in": (
        "bedrock",
        Wire({"message": "Model use case details have not been submitted for this account. Fill out"}, 404, JSON),
        base.AUTH,
        base.ONCE,
        "Do what the words ask for",
    ),
    "bedrock, a model that is gone": (
        "bedrock",
        Wire({"message": "This model version has reached the end of its life."}, 404, JSON),
        base.UNKNOWN_MODEL,
        base.ONCE,
        "end of its life",
    ),
    "bedrock, the secret of the key": (
        "bedrock",
        Wire({"message": "The request signature does not match"}, 403, {**JSON, "x-amzn-ErrorType": SIGNATURE}),
        base.AUTH,
        base.ONCE,
        "AWS_PROFILE",
    ),
    "anthropic, the limit of the account": (
        "anthropic",
        anthropic_error(400, "invalid_request_error", "You have reached your specified API usage limits."),
        base.QUOTA,
        base.ONCE,
        "used up",
    ),
    "anthropic, an organization that is disabled": (
        "anthropic",
        anthropic_error(400, "invalid_request_error", "This organization has been disabled."),
        base.AUTH,
        base.ONCE,
        "disabled",
    ),
    "anthropic, the key": (
        "anthropic",
        anthropic_error(401, "authentication_error", "invalid x-api-key"),
        base.AUTH,
        base.ONCE,
        "Check ANTHROPIC_API_KEY",
    ),
    "google, a model that is not there": (
        "google",
        Wire({"error": {"code": 404, "status": "NOT_FOUND", "message": "models/x is not found for v1"}}, 404, JSON),
        base.UNKNOWN_MODEL,
        base.ONCE,
        "models/x",
    ),
    "google, no words": ("google", Wire("", 502), base.UNAVAILABLE, base.MANY, "answered 502: no explanation"),
    "bedrock, a model without throughput": (
        "bedrock",
        Wire({"message": "Invocation of model ID x with on-demand throughput isn't supported."}, 400, JSON),
        base.UNKNOWN_MODEL,
        base.ONCE,
        "on-demand",
    ),
    "bedrock, the model failed": (
        "bedrock",
        Wire({"message": "no"}, 424, {**JSON, "x-amzn-ErrorType": "ModelErrorException"}),
        base.BAD_ANSWER,
        base.FEW,
        "answered 424",
    ),
    "bedrock, the credentials": (
        "bedrock",
        Wire({"message": "The token is invalid."}, 403, {**JSON, "x-amzn-ErrorType": "UnrecognizedClientException"}),
        base.AUTH,
        base.ONCE,
        "AWS_PROFILE",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_comes_instead_of_an_answer_is_named_with_its_remedy(ask: Ask, name: str) -> None:
    provider, wire, kind, tries, words = REFUSED[name]
    error = failed(ask, provider, wire)
    assert (error.kind, error.tries) == (kind, tries), error.line()
    assert words in error.line()


@pytest.mark.parametrize("provider", MODELS)
def test_a_redirect_is_not_followed_with_the_key(ask: Ask, provider: str) -> None:
    with WireServer([Wire("", 200)]) as elsewhere:
        error = failed(ask, provider, Wire("", 307, {"Location": f"{elsewhere.root}/v1/messages?token=x"}))
        assert elsewhere.requests == []
    assert (error.kind, error.tries) == (base.MOVED, base.ONCE)
    assert elsewhere.root in error.line() and "token=x" not in error.line()


# -- what goes back


def call(name: str = "shell", call_id: str = "c1", arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "name": name, "arguments": arguments}


def assistant(content: str = "", calls: list[dict[str, Any]] | None = None, thinking: Any = ()) -> Message:
    message: Message = {"role": "assistant", "content": content, "tool_calls": calls or [], "thinking": list(thinking)}
    return message


def result(content: str = "done", call_id: str = "c1", name: str = "shell") -> Message:
    return {"role": "tool", "content": content, "tool_call_id": call_id, "tool_name": name}


ODD: dict[str, list[Message]] = {
    "a result without text": [user("hi"), assistant(calls=[call()]), result("")],
    "a message without text": [user(" \n")],
    "an answer without text": [user("hi"), assistant(" \n"), user("and?")],
    "an answer first": [assistant("Hello."), user("hi")],
    "a call first": [assistant(calls=[call()]), result(), user("hi")],
    "an id of another server": [user("hi"), assistant(calls=[call(call_id="f.x:0")]), result(call_id="f.x:0")],
    "a long id": [user("hi"), assistant(calls=[call(call_id="c" * 90)]), result(call_id="c" * 90)],
    "ids that differ at the end": [
        user("hi"),
        assistant(calls=[call(call_id="c" * 90 + "1"), call(call_id="c" * 90 + "2")]),
        result(call_id="c" * 90 + "1"),
        result(call_id="c" * 90 + "2"),
    ],
    "a name that a model made up": [user("hi"), assistant(calls=[call("é /x")]), result(name="é /x")],
    "a name without end": [user("hi"), assistant(calls=[call("n" * 200)]), result(name="n" * 200)],
    "no name": [user("hi"), assistant(calls=[call("")]), result(name="")],
    "arguments that are no object": [user("hi"), assistant(calls=[call(arguments='["ls"]')]), result()],
    "half a character": [user("a\ud83d")],
}


@pytest.mark.parametrize("provider", MODELS)
def test_conversations_of_other_models_are_accepted(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not installed(PACKAGES[provider]):
        pytest.skip(f"{PACKAGES[provider]} is not installed")

    async def refused() -> dict[str, str]:
        found = {}
        models = Models(Endpoint("", ""), KEYS)
        for name, messages in ODD.items():
            request = ModelRequest(MODELS[provider], "You are ops.", messages, [SHELL])
            try:
                assert [item async for item in models.select(MODELS[provider]).stream(request)]
            except ModelError as error:
                found[name] = error.line()
        await models.close()
        return found

    with WireServer([ANSWERS[provider]]) as server:
        at(server, monkeypatch)
        assert asyncio.run(refused()) == {}


@pytest.mark.parametrize("provider", MODELS)
def test_thoughts_of_another_provider_do_not_go_back(ask: Ask, provider: str) -> None:
    thought = {"content": "secret plan", "signature": "S", "provider": "other"}
    asked = ask(provider, ANSWERS[provider], user("hi"), assistant("Yes.", [call()], [thought]), result())
    assert "secret plan" not in json.dumps(asked.requests[-1]["body"])


def test_sealed_and_signed_thoughts_go_back_unchanged_to_anthropic(ask: Ask) -> None:
    sealed = block(1, {"type": "redacted_thinking", "data": "ENC=="})
    silent = block(
        2, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "signature_delta", "signature": "S2"}
    )
    blank = says(3, "\n\n")
    wire = stream(start(), thinks(0, "hm", "S1"), sealed, silent, blank, asks(4, "{}"), ends("tool_use"))
    asked = ask("anthropic", wire)
    again = ask("anthropic", ANSWERS["anthropic"], user("hi"), asked.said, result(call_id="toolu_1"))
    assert [
        {k: v for k, v in block.items() if k not in ("name", "input", "id")}
        for block in again.requests[-1]["body"]["messages"][1]["content"]
    ] == [
        {"type": "thinking", "thinking": "hm", "signature": "S1"},
        {"type": "redacted_thinking", "data": "ENC=="},
        {"type": "thinking", "thinking": "", "signature": "S2"},
        {"type": "tool_use"},
    ]


@pytest.mark.parametrize("held", [b"ENC==", b"\xff\xfe"])
def test_sealed_and_signed_thoughts_go_back_unchanged_to_bedrock(ask: Ask, held: bytes) -> None:
    sealed = base64.b64encode(held).decode()
    wire = frames(
        piece_of(0, {"reasoningContent": {"text": "hm"}}),
        piece_of(0, {"reasoningContent": {"signature": "S1"}}),
        piece_of(1, {"reasoningContent": {"redactedContent": sealed}}),
        begun(2),
        piece_of(2, {"toolUse": {"input": "{}"}}),
        stopped("tool_use"),
    )
    asked = ask("bedrock", wire)
    again = ask("bedrock", ANSWERS["bedrock"], user("hi"), asked.said, result(call_id="tooluse_1"))
    assert [block.get("reasoningContent") for block in again.requests[-1]["body"]["messages"][1]["content"]] == [
        {"reasoningText": {"text": "hm", "signature": "S1"}},
        {"redactedContent": sealed},
        None,
    ]


def test_signed_parts_go_back_unchanged_to_google(ask: Ask) -> None:
    parts: list[dict[str, Any]] = [{"text": "hm", "thought": True}, {"text": "ab", "thoughtSignature": "c2ln"}]
    wire = stream(
        *(chunk(part) for part in parts),
        chunk({"functionCall": {"name": "shell", "args": {}}, "thoughtSignature": "c2lnMg=="}),
        chunk(finishReason="STOP"),
    )
    asked = ask("google", wire)
    [asked_for] = asked.reply.tool_calls
    again = ask("google", ANSWERS["google"], user("hi"), asked.said, result(call_id=asked_for["id"]))
    sent = again.requests[-1]["body"]["contents"][1]["parts"]
    assert sent[:2] == parts
    assert sent[2]["thoughtSignature"] == "c2lnMg=="
