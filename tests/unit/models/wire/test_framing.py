"""Bodies as events: the standard's event streams, cut anywhere, and what comes in their place."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable

import httpx2
import pytest

from kubiya_worker.models.wire import framing, stray_lines
from kubiya_worker.models.wire.framing import Body, StreamEvent


class Pieces(httpx2.AsyncByteStream):
    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def read(body: bytes, cut: int = 1000, declared: str = "text/event-stream") -> tuple[str, list[StreamEvent]]:
    """Return the kind of a body, and its events, when it arrives in pieces of `cut` bytes."""

    async def soon(awaitable: Awaitable[bytes]) -> bytes:
        return await awaitable

    async def scenario() -> tuple[str, list[StreamEvent]]:
        pieces = Pieces([body[at : at + cut] for at in range(0, len(body), cut)])
        request = httpx2.Request("POST", "http://model")
        response = httpx2.Response(200, headers={"content-type": declared}, stream=pieces, request=request)
        opened = Body(response, soon)
        await opened.open()
        if opened.kind != framing.EVENTS:
            return opened.kind, [StreamEvent("", await opened.text())]
        return opened.kind, [event async for event in opened.events()]

    return asyncio.run(scenario())


STREAMS = [
    b'data: {"a": "x\xc3\xb6y"}\n\ndata: [DONE]\n\n',
    b'\xef\xbb\xbfdata: {"a": "x\xc3\xb6y"}\n\ndata: [DONE]\n\n',
    b'data: {"a": "x\xc3\xb6y"}\r\n\r\ndata: [DONE]\r\n\r\n',
    b'data: {"a": "x\xc3\xb6y"}\r\rdata: [DONE]\r\r',
    b'data:{"a": "x\xc3\xb6y"}\n\ndata:[DONE]\n\n',
    b': keep-alive\n\n\n\ndata: {"a": "x\xc3\xb6y"}\n\n: again\n\ndata: [DONE]',
    b'id: 1\nretry: 10\nevent: message\ndata: {"a":\ndata: "x\xc3\xb6y"}\n\ndata: [DONE]\n',
    b'data: \n\ndata: {"a": "x\xc3\xb6y"}\n\nevent: ping\ndata: hello\n\ndata: [DONE]\n\n',
    b'data: data: {"a": "x\xc3\xb6y"}\n\ndata: data: [DONE]\n\n',
    b'\n\ndata: {"a": "x\xc3\xb6y"}\n\ndata: [done]\n\n',
    b'data: null\n\ndata: {"a": "x\xc3\xb6y"}\n\ndata: "[DONE]"\n\n',
    b'Data: {"a": "x\xc3\xb6y"}\n\nDATA: [DONE]\n\n',
    b' data : {"a": "x\xc3\xb6y"}\n\n data: [DONE]\n\n',
    b'data: {"a": "x\xc3\xb6y"}\0\n\ndata: [DONE]\n\n',
    b'data: {"a": "x\xc3\xb6y"},\n\ndata: [DONE]\n\n',
    b"data: {'a': 'x\xc3\xb6y'}\n\ndata: [DONE]\n\n",
    b'event: ping\ndata:\n\ndata: {"a": "x\xc3\xb6y"}\n\nevent: done\ndata:\n\n',
    b'data: {"a": "x\xc3\xb6y"}\n\ndata: DONE\n\n',
    b'data: {"a": "x\xc3\xb6y"}\n\nevent: end\ndata: {}\n\n',
    b'data: {"a": "x\xc3\xb6y"}\n\nevent: close\ndata: bye\n\n',
    b'data: "{\\"a\\": \\"x\xc3\xb6y\\"}"\n\ndata: [DONE]\n\n',
    b'data: {\n  "a":\n    "x\xc3\xb6y"\n}\n\ndata: [DONE]\n\n',
    b'data: {\r\n"a": "x\xc3\xb6y"\r\n}\r\n\r\ndata: [DONE]\r\n\r\n',
    b'data: {"a": "x\xc3\xb6y"}\nfoo: bar\n\ndata: [DONE]\n\n',
]


@pytest.mark.parametrize("stream", STREAMS)
def test_streams_are_read_by_the_standard_wherever_they_are_cut(stream: bytes) -> None:
    for cut, declared in itertools.product(
        (1, 2, 3, 7, 1000), ("text/event-stream", "application/json", "text/plain", "")
    ):
        kind, events = read(stream, cut, declared)
        assert kind == framing.EVENTS, (cut, declared)
        assert [event.value for event in events if not event.end] == [{"a": "xöy"}], (cut, declared)
        assert events[-1].end, (cut, declared)


def test_an_event_that_is_no_json_is_told() -> None:
    _, events = read(b'data: {"a"\n\nevent: error\ndata: out of memory\n\n')
    assert [(event.name, event.text, event.value) for event in events] == [
        ("message", '{"a"', None),
        ("error", "out of memory", None),
    ]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"a": 1}', framing.JSON),
        (b'\xef\xbb\xbf \n[{"a": 1}]', framing.JSON),
        (b"<!DOCTYPE html><html></html>", framing.PAGE),
        (b"  <html>", framing.PAGE),
        (b"", framing.NOTHING),
        (b" \n", framing.NOTHING),
    ],
)
@pytest.mark.parametrize("declared", ["text/event-stream", "application/json", "text/html"])
def test_the_bytes_say_what_a_body_is(body: bytes, kind: str, declared: str) -> None:
    assert read(body, 1, declared)[0] == kind


def test_words_are_no_stream() -> None:
    assert read(b"upstream request failed", declared="text/plain")[0] == framing.TEXT


def test_json_may_come_in_lines() -> None:
    assert framing.documents('{"a": 1}') == [{"a": 1}]
    assert framing.documents('{"a": 1}\n\n{"a": 2}\n[DONE]\n') == [{"a": 1}, {"a": 2}]
    assert framing.documents('[{"a": 1}]') == [{"a": 1}]
    assert framing.documents('{"a": 1}{"a": 2} [3]\n') == [{"a": 1}, {"a": 2}, [3]]
    assert framing.documents('{"a": 1} and {"a": 2}') is None
    assert framing.documents('{"a": ') is None


def test_several_objects_may_stand_in_one_event() -> None:
    _, events = read(b'data: {"a": 1}{"a": 2}\n\ndata: {"a": 1}{"a"\n\n')
    assert [event.value for event in events] == [{"a": 1}, {"a": 2}, None]


STRAY = [
    b'{"error": "gone"}\n\n',
    b'{"error": "gone"}',
    b'{\r\n  "error":\r\n  "gone"\r\n}\r\n\r\n',
    b'error: {"error": "gone"}\n\n',
    b'\nevent: error\n{"error": "gone"}\n',
    b'\nevent: error\ndata: {"error": "gone"}\n\n',
]


@pytest.mark.parametrize("stray", STRAY)
@pytest.mark.parametrize("before", [b'data: {"a": 1}\n\n', b'data: {"a": 1}\n', b': on\r\n\r\ndata: {"a": 1}\r\n'])
def test_an_error_without_its_field_is_read_wherever_it_is_cut(before: bytes, stray: bytes) -> None:
    for cut in (1, 2, 5, 1000):
        _, events = read(before + stray, cut)
        assert [event.value for event in events] == [{"a": 1}, {"error": "gone"}], cut


@pytest.mark.parametrize("cut", [1, 1000])
def test_a_stray_line_counts_only_if_it_can_be_read(cut: int) -> None:
    _, events = read(b'data: {"a": 1}\n\n{"broken\n\nhello: you\n\ndata: {"b": 2}\n\n[DONE]\n\n', cut)
    assert [event.value for event in events] == [{"a": 1}, {"b": 2}, None]
    assert events[-1].end


def test_a_line_that_never_ends_is_not_held_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stray_lines, "LARGEST", 10)
    lines = stray_lines.StrayLines()
    assert lines.feed(b"data: 12345678") == b"data: 12345678\n"
    assert lines.feed(b"data: 1\r") == b"" and lines.flush() == b"data: 1\n"


def test_words_in_a_stream_are_kept_for_an_error() -> None:
    async def scenario(body: bytes) -> str:
        async def soon(awaitable: Awaitable[bytes]) -> bytes:
            return await awaitable

        request = httpx2.Request("POST", "http://model")
        headers = {"content-type": "text/event-stream"}
        opened = Body(httpx2.Response(200, headers=headers, stream=Pieces([body]), request=request), soon)
        await opened.open()
        assert [event async for event in opened.events()] == []
        return opened.unread

    assert asyncio.run(scenario(b"service starting\n\n")) == "service starting"
    assert asyncio.run(scenario(b": comment\n\nid: 5\n\n")) == ""
