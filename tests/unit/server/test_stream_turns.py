"""Many streams that begin at once: a few in each turn of the event loop, and everybody else before the rest."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Scope, Send

from kubiya_worker.server.stream_turns import AT_ONCE, StreamTurns


async def nothing() -> Message:
    return {"type": "http.disconnect"}


async def nowhere(message: Message) -> None:
    pass


def asked(path: str) -> Scope:
    return {"type": "http", "path": path}


async def test_a_few_streams_begin_at_once_and_others_do_not_wait() -> None:
    begun = list[str]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(scope["path"])

    turns = StreamTurns(app)
    streams = [f"/api/v1/executions/e{number}/stream" for number in range(4 * AT_ONCE)]
    tasks = [asyncio.create_task(turns(asked(path), nothing, nowhere)) for path in streams]
    while not begun:
        await asyncio.sleep(0)
    assert len(begun) <= AT_ONCE
    tasks.append(asyncio.create_task(turns(asked("/health"), nothing, nowhere)))
    await asyncio.gather(*tasks)
    assert begun.index("/health") <= 2 * AT_ONCE
    begun.remove("/health")
    assert begun == streams, "all begin, in their order"


async def test_a_client_that_has_gone_takes_no_turn_of_another() -> None:
    begun = list[str]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(scope["path"])

    turns = StreamTurns(app)
    gone = asyncio.create_task(turns(asked("/gone/stream"), nothing, nowhere))
    stays = asyncio.create_task(turns(asked("/stays/stream"), nothing, nowhere))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait_for(stays, 60)
    assert begun == ["/stays/stream"]
