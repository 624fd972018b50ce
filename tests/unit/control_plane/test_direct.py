"""These tests check which requests the event loop makes itself, and that all others are left to a thread."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kubiya_worker.control_plane import direct, small_bodies, writes
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.direct import DirectConnections
from kubiya_worker.control_plane.json_values import decoded
from kubiya_worker.control_plane.small_bodies import is_small
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import names

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
SILENCE = b""


class Server:
    """A server that gives each request the next of its answers, the last one again and again."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
                self.requests.append(head + await reader.readexactly(length))
                writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def served(*answers: bytes) -> AsyncIterator[tuple[Server, DirectConnections]]:
    made = Server(*answers)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    connections = DirectConnections("127.0.0.1", made.port, {"Authorization": "Bearer k", "Accept-Encoding": "gzip"})
    try:
        yield made, connections
    finally:
        connections.close()
        server.close()


async def test_requests_share_a_connection_and_carry_the_key() -> None:
    async with served(OK) as (server, connections):
        assert [await connections.call("POST", "/a", b'{"x":1}') for _ in range(3)] == [{}, {}, {}]
        assert server.connections == 1
        assert b"Authorization: Bearer k\r\n" in server.requests[0] and server.requests[0].endswith(b'{"x":1}')
        assert b"gzip" not in server.requests[0]


@pytest.mark.parametrize(
    ("answer", "rests"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n{}", False),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n<html", True),
        (SILENCE, True),
    ],
    ids=["refused", "chunked", "page", "silent"],
)
async def test_what_is_no_plain_success_is_left_to_a_thread(
    answer: bytes, rests: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if answer == SILENCE:  # a busy machine may need longer for an answer that comes
        monkeypatch.setattr(direct, "TIMEOUT", 0.2)
    async with served(answer, OK) as (server, connections):
        assert await connections.call("POST", "/a", b"{}") is None
        assert await connections.call("POST", "/a", b"{}") == (None if rests else {})
        assert len(server.requests) == (1 if rests else 2)


async def test_nobody_there_is_asked_again_only_after_a_rest() -> None:
    async with served(OK) as (server, connections):
        port = server.port
    nowhere = DirectConnections("127.0.0.1", port, {})
    assert await nowhere.call("POST", "/a", b"{}") is None
    assert nowhere._disabled_until > 0
    connections.close()


async def test_a_connection_that_the_server_has_closed_is_no_fault() -> None:
    closing = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
    async with served(closing) as (server, connections):
        assert await connections.call("POST", "/a", b"{}") == {}
        for reader, writer in connections._idle:
            writer.close()  # as after the server's end of it
            await writer.wait_closed()
            assert reader is not None
        assert await connections.call("POST", "/a", b"{}") == {}
        assert server.connections == 2


async def test_one_write_a_group_and_several_groups_get_their_answers() -> None:
    groups = b'{"groups":[{"answers":[{"a":1},null]},{"status":422,"detail":"no"}]}'
    answers = [b'{"accepted":1}', b'{"answers":[{"b":2},{}]}', groups, b'{"success":false}']
    framed = [b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(x) + x for x in answers]
    async with served(*framed) as (server, _):
        features = frozenset({names.FEATURE_EVENTS_BATCH, names.FEATURE_BATCH, names.FEATURE_BATCH_GROUPS})
        plane = ControlPlane(f"http://127.0.0.1:{server.port}/base", "k", features=features, direct=True)
        connections = plane.directly()
        assert connections is not None
        one = writes.events("e", [ev.event("i", ev.MESSAGE, {"content": "x"})])
        row = writes.execution("e", status="running")
        assert await plane.write_requests.directly(connections, [[one]]) == [[{"accepted": 1}]]
        assert await plane.write_requests.directly(connections, [[one, row]]) == [[{"b": 2}, {}]]
        told = await plane.write_requests.directly(connections, [[one, row], [row]])
        assert told is not None and told[0] == [{"a": 1}, {}] and "no" in str(told[1])
        # Nothing was stored: a thread finds out why.
        assert await plane.write_requests.directly(connections, [[row]]) is None
        large = writes.execution("e", response="x" * (small_bodies.LARGEST + 1))
        assert await plane.write_requests.directly(connections, [[large]]) is None
        assert len(server.requests) == 4
        assert server.requests[0].startswith(b"POST /base/api/v1/executions/e/events/batch HTTP/1.1\r\n")
        connections.close()
        plane.close()


@pytest.mark.parametrize("url", ["https://plane.example", "http://user:word@plane.example"])
def test_tls_and_what_is_in_an_address_are_for_a_thread(url: str) -> None:
    assert ControlPlane(url, "k", direct=True).directly() is None


def test_a_proxy_is_for_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert ControlPlane("http://plane.example", "k").directly() is None
    assert ControlPlane("http://plane.example", "k", direct=True).directly() is not None


def test_the_size_of_a_body_is_that_of_its_texts() -> None:
    half = "x" * (small_bodies.LARGEST // 2)
    assert is_small({"a": [half, 1, None]}) and not is_small({"a": [half, {"b": half}]})


def answer_of(value: object) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


async def test_the_context_of_an_execution_is_read_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"execution": {"id": "e"}, "approval_rules": [], "session": {"messages": ["x" * small_bodies.LARGEST]}}
    threads: list[object] = []
    in_thread = asyncio.to_thread

    async def counted(work: Any, *args: Any) -> Any:
        threads.append(work)
        return await in_thread(work, *args)

    monkeypatch.setattr(asyncio, "to_thread", counted)
    small = {**told, "session": None}
    refused = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}"
    answers = (answer_of(small), answer_of(told), answer_of({"execution": {}}), refused)
    async with served(*answers) as (server, _):
        plane = ControlPlane(f"http://127.0.0.1:{server.port}/below", "k")
        connections = plane.directly()
        assert connections is not None
        assert await plane.contexts.directly(connections, "e") is None and not server.requests  # not announced
        plane.features = frozenset({names.FEATURE_CONTEXT})
        assert await plane.contexts.directly(connections, "e") == small
        assert server.requests[0].startswith(b"GET /below/api/v1/executions/e/context HTTP/1.1\r\n")
        assert not threads
        assert await plane.contexts.directly(connections, "e") == told
        assert threads == [decoded]  # a long one would hold up the event loop
        assert await plane.contexts.directly(connections, "e") is None  # it says nothing about what is allowed
        assert await plane.contexts.directly(connections, "e") is None
        connections.close()
