"""Servers over HTTP as odd as real ones: a call works, or says soon what was wrong, and is never made twice."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools import mcp
from kubiya_worker.tools.base import ToolContext, ToolResult
from tests.support.certificates import Certificates, Terminator
from tests.support.odd_mcp_server import (
    EVENTS,
    Asked,
    OddServer,
    Older,
    error,
    event,
    events,
    good,
    http,
    ok,
    silent,
    text,
)

pytest.importorskip("mcp")
pytestmark = pytest.mark.timeout(240)

UNKNOWN = "the outcome is unknown"


@pytest.fixture
async def pool() -> AsyncIterator[mcp.SessionPool]:
    pool = mcp.SessionPool()
    yield pool
    await pool.close()


class Client:
    """One execution with one server, named `s`."""

    def __init__(self, pool: mcp.SessionPool, server: OddServer, workspace: Path, **settings: Any) -> None:
        self._pool, self._workspace = pool, workspace
        self._servers = mcp.parse({"s": {"url": f"{server.origin}/mcp", **settings}})

    async def found(self) -> Any:
        return await mcp.discover(self._servers, self._pool, {}, self._workspace, [], owner="e1")

    async def call(self, name: str) -> ToolResult:
        found = await self.found()
        assert not found.faults, found.faults
        tools = {tool.spec.name: tool for tool in mcp.tools_of(found.specs, self._servers, self._pool)}
        return await tools[f"mcp__s__{name}"].run({}, ToolContext("e1", "c1", self._workspace))


def dumped(asked: Asked, **replaced: str) -> str:
    """Return the good answer as JSON, with `done` replaced as it is written there."""
    return json.dumps(asked.done).replace("done", replaced.get("done", "done"))


def request(method: str, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, **more}


HALF = "do\\ud83dne"  # as JSON writes it
TAB = "do\tne"
PACKED = {"Content_Encoding": "gzip"}
CUT = "id: 7\nretry: 10\ndata:\n\n"


def resumes(asked: Asked, *rest: Any) -> Any:
    last = asked.headers.get("last-event-id")
    return http(405) if last is None else events(ok(99, text(f"resumed after {last}")))


# Each answers the call `odd`; its text is "done" if nothing else is said.
ANSWERED: dict[str, Any] = {
    "a stream": lambda a, *_: events(a.done),
    "a byte order mark, CRLF, a comment, a first event without data": lambda a, *_: events(
        f"\ufeff: hi\r\n\r\nretry: 10\r\nid: 1\r\ndata: \r\n\r\nevent: message\r\ndata: {dumped(a)}\r\n\r\n"
    ),
    "lines that end with CR": lambda a, *_: events(f"event: message\rdata: {dumped(a)}\r\r"),
    "lines that end in several ways": lambda a, *_: events(f": a\n\r\nevent: message\r\ndata: {dumped(a)}\n\r\n"),
    "data on several lines": lambda a, *_: events(
        "".join(f"data: {line}\n" for line in json.dumps(a.done, indent=1).splitlines()) + "\n"
    ),
    "a stream that is packed, with a list and without its end": lambda a, *_: events(
        gzip.compress(f"\ufeffdata: [{dumped(a)}]".encode()), **PACKED
    ),
    "a stream that names another charset": lambda a, *_: events(event(a.done), kind=f"{EVENTS}; charset=ISO-8859-1"),
    "an error that is null": lambda a, *_: events({**a.done, "error": None}),
    "a request with a list of parameters before": lambda a, *_: events(request("x/y", id="a", params=[1]), a.done),
    "words of a log with half a character before": lambda a, *_: events(
        'data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"\\ud83d"}}\n\n',
        a.done,
    ),
    "words that are no message before": lambda a, *_: events('data: hello\n\ndata: {"a": 1}\n\n', a.done),
    "a mark after the end": lambda a, *_: events(a.done, "data: [DONE]\n\n"),
    "a ping with the number of the call before": lambda a, *_: events(request("ping", id=a.id), a.done),
    "a number as text": lambda a, *_: events(ok(str(a.id), text("done"))),
    "the answer with 202": lambda a, *_: http(202, a.done),
}
# The same with another text.
ANSWERED_OTHERWISE: dict[str, tuple[Any, str]] = {
    "NaN": (lambda a, *_: http(200, json.dumps(ok(a.id, {"structuredContent": {"v": float("nan")}}))), '{"v": NaN}'),
    "NaN in a stream": (lambda a, *_: events(ok(a.id, {"structuredContent": {"v": float("inf")}})), '{"v": Infinity}'),
    "half a character": (lambda a, *_: events(f"data: {dumped(a, done=HALF)}\n\n"), "do\ufffdne"),
    "a tab as it is": (lambda a, *_: events(f"data: {dumped(a, done=TAB)}\n\n"), "do\tne"),
    "a byte of Latin-1": (lambda a, *_: events(f"data: {dumped(a, done='é')}\n\n".encode("latin-1")), "\ufffd"),
    "UTF-8 as Latin-1": (
        lambda a, *_: events(f"data: {dumped(a, done='é')}\n\n", kind=f"{EVENTS}; charset=iso-8859-1"),
        "é",
    ),
    "Latin-1": (
        lambda a, *_: http(200, dumped(a, done="é").encode("latin-1"), "application/json; charset=iso-8859-1"),
        "é",
    ),
    "UTF-16": (lambda a, *_: http(200, dumped(a, done="é").encode("utf-16"), "application/json"), "é"),
}


async def called(pool: mcp.SessionPool, workspace: Path, **hooks: Any) -> tuple[ToolResult, OddServer]:
    """Return what the call `odd` came to, after a good call that shows that the session lives on."""
    async with OddServer(hooks) as server:
        client = Client(pool, server, workspace)
        result = await client.call("odd")
        assert (await client.call("echo")).output == "echo"
        assert server.count("initialize") == 1 and server.count("odd") == 1
        return result, server


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        *(pytest.param(answer, "done", id=name) for name, answer in ANSWERED.items()),
        *(pytest.param(*pair, id=name) for name, pair in ANSWERED_OTHERWISE.items()),
    ],
)
async def test_an_answer_is_read_however_it_is_written(
    pool: mcp.SessionPool, tmp_path: Path, answer: Any, words: str
) -> None:
    result, _ = await called(pool, tmp_path, odd=answer)
    assert (result.error, result.output) == (None, words)


PAGE = "<!DOCTYPE html><html><head><title>Sign in &amp; go</title></head></html>"
# What comes in place of an answer -> what the model reads, and what it does not.
REFUSED: dict[str, tuple[Any, str, str]] = {
    "nothing": (b"", UNKNOWN, "cannot be reached"),
    "half of the body": (lambda a, *_: http(200, a.done)[:-10], UNKNOWN, "cannot be reached"),
    "half of an event": (lambda a, *_: events(event(a.done)[:30]), UNKNOWN, "SSE"),
    "no event": (events(": hi\n\n"), UNKNOWN, "SSE"),
    "an event that is no message": (events("data: hello\n\n"), "it sent 'hello'", "validation"),
    "an empty body": (http(200, ""), UNKNOWN, "`url`"),
    "202": (http(202, ""), UNKNOWN, "`url`"),
    "a page that is said to be text": (http(200, PAGE, "text/plain"), "'Sign in & go'", "<"),
    "a page without a type": (http(502, PAGE, ""), "502 Bad Gateway: Sign in & go", "<"),
    "a page in place of events": (events(PAGE), "'Sign in & go'", "<"),
    "an error whose body never ends": (
        lambda a, s, writer: endless(writer, http(500, "the disk is full", "text/plain", length="no")),
        "500 Internal Server Error: the disk is full",
        UNKNOWN,
    ),
    "an error that is packed wrongly": (http(503, "x", Content_Encoding="gzip"), "503 Service Unavailable", UNKNOWN),
    "400 in a session that lives": (
        lambda a, *_: http(400, error(a.id, -32602, "s is missing")),
        "s is missing",
        "`url`",
    ),
    "another server": (http(307, "", Location="http://127.0.0.2:9/x?token=abc"), "127.0.0.2:9/x", "token"),
}


async def endless(writer: asyncio.StreamWriter, begin: bytes) -> bytes:
    writer.write(begin)
    await writer.drain()
    return await silent()


@pytest.mark.parametrize(("answer", "words", "lacks"), REFUSED.values(), ids=REFUSED)
async def test_what_is_no_answer_is_told_to_its_call_only(
    pool: mcp.SessionPool, tmp_path: Path, answer: Any, words: str, lacks: str
) -> None:
    result, _ = await called(pool, tmp_path, odd=answer)
    assert words in (result.error or "") and lacks not in (result.error or "") and "'s'" in (result.error or "")


async def test_a_stream_that_was_cut_is_continued(pool: mcp.SessionPool, tmp_path: Path) -> None:
    result, server = await called(pool, tmp_path, odd=events(CUT), GET=resumes)
    assert result.output == "resumed after 7"
    again = [asked.headers for asked in server.asked if "last-event-id" in asked.headers]
    assert [headers["mcp-session-id"] for headers in again] == ["s1"] and "mcp-protocol-version" in again[0]


@pytest.mark.parametrize("status", [404, 405])
async def test_a_stream_that_cannot_be_continued_ends_the_call(
    pool: mcp.SessionPool, tmp_path: Path, status: int
) -> None:
    result, server = await called(pool, tmp_path, odd=events(CUT), GET=http(status))
    assert UNKNOWN in (result.error or "") and str(status) in (result.error or "")
    assert sum("last-event-id" in asked.headers for asked in server.asked) == 1


async def test_a_call_that_was_given_up_is_asked_for_no_more(pool: mcp.SessionPool, tmp_path: Path) -> None:
    def never_ends(asked: Asked, *rest: Any) -> bytes:
        return events("retry: 0\ndata:\n\n") if "last-event-id" in asked.headers else http(405)

    async with OddServer({"odd": events(CUT), "GET": never_ends}) as server:
        client = Client(pool, server, tmp_path, call_timeout=3)
        assert "did not answer" in ((await client.call("odd")).error or "")
        assert sum("last-event-id" in asked.headers for asked in server.asked) <= 6  # one each second
        assert (await client.call("echo")).output == "echo"


@pytest.mark.parametrize("how", ["events", "list"])
async def test_each_of_two_calls_gets_its_own_answer(pool: mcp.SessionPool, tmp_path: Path, how: str) -> None:
    async def first(asked: Asked, server: OddServer, *rest: Any) -> Any:
        server.kept["first"].set()
        other: Asked = await server.kept["second"]
        both = [ok(other.id, text("of echo")), ok(asked.id, text("of odd"))]
        return events(*both) if how == "events" else both

    async def second(asked: Asked, server: OddServer, *rest: Any) -> bytes:
        server.kept["second"].set_result(asked)
        return await silent()

    async with OddServer({"odd": first, "echo": second}) as server:
        server.kept |= {"first": asyncio.Event(), "second": asyncio.get_running_loop().create_future()}
        client = Client(pool, server, tmp_path)
        odd = asyncio.create_task(client.call("odd"))
        await server.kept["first"].wait()
        assert (await client.call("echo")).output == "of echo"
        assert (await odd).output == "of odd"


@pytest.mark.parametrize(
    "hooks",
    [
        {"notifications/initialized": silent},
        {"notifications/initialized": lambda a, s, writer: endless(writer, events(": hi\n\n"))},
        {"reply": silent, "odd": lambda a, *_: events(request("ping", id=0), a.done)},
        {"GET": silent},
        {"notifications/initialized": http(500, "no")},
    ],
)
async def test_a_message_that_needs_no_answer_keeps_nobody_waiting(
    pool: mcp.SessionPool, tmp_path: Path, hooks: dict[str, Any]
) -> None:
    async with OddServer(hooks) as server:
        client = Client(pool, server, tmp_path, timeout=20, call_timeout=20)
        assert not (await client.call("odd")).error
        assert (await client.call("echo")).output == "echo"
        assert server.count("initialize") == 1


async def test_a_server_that_ends_its_stream_at_once_is_asked_ever_more_rarely(
    pool: mcp.SessionPool, tmp_path: Path
) -> None:
    async with OddServer({"GET": events("retry: 0\n\n")}) as server:
        client = Client(pool, server, tmp_path)
        begun = time.monotonic()
        await client.call("odd")
        while server.count("GET") < 2:
            await asyncio.sleep(0.05)
        assert time.monotonic() - begun >= 1.0


@pytest.mark.parametrize("refusal", [http(500, "busy"), silent])
async def test_tools_stay_when_their_new_list_cannot_be_read(
    pool: mcp.SessionPool, tmp_path: Path, refusal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubiya_worker.tools.mcp.session.RELIST_TIMEOUT", 2.0)

    def listed(asked: Asked, server: OddServer, *rest: Any) -> Any:
        return good(asked) if server.count("odd") == 0 else refusal() if callable(refusal) else refusal

    changed = request("notifications/tools/list_changed")
    async with OddServer({"tools/list": listed, "odd": lambda a, *_: events(changed, a.done)}) as server:
        client = Client(pool, server, tmp_path)
        await client.call("odd")
        assert (await client.call("echo")).output == "echo"
        assert any("has changed" in notice for notice in (await client.found()).notices)


async def test_a_refusal_of_a_server_that_has_no_ping_is_not_called_again(
    pool: mcp.SessionPool, tmp_path: Path
) -> None:
    def no_ping(asked: Asked, *rest: Any) -> bytes:
        return http(404, error(asked.id, -32601, "Method not found"))

    refused = http(404, error(1, -32000, "page 12 is not there"))
    result, _ = await called(pool, tmp_path, odd=refused, ping=no_ping)
    assert "page 12" in (result.error or "")


async def test_a_version_that_is_refused_with_a_status_is_agreed_on(pool: mcp.SessionPool, tmp_path: Path) -> None:
    def initialize(asked: Asked, *rest: Any) -> Any:
        if asked.params["protocolVersion"] == "2024-11-05":
            return good(asked)
        return http(400, error(asked.id, -32602, "Unsupported version", data={"supported": ["2024-11-05"]}))

    async with OddServer({"initialize": initialize}) as server:
        assert (await Client(pool, server, tmp_path).call("odd")).output == "odd"


async def test_an_answer_that_is_too_large_ends_only_its_call(
    pool: mcp.SessionPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubiya_worker.tools.mcp.http_client.LARGEST", 100_000)
    monkeypatch.setattr("kubiya_worker.tools.mcp.event_stream.LARGEST", 100_000)
    body = b'{"a": "' + b"x" * 300_000
    for answer in (http(200, body), events(b"data: " + body), http(200, gzip.compress(body), **PACKED)):
        result, _ = await called(pool, tmp_path, odd=answer)
        assert "limit" in (result.error or "")
        pool.release("e1")


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        events(": hi\n\n"),
        http(200, "{")[:-1],
    ],
)
async def test_a_server_that_breaks_off_while_it_starts_is_asked_again(
    pool: mcp.SessionPool, tmp_path: Path, begin: bytes
) -> None:
    def initialize(asked: Asked, server: OddServer, *rest: Any) -> Any:
        return begin if server.count("initialize") == 1 else good(asked)

    async with OddServer({"initialize": initialize}) as server:
        assert (await Client(pool, server, tmp_path).call("odd")).output == "odd"


async def test_a_server_that_always_breaks_off_is_told_soon(pool: mcp.SessionPool, tmp_path: Path) -> None:
    async with OddServer({"initialize": b""}) as server:
        begun = time.monotonic()
        assert "connection broke" in (await Client(pool, server, tmp_path).found()).missing["s"]
        assert time.monotonic() - begun < 20


async def test_tls_that_fails_is_told_with_what_mends_it(pool: mcp.SessionPool, tmp_path: Path) -> None:
    async with OddServer({}) as server:
        tls = Terminator(Certificates(tmp_path), server.origin.removeprefix("http://"), alpn="http/1.1")
        found = await Client(pool, server, tmp_path, url=f"https://127.0.0.1:{tls.port}/mcp").found()
        assert "certificate is not trusted" in found.missing["s"] and "KUBIYA_CA_FILE" in found.missing["s"]
        found = await Client(pool, server, tmp_path, url=server.origin.replace("http:", "https:")).found()
        assert "TLS" in found.missing["s"] and "begins with `https`" in found.missing["s"]
        assert not server.asked


# -- the older transport

WHERE = "event: endpoint\ndata: "


@pytest.mark.parametrize(
    "older",
    [
        Older(),
        Older(f"{WHERE}{{origin}}/messages?s=1\n\n"),
        Older(f"\ufeff: hi\r\n\r\n{WHERE}/messages\r\n\r\n".replace("\nd", "\r\nd")),
        Older(f"{WHERE}/messages\n\n{WHERE}/messages?s=2\n\n"),
        Older(odd=lambda a, *_: http(200, a.done)),
        Older(odd=lambda a, s, w: streamed(s, event([a.done]))),
        Older(odd=lambda a, s, w: streamed(s, b"data: hello\n\n", event(a.done))),
        Older(odd=lambda a, s, w: streamed(s, f"data: {dumped(a, done=HALF)}\n\n".encode())),
        Older(odd=lambda a, s, w: streamed(s, event(ok(str(a.id), text("d" * 3_000_000))))),
        Older(odd=lambda a, s, w: streamed(s, event(a.done), then=silent())),
        Older(hooks={"notifications/initialized": silent}),
    ],
)
@pytest.mark.parametrize("settings", [{"type": "sse"}, {}])
async def test_the_older_transport_works_also_where_it_is_not_named(
    pool: mcp.SessionPool, tmp_path: Path, older: Older, settings: dict[str, Any]
) -> None:
    async with OddServer({"any": older.any}) as server:
        client = Client(pool, server, tmp_path, **settings)
        result = await client.call("odd")
        assert not result.error and result.output[:1] in ("o", "d")
        assert (await client.call("echo")).output == "echo"


async def streamed(server: OddServer, *written: bytes, then: Any = None) -> bytes:
    server.kept["stream"].write(b"".join(written))
    return await then if then is not None else http(202)


@pytest.mark.parametrize(
    ("hooks", "words"),
    [
        ({"any": Older(f"{WHERE}http://evil.test/messages?token=abc\n\n").any}, "on another server, http://evil.test"),
        ({"any": events(": hi\n\n")}, "without the address for messages"),
        ({"any": http(200, PAGE, "text/html")}, "'Sign in & go'"),
        ({"any": http(302, "", Location="https://login.test/?state=abc")}, "redirects to https://login.test"),
        ({"any": http(401, "", WWW_Authenticate='Bearer error_description="It expired"')}, "It expired"),
    ],
)
async def test_a_server_that_does_not_speak_the_older_transport_is_told_soon(
    pool: mcp.SessionPool, tmp_path: Path, hooks: dict[str, Any], words: str
) -> None:
    async with OddServer(hooks) as server:
        found = await Client(pool, server, tmp_path, type="sse").found()
        assert words in found.missing["s"] and "abc" not in found.missing["s"] and "developer" not in found.missing["s"]
        assert server.count("POST") == 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http(500, PAGE, "text/html"), "500 Internal Server Error: Sign in & go"),
        (http(200, PAGE, "text/html"), "'Sign in & go'"),
        (http(307, "", Location="http://127.0.0.2:9/x"), "redirects to http://127.0.0.2:9/x"),
    ],
)
async def test_a_refusal_of_the_older_transport_is_told_to_its_call_only(
    pool: mcp.SessionPool, tmp_path: Path, answer: bytes, words: str
) -> None:
    async with OddServer({"any": Older(odd=lambda *_: answer).any}) as server:
        client = Client(pool, server, tmp_path, type="sse")
        assert words in ((await client.call("odd")).error or "")
        assert (await client.call("echo")).output == "echo"
        assert server.count("GET") == 1


async def test_a_server_that_still_connects_takes_no_time_at_the_end(tmp_path: Path) -> None:
    async with OddServer({"any": Older(": hi\n\n").any}) as server:
        pool = mcp.SessionPool()
        asked = asyncio.create_task(Client(pool, server, tmp_path, type="sse").found())
        while not server.count("GET"):
            await asyncio.sleep(0.01)
        begun = time.monotonic()
        await pool.close()
        assert time.monotonic() - begun < 2
        assert "ended" in (await asked).missing["s"]


# -- headers

SECRET = "tok-secret-4711"


@pytest.mark.parametrize("value", [f"Bearer {SECRET}\n", f" Bearer {SECRET} "])
async def test_blanks_around_a_header_are_no_part_of_it(pool: mcp.SessionPool, tmp_path: Path, value: str) -> None:
    async with OddServer({}) as server:
        assert (await Client(pool, server, tmp_path, headers={"Authorization": value}).call("odd")).output == "odd"
        assert {asked.headers["authorization"] for asked in server.asked} == {f"Bearer {SECRET}"}


@pytest.mark.parametrize("headers", [{"X-Key": f"a\n{SECRET}"}, {"X-Key": f"\u2011{SECRET}"}, {"X Key": SECRET}])
def test_a_header_that_cannot_be_sent_is_named_without_its_value(headers: dict[str, str]) -> None:
    (server,) = mcp.parse({"s": {"url": "http://mcp.test/", "headers": headers}})
    with pytest.raises(ConfigurationError) as refused:
        server.resolved({})
    assert next(iter(headers)) in refused.value.line() and SECRET not in refused.value.line()
