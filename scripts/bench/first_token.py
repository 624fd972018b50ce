"""P4: how long a model's first token takes from its endpoint to a client's event stream.

The way is: endpoint, worker (pydantic-ai), control plane and its log, server-sent events. The endpoint is scripted and
lives in this process, so both moments are of one clock. Baseline: the same endpoint read directly, without anything
between.
"""

from __future__ import annotations

import asyncio
import json
import time

from scripts.bench.report import Row, Spread, alternate, below, main
from scripts.bench.rig import Rig, rig
from tests.support.model_endpoint import ModelEndpoint

ANSWER = {"text": "one two three four five six", "first_delay": 0.1, "chunk_delay": 0.02}
MODEL = "scripted"


def measure(quick: bool) -> list[Row]:
    with ModelEndpoint(default=ANSWER) as endpoint, rig() as bench:
        bench.start(OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-bench")
        agent = bench.stack.agent("streams", model_id=MODEL)
        here, there = alternate(
            2 if quick else 40,
            lambda: bench.run(through_the_worker(bench, endpoint, agent)),
            lambda: bench.run(directly(endpoint)),
            warm=1 if quick else 5,
        )
    return [row(here, there)]


def row(here: Spread, there: Spread) -> Row:
    bar = "p95 under 150 ms"
    return Row("P4", "first token", "ms", here, "the endpoint read directly", there, bar, below(150, of="p95"))


async def through_the_worker(bench: Rig, endpoint: ModelEndpoint, agent: str) -> float:
    """Milliseconds from the endpoint's first token to ours."""
    execution = await bench.api.execute(agent, bench.queue, "Count.")
    took = None
    async for kind, _ in bench.api.events(execution):
        if kind == "message_chunk" and took is None:
            took = (time.monotonic() - endpoint.first_token_at) * 1000
        elif kind == "done":
            break
    assert took is not None
    return took


async def directly(endpoint: ModelEndpoint) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
    body = json.dumps({"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "Count."}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    try:
        await reader.readuntil(b'"content": "one')
        return (time.monotonic() - endpoint.first_token_at) * 1000
    finally:
        await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.close()


if __name__ == "__main__":
    main("first-token", __doc__, measure)
