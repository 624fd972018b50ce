"""Answers over HTTP are read whatever type and number they have; what is none is told on one line, to its call only."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

httpx2 = pytest.importorskip("httpx2")
pytest.importorskip("mcp")

from kubiya_worker.tools.mcp import faults  # noqa: E402  (the packages come first: a worker may lack them)
from kubiya_worker.tools.mcp.http_client import McpHttpClient, fault_in  # noqa: E402

CALL = {"jsonrpc": "2.0", "id": 5, "method": "tools/call"}
ANSWER = {"jsonrpc": "2.0", "id": 5, "result": {"content": []}}
TEXT = json.dumps(ANSWER)


async def sent(answer: Any, message: dict[str, Any] = CALL) -> Any:
    async with McpHttpClient(transport=httpx2.MockTransport(lambda request: answer)) as client:
        response = await client.send(client.build_request("POST", "http://mcp.test/", json=message), stream=True)
        await response.aread()
        return response


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (TEXT, "application/json; charset=utf-8"),
        (TEXT, "text/plain"),
        (TEXT, ""),
        (TEXT, "application/vnd.api+json"),
        (f"\ufeff{TEXT}", "application/json"),
        (f"[{TEXT}]", "application/json"),
        (json.dumps({**ANSWER, "id": 999}), "application/json"),
        (json.dumps({**ANSWER, "id": None}), "application/json"),
        (json.dumps([{**ANSWER, "id": 4, "result": {}}, ANSWER]), "application/json"),
        (json.dumps({"id": 5, "result": {"content": []}}), "application/json"),
        (json.dumps({**ANSWER, "result": None}), "application/json"),
    ],
)
async def test_an_answer_is_read_whatever_its_type_and_number(body: str, kind: str) -> None:
    answer = httpx2.Response(201, content=body.encode(), headers={"content-type": kind, "mcp-session-id": "s1"})
    response = await sent(answer)
    assert response.json() == ANSWER
    assert (response.headers["content-type"], response.headers["mcp-session-id"]) == ("application/json", "s1")


async def test_a_byte_that_is_no_utf_8_is_replaced() -> None:
    body = TEXT.replace('"content": []', '"a": "caf\u00e9"').encode("latin-1")
    assert (await sent(httpx2.Response(200, content=body))).json()["result"] == {"a": "caf\ufffd"}


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (200, "", "", "without the answer that is due"),
        (202, "", "", "without the answer that is due"),
        (204, "", "", "without the answer that is due"),
        (307, "", "", "without the answer that is due"),
        (200, "<html><title>Sign in</title></html>", "text/html", "no MCP message but 'Sign in'"),
        (200, '{"message": "odd"}', "application/json", "no MCP message but 'odd'"),
        (200, "ok", "text/plain", "no MCP message but 'ok'"),
    ],
)
async def test_what_is_no_answer_is_told(status: int, body: str, kind: str, words: str) -> None:
    error = (await sent(httpx2.Response(status, text=body, headers={"content-type": kind}))).json()["error"]
    fault = fault_in(error["data"])
    assert fault is not None and words in str(fault) and str(status) in str(fault) and "url" in fault.remedy


async def test_a_body_cut_in_a_message_ends_the_call_and_not_the_session() -> None:
    error = (await sent(httpx2.Response(200, text=TEXT[:40]))).json()["error"]
    assert error["message"]


async def test_a_body_that_is_not_encoded_as_it_says_ends_only_its_call() -> None:
    answer = httpx2.Response(200, stream=httpx2.ByteStream(TEXT.encode()), headers={"content-encoding": "gzip"})
    assert "cannot be read" in (await sent(answer)).json()["error"]["message"]


@pytest.mark.parametrize("body", [f"data: {TEXT}", f"\ufeffdata: {TEXT}\n", f"event: message\ndata: {TEXT}\n\n"])
@pytest.mark.parametrize("kind", ["application/json", "Text/Event-Stream; charset=UTF-8"])
async def test_events_are_read_under_another_type_and_without_their_end(body: str, kind: str) -> None:
    response = await sent(httpx2.Response(200, stream=httpx2.ByteStream(body.encode()), headers={"content-type": kind}))
    assert response.headers["content-type"].lower().startswith("text/event-stream")
    assert [event.data async for event in httpx2.EventSource(response)] == [TEXT]


async def test_an_event_that_was_cut_is_asked_for_again() -> None:
    def answer(request: Any) -> Any:
        headers = {"content-type": "text/event-stream"}
        begin = f'id: 1\nretry: 1\ndata: {{"a": 1}}\r\n\r\nid: 2\ndata: {TEXT[:40]}'
        return httpx2.Response(200, text=f"data: {TEXT}\n\n" if request.method == "GET" else begin, headers=headers)

    async with McpHttpClient(transport=httpx2.MockTransport(answer)) as client:
        response = await client.send(client.build_request("POST", "http://mcp.test/", json=CALL), stream=True)
        assert [event.data for event in [one async for one in httpx2.EventSource(response)] if event.data] == [TEXT]


@pytest.mark.parametrize("cut", [1, 7, 1000])
@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", ""])
async def test_messages_in_one_event_become_events(cut: int, end: str) -> None:
    first = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
    body = f": on\n\nevent: message\nid: 7\ndata: [{first}, {TEXT}]{end}".encode()
    pieces = [body[at : at + cut] for at in range(0, len(body), cut)]

    async def stream() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    headers = {"content-type": "text/event-stream"}
    response = await sent(httpx2.Response(200, content=stream(), headers=headers))
    events = [(event.event, json.loads(event.data)) async for event in httpx2.EventSource(response)]
    assert events == [("message", json.loads(first)), ("message", ANSWER)]


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_each_status_for_a_session_that_is_not_known_is_looked_into(status: int) -> None:
    assert faults.HttpFault("", status=status, in_session=True).may_have_forgotten
    assert not faults.HttpFault("", status=status).may_have_forgotten
    assert not faults.HttpFault("", status=403, in_session=True).may_have_forgotten


@pytest.mark.parametrize(
    ("event", "answer"),
    [
        (f"event: response\ndata: {TEXT}", ANSWER),
        ('data: {"jsonrpc": "2.0", "result": {"content": []}}', ANSWER),
        ('data: {"id": 5, "result": {"content": []}}', ANSWER),
        ('event: error\ndata: {"message": "boom"}', {**CALL, "error": {"code": -32000, "message": "boom"}}),
    ],
)
async def test_an_event_that_is_hardly_a_message_becomes_one(event: str, answer: dict[str, Any]) -> None:
    headers = {"content-type": "text/event-stream"}
    body = f"event: ping\ndata: now\n\n{event}\n\n".encode()
    response = await sent(httpx2.Response(200, stream=httpx2.ByteStream(body), headers=headers))
    read = [(event.event, event.data) async for event in httpx2.EventSource(response)]
    expected = {name: value for name, value in answer.items() if name != "method"}
    assert read[0] == ("ping", "now") and read[1][0] == "message" and json.loads(read[1][1]) == expected


async def test_a_page_in_place_of_events_is_told() -> None:
    headers = {"content-type": "text/event-stream"}
    page = httpx2.ByteStream(b"<html><title>Sign in</title></html>")
    response = await sent(httpx2.Response(200, stream=page, headers=headers))
    (event,) = [json.loads(event.data) async for event in httpx2.EventSource(response)]
    fault = fault_in(event["error"]["data"])
    assert event["id"] == 5 and fault is not None and "Sign in" in str(fault)


async def test_json_in_place_of_events_becomes_one() -> None:
    body = json.dumps(ANSWER, indent=2).encode()
    headers = {"content-type": "text/event-stream"}
    response = await sent(httpx2.Response(200, stream=httpx2.ByteStream(body), headers=headers))
    assert [json.loads(event.data) async for event in httpx2.EventSource(response)] == [ANSWER]


async def test_a_session_that_no_header_can_name_is_told() -> None:
    answer = httpx2.Response(200, text=TEXT, headers=[(b"mcp-session-id", b"s\xe9")])
    assert "Mcp-Session-Id" in (await sent(answer)).json()["error"]["message"]


async def test_nothing_is_made_of_the_answer_to_a_notification() -> None:
    notification = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert (await sent(httpx2.Response(204), notification)).status_code == 202


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ('Bearer error="invalid_token", error_description="The token expired"', "The token expired"),
        ('Bearer error="insufficient_scope", scope="a:b c"', "insufficient_scope; it asks for the scope 'a:b c'"),
        ('Bearer resource_metadata="https://x.test"', ""),
        (None, ""),
    ],
)
async def test_what_the_challenge_says_is_told(header: str | None, words: str) -> None:
    headers = {"www-authenticate": header} if header else {}
    assert faults.challenge_of(header) == words
    error = (await sent(httpx2.Response(401, headers=headers))).json()["error"]
    fault = fault_in(error["data"])
    assert fault is not None and words in str(fault) and "`oauth`" in fault.remedy


@pytest.mark.parametrize(
    ("value", "seconds"), [("inf", None), ("1e400", None), ("nan", None), ("soon", None), ("-5", 0.0), ("2.5", 2.5)]
)
async def test_a_retry_after_that_is_no_number_of_seconds_is_none(value: str, seconds: float | None) -> None:
    assert faults.seconds_of(value) == seconds
    assert (await sent(httpx2.Response(429, headers={"retry-after": value}))).json()["error"]
