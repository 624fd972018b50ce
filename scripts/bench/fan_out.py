"""Measure many clients that follow one execution, on a control plane alone: 500 streams, 20 events a second.

Each event carries the time at which it was sent. Measured for each client and event: from the request that publishes it
until the client has it. Each client must have each event once, in order. Beside it: the same with ten clients.
`/health` is asked every 50 ms meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import requests

from scripts.bench.report import Row, Spread, below, main, say
from tests.support.control_plane import ControlPlane

CLIENTS: Final = 500
FEW: Final = 10
RATE: Final = 20  # events a second
SECONDS: Final = 10
BAR: Final = 0.25  # seconds (P9)
HEALTH: Final = 0.05  # seconds (P9)
SENT: Final = re.compile(rb'"number":(\d+),"sent":([\d.]+)')


@dataclass
class Client(asyncio.Protocol):
    """A raw client of one stream: what arrives is searched for the times that events were sent."""

    request: bytes
    numbers: list[int] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    rest: bytes = b""

    def connection_made(self, transport: Any) -> None:
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now, data = time.monotonic(), self.rest + data
        end = 0
        for found in SENT.finditer(data):
            self.numbers.append(int(found[1]))
            self.delays.append(now - float(found[2]))
            end = found.end()
        self.rest = data[max(end, len(data) - 100) :]


def publish(plane: ControlPlane, execution: str, total: int, health: list[float]) -> None:
    """Publish `total` events at the rate, one a request, and ask `/health` between them."""
    began = time.monotonic()
    with contextlib.closing(requests.Session()) as http:
        for number in range(total):
            left = began + number / RATE - time.monotonic()
            if left > 0:
                time.sleep(left)  # the rate is what is measured
            sent = time.monotonic()
            data = {"message_id": "m", "content": "x" * 60, "number": number, "sent": sent}
            event = {"event_id": f"e{number}", "event_type": "message_chunk", "data": data}
            plane.call("POST", f"/executions/{execution}/events/batch", {"events": [event]}, 202)
            asked = time.monotonic()
            http.get(f"{plane.url}/health", timeout=30).raise_for_status()
            health.append(time.monotonic() - asked)


async def follow(plane: ControlPlane, clients: int, total: int) -> tuple[list[float], list[float]]:
    """Return the delays of all events at all clients, and the times that `/health` took."""
    execution = await asyncio.to_thread(plane.execute)
    request = (
        f"GET /api/v1/executions/{execution}/stream HTTP/1.1\r\nHost: 127.0.0.1:{plane.port}\r\n"
        f"Authorization: Bearer {plane.key}\r\nLast-Event-ID: 0\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: Client(request), "127.0.0.1", plane.port) for _ in range(clients)]
    health: list[float] = []
    await asyncio.to_thread(publish, plane, execution, total, health)
    deadline = time.monotonic() + 30
    while any(len(client.numbers) < total for _, client in made) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    for transport, client in made:
        transport.close()
        assert client.numbers == list(range(total)), f"a client has {len(client.numbers)} of {total} events"
    return [delay for _, client in made for delay in client.delays], health


def measure(quick: bool) -> list[Row]:
    total = RATE if quick else RATE * SECONDS
    clients = 40 if quick else CLIENTS
    with tempfile.TemporaryDirectory() as folder, ControlPlane(Path(folder)) as plane:
        say(f"{FEW} clients")
        few, alone = asyncio.run(follow(plane, FEW, total))
        say(f"{clients} clients")
        many, health = asyncio.run(follow(plane, clients, total))
    what = f"from an event's request to each of {clients} clients of one execution, {RATE} events/s (p95 counts)"
    base, asked = Spread.of(few), Spread.of(alone)
    more = {"p95": Spread.of(many).p95, "baseline_p95": base.p95}
    slowest = f"`/health` meanwhile, of which the slowest counts ({HEALTH} s)"
    return [
        Row("P9", what, "s", Spread.of(many), f"{FEW} clients", base, f"{BAR} s", below(BAR, of="p95"), more),
        Row("P9", slowest, "s", Spread.of(health), f"{FEW} clients", asked, f"{HEALTH} s", below(HEALTH, of="max")),
    ]


if __name__ == "__main__":
    main("fan_out", __doc__, measure)
