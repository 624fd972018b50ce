"""These tests are about the reply that streams an execution's events: it ends with its client, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope

from kubiya_worker.server.stream import EventStream

SCOPE: Scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}}
LIMIT = 60  # seconds


class Client:
    """A client that can leave; it keeps what it was sent."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)


def test_a_stream_ends_when_its_client_leaves() -> None:
    ended: list[str] = []

    async def run() -> None:
        client, begun = Client(), asyncio.Event()

        async def frames() -> AsyncIterator[str]:
            try:
                yield "a"
                begun.set()
                await asyncio.Event().wait()
            finally:
                ended.append("frames")

        reply = asyncio.create_task(EventStream(frames())(SCOPE, client.receive, client.send))
        await asyncio.wait_for(begun.wait(), LIMIT)
        client.gone.set()
        await asyncio.wait_for(reply, LIMIT)
        assert [each.get("body") for each in client.sent] == [None, b"a"]

    asyncio.run(run())
    assert ended == ["frames"]


def test_a_stream_that_is_cancelled_by_another_stays_cancelled() -> None:
    async def run() -> None:
        client, begun = Client(), asyncio.Event()

        async def frames() -> AsyncIterator[str]:
            begun.set()
            await asyncio.Event().wait()
            yield "never"

        reply = asyncio.create_task(EventStream(frames())(SCOPE, client.receive, client.send))
        await asyncio.wait_for(begun.wait(), LIMIT)
        reply.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(reply, LIMIT)

    asyncio.run(run())


def test_a_stream_that_is_over_listens_no_more() -> None:
    async def run() -> None:
        client = Client()
        listening: list[asyncio.Task[Any] | None] = []

        async def receive() -> Message:
            listening.append(asyncio.current_task())
            return await client.receive()

        async def frames() -> AsyncIterator[str]:
            await asyncio.sleep(0)  # until it listens
            yield "a"

        heard: Receive = receive
        await EventStream(frames())(SCOPE, heard, client.send)
        assert client.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
        (task,) = listening
        assert task is not None
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, LIMIT)

    asyncio.run(run())
