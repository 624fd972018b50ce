"""This program calculates what a number of executions a day takes; it prints the table of docs/scaling.md.

The functions are pure. What they say is a sketch of the sizes, and no promise: other executions have other constants.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

DAY: Final = 86_400.0  # seconds
MAGNITUDES: Final = (10_000, 100_000, 1_000_000, 10_000_000)  # executions a day


@dataclass(frozen=True)
class Constants:
    """The constants are those of an execution with two model calls and a tool call, and of what serves it.

    Measured on two shared cores of an AMD EPYC, Temporal's dev server on the same host; others are assumed.
    """

    # Measured.
    worker_cpu: float = 0.030  # seconds an execution: scripts/bench/all throughput
    plane_cpu: float = 0.011  # seconds an execution, with one client that follows it: the same run
    temporal_cpu: float = 0.038  # seconds an execution: the same, at commit 5e17555
    commits: int = 7  # of the control plane for an execution: counted at commit 5e17555
    events: int = 12  # stored for an execution: GET /api/v1/executions/ID/events of one
    bytes: int = 15_000  # of the control plane's database for such an execution
    fixed_actions: int = 3  # of Temporal, beside one for each call: scripts/bench/actions.py
    heartbeat: float = 2.0  # seconds; each is an action: scripts/bench/actions.py
    sqlite_commits: float = 1_000.0  # a second: requests with one event each, at commit 5e17555
    postgres_commits: float = 260.0  # a second of one server, safe settings, PostgreSQL on the same host
    # Assumed.
    calls: int = 3
    call_seconds: float = 12.0  # of all calls of an execution
    slots: int = 50  # of a worker: MAX_CONCURRENT_ACTIVITIES
    writes: int = 5  # of Temporal's database for each action
    history: int = 12_000  # bytes of Temporal's database for an execution
    shard_writes: float = 20.0  # a second, of one history shard of Temporal
    postgres_most: float = 5_000.0  # commits a second of one PostgreSQL server with fast disks
    postgres_core: float = 1_000.0  # commits a second that one core of it makes
    peak: float = 3.0  # the busiest hour beside the mean of the day
    busy: float = 0.7  # of what is there, at the peak
    keep_days: float = 30.0  # in the control plane: --keep-executions
    temporal_days: float = 3.0  # in Temporal: the namespace's retention
    core_month: float = 30.0  # US dollars, a core with 4 GB for a month
    gigabyte_month: float = 0.12  # US dollars, a GB of database storage for a month
    million_actions: float = 50.0  # US dollars, Temporal Cloud

    @property
    def actions(self) -> float:
        """Return Temporal's actions of an execution."""
        return self.fixed_actions + self.calls + self.call_seconds / self.heartbeat


@dataclass(frozen=True)
class Size:
    """A size says what a number of executions a day takes."""

    executions: int  # a day
    at_peak: float  # executions a second
    workers: int
    worker_cores: int
    replicas: int  # of the control plane
    database: str
    commits: float  # a second at the peak, in the control plane's database
    events: float  # a second at the peak
    gigabytes: float  # of that database
    shards: int  # of Temporal's history, a power of two
    temporal_cores: int
    actions_a_second: float
    dollars_a_month: float  # own machines
    cloud_dollars_a_month: float  # Temporal Cloud's actions, in place of Temporal's own machines
    breaks_first: str


def size_for(executions: int, known: Constants) -> Size:
    """Return what so many executions a day take. Pure."""
    peak = executions / DAY * known.peak
    commits = peak * known.commits
    on_sqlite = commits <= known.sqlite_commits * known.busy and peak * known.plane_cpu <= known.busy
    by_commits = commits / (known.postgres_commits * known.busy)
    by_cpu = peak * known.plane_cpu / known.busy
    replicas = 1 if on_sqlite else max(2, math.ceil(max(by_commits, by_cpu)))
    slots = peak * known.call_seconds / known.busy
    worker_cores = max(1, math.ceil(peak * known.worker_cpu / known.busy))
    workers = max(2, math.ceil(slots / known.slots), worker_cores)
    temporal_cores = max(1, math.ceil(peak * known.temporal_cpu / known.busy))
    gigabytes = executions * known.keep_days * known.bytes / 1e9
    temporal_gigabytes = executions * known.temporal_days * known.history / 1e9
    own_cores = worker_cores + replicas + (0 if on_sqlite else max(2, math.ceil(commits / known.postgres_core)))
    own = own_cores * known.core_month + gigabytes * known.gigabyte_month
    temporal = temporal_cores * known.core_month + temporal_gigabytes * known.gigabyte_month
    return Size(
        executions=executions,
        at_peak=peak,
        workers=workers,
        worker_cores=worker_cores,
        replicas=replicas,
        database="SQLite" if on_sqlite else "PostgreSQL",
        commits=commits,
        events=peak * known.events,
        gigabytes=gigabytes,
        shards=shards_for(peak * known.actions * known.writes, known),
        temporal_cores=temporal_cores,
        actions_a_second=peak * known.actions,
        dollars_a_month=own + temporal,
        cloud_dollars_a_month=executions * 30.4 * known.actions / 1e6 * known.million_actions,
        breaks_first=breaks_first(executions, known),
    )


def shards_for(writes: float, known: Constants) -> int:
    """Return the number of history shards, which cannot be changed later: a power of two, at least 4. Pure."""
    power = math.ceil(math.log2(max(1.0, writes / known.shard_writes)))
    return max(4, 1 << power)


def limits(known: Constants) -> dict[str, float]:
    """Return the executions a day, with this peak, at which each part is full. Pure."""
    a_day = DAY / known.peak
    return {
        "the slots of two workers": 2 * known.slots * known.busy / known.call_seconds * a_day,
        "SQLite, or the one core of its server": a_day
        * known.busy
        * min(1 / known.plane_cpu, known.sqlite_commits / known.commits),
        "the disks of one PostgreSQL": a_day * known.busy * known.postgres_most / known.commits,
    }


def breaks_first(executions: int, known: Constants) -> str:
    """Return the first part that is full if the number grows and nothing is added but workers. Pure."""
    ahead = {name: most for name, most in limits(known).items() if most >= executions}
    if not ahead:
        return "the disks of one PostgreSQL: beyond it, a control plane for each part of the organization"
    name = min(ahead, key=lambda each: ahead[each])
    return f"{name}, at {ahead[name] / 1e6:.2g} million a day"


HEADS: Final = (
    "executions a day",
    "at the peak, a second",
    "workers (cores)",
    "control plane",
    "its commits; events a second at the peak",
    "its data",
    "Temporal: shards; cores",
    "own machines, $ a month",
    "or Temporal Cloud's actions, $ a month",
    "full first",
)


def cells(size: Size) -> list[str]:
    servers = f"{size.replicas} with {size.database}"
    return [
        f"{size.executions:,}",
        f"{size.at_peak:.3g}",
        f"{size.workers:,} ({size.worker_cores})",
        servers,
        f"{size.commits:,.0f}; {size.events:,.0f}",
        f"{size.gigabytes:,.0f} GB",
        f"{size.shards:,}; {size.temporal_cores}",
        f"{size.dollars_a_month:,.0f}",
        f"{size.cloud_dollars_a_month:,.0f}",
        size.breaks_first,
    ]


def table(magnitudes: Sequence[int] = MAGNITUDES, known: Constants | None = None) -> str:
    """Return the table in Markdown."""
    rows = [list(HEADS), ["---"] * len(HEADS)]
    rows += [cells(size_for(each, known or Constants())) for each in magnitudes]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    print(table())
