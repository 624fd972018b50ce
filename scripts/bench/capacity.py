"""Measure lists, searches, details and events of a control plane with 100,000 executions and 3 million events.

One client asks, over one connection; `/health` is asked every 10 ms meanwhile by another process. The baseline is the
same requests to a control plane with 1,000 executions. Then many clients list at once while one writes.

With KUBIYA_TEST_DATABASE=postgresql the data is on a PostgreSQL server, which this bench starts with the settings of
tests/support/postgres.py.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from scripts.bench import filled_plane
from scripts.bench.crowd import crowd
from scripts.bench.health import watched
from scripts.bench.report import Row, Spread, below, main, say
from tests.support import databases
from tests.support.control_plane import ControlPlane

EXECUTIONS: Final = 100_000
FEW: Final = 1_000
EVENTS: Final = 30  # of each execution
ROUNDS: Final = 100  # requests of each kind
BAR: Final = 0.020  # seconds (P9)
HEALTH: Final = 0.050  # seconds (P9)
LISTING: Final = 20  # clients that list without a rest while another one writes
WRITES: Final = 200


class HttpClient:
    """A client with one connection: what is measured is the server, and little of it."""

    def __init__(self, plane: ControlPlane) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", plane.port, timeout=60)
        self._headers = {"Authorization": f"Bearer {plane.key}", "Content-Type": "application/json"}

    def ask(self, path: str, body: Any = None) -> bytes:
        given = None if body is None else json.dumps(body)
        self._http.request("GET" if body is None else "POST", f"/api/v1{path}", given, self._headers)
        answer = self._http.getresponse()
        said = answer.read()
        assert answer.status < 300, (path, answer.status, said[:500])
        return said

    def timed(self, path: str, body: Any = None) -> float:
        began = time.perf_counter()
        self.ask(path, body)
        return time.perf_counter() - began

    def whole(self, query: str) -> float:
        """Return the seconds until a search has all that it finds: its pages, one after the other."""
        began = time.perf_counter()
        cursor: str | None = ""
        while cursor is not None:
            found = json.loads(self.ask(f"/executions?summary=true&{query}&cursor={cursor}"))
            cursor = found["next"]
        return time.perf_counter() - began

    def close(self) -> None:
        self._http.close()


@dataclass(frozen=True)
class Filled:
    """A running control plane with so many executions, and some of their ids."""

    plane: ControlPlane
    ids: list[str]
    seconds: float  # that filling it took
    bytes: int


@contextlib.contextmanager
def filled(executions: int) -> Iterator[Filled]:
    folder = Path(tempfile.mkdtemp(prefix="kubiya-capacity-"))
    try:
        place = databases.place(folder)
        with ControlPlane(folder, database=place):  # it makes its tables, its key and the sample agent
            pass
        began = time.monotonic()
        ids = filled_plane.fill(place, executions, EVENTS)
        took = time.monotonic() - began
        with ControlPlane(folder, database=place) as plane:
            yield Filled(plane, ids, took, databases.size(place))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def requests_of(ids: list[str]) -> dict[str, Callable[[random.Random], str]]:
    """Return the paths of each kind of request: the page's own lists, the filters, a search, an execution."""
    agent, queue = (filled_plane.agent_of(number) for number in (3, 1_003))

    def of(query: str) -> Callable[[random.Random], str]:
        return lambda chance: f"/executions?summary=true&limit=50&{query}"

    def one(path: str) -> Callable[[random.Random], str]:
        return lambda chance: f"/executions/{chance.choice(ids)}{path}"

    return {
        "list, first page": of("cursor="),
        "list, first page, whole rows": lambda chance: "/executions",
        "list, last page": of("cursor=&order=oldest"),
        "list, last page by `skip`": of(f"skip={len(ids) - 50}"),
        "list, a page in the middle by `skip`": lambda chance: f"/executions?skip={chance.randrange(len(ids))}",
        "filter: status that few have": of("cursor=&status=running,waiting_for_input"),
        "filter: status that most have": of("cursor=&status=completed"),
        "filter: agent": of(f"cursor=&agent={agent}"),
        "filter: queue": of(f"cursor=&queue={queue}"),
        "filter: person": of("cursor=&person=person7@acme.example"),
        "filter: agent and status": of(f"cursor=&agent={agent}&status=failed"),
        "filter: queue, person and status": of(f"cursor=&queue={queue}&person=person7@acme.example&status=failed"),
        "filter: a kind that none has": of("cursor=&execution_type=team"),
        "filter: days": of("cursor=&since=2026-01-01&until=2030-01-01"),
        "filter: waits for a person": of("cursor=&waits=true"),
        "filter: beginning of an id": lambda chance: f"/executions?cursor=&id={chance.choice(ids)[:8]}",
        "text that many have": of("cursor=&text=certificate"),
        "text that one old one has": of(f"cursor=&text={filled_plane.RARE}"),
        "text that none has": of("cursor=&text=nowhere+to+be+found"),
        "text of an agent": of(f"cursor=&text={filled_plane.RARE}&agent={agent}"),
        "text in the list without a cursor": of(f"text={filled_plane.RARE}"),
        "detail": one(""),
        "events, a whole run": one("/events"),
        "events, the last ones": one(f"/events?after={EVENTS - 5}"),
    }


def cpu_of(plane: ControlPlane) -> float:
    assert plane.process is not None
    times = psutil.Process(plane.process.pid).cpu_times()
    return float(times.user + times.system)


@dataclass(frozen=True)
class Timed:
    seconds: list[float]
    health: list[float]
    cpu: float  # seconds of the server for one request


def measured(found: Filled, rounds: int) -> dict[str, Timed]:
    """Return what each kind of request took."""
    chance, took = random.Random(2), {}
    client = HttpClient(found.plane)
    for name, path in requests_of(found.ids).items():
        client.ask(path(chance))
        before = cpu_of(found.plane)
        with watched(found.plane.port) as health:
            seconds = [client.timed(path(chance)) for _ in range(rounds)]
        took[name] = Timed(seconds, health, (cpu_of(found.plane) - before) / rounds)
    client.close()
    return took


def crowded(found: Filled, writes: int) -> Timed:
    """Return what writes of an event take while others list without a rest."""
    execution = found.plane.execute()
    client = HttpClient(found.plane)
    page = "/executions?summary=true&limit=50&cursor="
    with crowd(found.plane.port, found.plane.key, LISTING, page), watched(found.plane.port) as health:
        time.sleep(1)  # until all of them ask
        before, seconds = cpu_of(found.plane), []
        for number in range(writes):
            event = {"event_id": f"e{number}", "event_type": "message_chunk", "data": {"content": "x"}}
            seconds.append(client.timed(f"/executions/{execution}/events/batch", {"events": [event]}))
            time.sleep(0.01)
        cpu = (cpu_of(found.plane) - before) / writes
    client.close()
    return Timed(seconds, health, cpu)


def whole_searches(found: Filled, rounds: int) -> list[float]:
    """Return the seconds until a search for a text has looked through all executions, page by page."""
    client = HttpClient(found.plane)
    took = [client.whole(f"text={filled_plane.RARE}") for _ in range(rounds)]
    client.close()
    return took


def measure(quick: bool) -> list[Row]:
    many, rounds = (3_000, 5) if quick else (EXECUTIONS, ROUNDS)
    with filled(min(FEW, many)) as found:
        say(f"{len(found.ids):,} executions")
        few, few_crowded = measured(found, rounds), crowded(found, rounds)
        few_whole = whole_searches(found, max(2, rounds // 10))
    with filled(many) as found:
        say(f"{many:,} executions of {EVENTS} events in {found.seconds:.0f} s, {found.bytes / 2**20:,.0f} MiB")
        here, here_crowded = measured(found, rounds), crowded(found, rounds)
        whole = whole_searches(found, max(2, rounds // 10))
    base, rows = f"{FEW:,} executions", []
    where = " on PostgreSQL" if databases.POSTGRESQL else ""
    for name, took in here.items():
        spread = Spread.of(took.seconds)
        more = {"p95": spread.p95, "cpu": took.cpu, "health_max": max(took.health)}
        say(
            f"{name}: p50 {spread.median * 1000:.1f}, p95 {spread.p95 * 1000:.1f}, max {spread.max * 1000:.1f} ms; "
            f"{took.cpu * 1000:.1f} ms of CPU; /health at most {max(took.health) * 1000:.0f} ms"
        )
        what = f"{many:,} executions{where}: {name} (p95 counts)"
        bar = below(BAR, of="p95")
        rows.append(Row("P9", what, "s", spread, base, Spread.of(few[name].seconds), f"{BAR} s", bar, more))
    health = Spread.of([each for took in here.values() for each in took.health])
    alone = Spread.of([each for took in few.values() for each in took.health])
    what = "`/health` meanwhile, of which the slowest counts"
    rows.append(Row("P9", what, "s", health, base, alone, f"{HEALTH} s", below(HEALTH, of="max")))
    what = "a search for a text that one old execution has, until all are looked through"
    rows.append(Row("P9", what, "s", Spread.of(whole), base, Spread.of(few_whole)))
    what = f"a write while {LISTING} clients list without a rest"
    rows.append(Row("P9", what, "s", Spread.of(here_crowded.seconds), base, Spread.of(few_crowded.seconds)))
    return rows


if __name__ == "__main__":
    main("capacity", __doc__, measure)
