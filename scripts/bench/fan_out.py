"""Measure many clients that follow one execution, on a control plane alone: 500 streams, 20 events a second.

Each event carries the time at which it was sent. Measured for each client and event: from the request that publishes it
until the client has it. Each client must have each event once, in order. Beside it: the same with ten clients.
`/health` is asked every 10 ms meanwhile, by another process. Twenty more clients do not read at all: they must delay
nobody, and have every event when they come again.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from scripts.bench.health import watched
from scripts.bench.report import Row, Spread, below, main, say
from tests.support.control_plane import ControlPlane

CLIENTS: Final = 500
DEAF: Final = 20  # clients that do not read
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


@dataclass(frozen=True)
class Followed:
    """It says what clients of one execution saw, and what it cost."""

    delays: list[float]  # of all events at all clients
    health: list[float]  # seconds of each answer of `/health`
    late: float  # seconds that the last event was published too late: the server was behind
    server: float  # cores
    client: float  # cores


def publish(plane: ControlPlane, execution: str, total: int) -> float:
    """Publish `total` events at the rate, one a request; return how late the last one came."""
    began = time.monotonic()
    for number in range(total):
        left = began + number / RATE - time.monotonic()
        if left > 0:
            time.sleep(left)  # the rate is what is measured
        sent = time.monotonic()
        data = {"message_id": "m", "content": "x" * 60, "number": number, "sent": sent}
        event = {"event_id": f"e{number}", "event_type": "message_chunk", "data": data}
        plane.call("POST", f"/executions/{execution}/events/batch", {"events": [event]}, 202)
    return max(0.0, time.monotonic() - began - (total - 1) / RATE)


def cpu_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def follow(plane: ControlPlane, clients: int, total: int, deaf: int = 0) -> Followed:
    """Have so many clients follow an execution with `total` events, beside `deaf` ones that do not read."""
    execution = await asyncio.to_thread(plane.execute)
    request = (
        f"GET /api/v1/executions/{execution}/stream HTTP/1.1\r\nHost: 127.0.0.1:{plane.port}\r\n"
        f"Authorization: Bearer {plane.key}\r\nLast-Event-ID: 0\r\n\r\n"
    ).encode()

    async def connected() -> tuple[asyncio.Transport, Client]:
        return await loop.create_connection(lambda: Client(request), "127.0.0.1", plane.port)

    loop = asyncio.get_running_loop()
    sleeping = [await connected() for _ in range(deaf)]
    for transport, _ in sleeping:
        transport.pause_reading()
    made = [await connected() for _ in range(clients)]
    assert plane.process is not None
    both = psutil.Process(plane.process.pid), psutil.Process()
    before, began = [cpu_of(each) for each in both], time.monotonic()
    with watched(plane.port) as health:
        late = await asyncio.to_thread(publish, plane, execution, total)
        await _have(made, total)
    cores = [(cpu_of(each) - was) / (time.monotonic() - began) for each, was in zip(both, before, strict=True)]
    for transport, _ in [*made, *sleeping]:
        transport.close()
    assert all(client.numbers == list(range(total)) for _, client in made), "a client has a gap"
    again = [await connected() for _ in range(deaf)]
    await _have(again, total)
    for transport, client in again:
        transport.close()
        assert client.numbers == list(range(total)), "a client that came again has a gap"
    return Followed([delay for _, client in made for delay in client.delays], health, late, *cores)


async def _have(made: list[tuple[asyncio.Transport, Client]], total: int) -> None:
    """Wait until each client has all events."""
    deadline = time.monotonic() + 60
    while any(len(client.numbers) < total for _, client in made) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)


def measure(quick: bool) -> list[Row]:
    total = RATE if quick else RATE * SECONDS
    clients = 40 if quick else CLIENTS
    with tempfile.TemporaryDirectory() as folder, ControlPlane(Path(folder)) as plane:
        say(f"{FEW} clients")
        few = asyncio.run(follow(plane, FEW, total))
        say(f"{clients} clients")
        many = asyncio.run(follow(plane, clients, total, DEAF))
    say(f"server {many.server:.2f} cores, client {many.client:.2f}; the last event came {many.late * 1000:.0f} ms late")
    what = f"from an event's request to each of {clients} clients of one execution, {RATE} events/s (p95 counts)"
    ours, base = Spread.of(many.delays), Spread.of(few.delays)
    asked, alone = Spread.of(many.health), Spread.of(few.health)
    more = {"p95": ours.p95, "baseline_p95": base.p95, "client_cores": many.client, "server_cores": many.server}
    slowest = f"`/health` meanwhile, of which the slowest counts ({HEALTH} s)"
    late, never = Spread.of([many.late]), Spread.of([few.late])
    return [
        Row("P9", what, "s", ours, f"{FEW} clients", base, f"{BAR} s", below(BAR, of="p95"), more),
        Row("P9", slowest, "s", asked, f"{FEW} clients", alone, f"{HEALTH} s", below(HEALTH, of="max")),
        Row("P9", "how late the last event is taken", "s", late, f"{FEW} clients", never, f"{BAR} s", below(BAR)),
    ]


if __name__ == "__main__":
    main("fan_out", __doc__, measure)
