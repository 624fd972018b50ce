"""The report of a bench: rows of a figure and its baseline, with their spread, for people and for machines."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Spread:
    """A series of measurements in few numbers."""

    median: float
    min: float
    max: float
    p95: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        ordered = sorted(values)
        at = max(0, -(-len(ordered) * 95 // 100) - 1)  # nearest rank
        return cls(statistics.median(ordered), ordered[0], ordered[-1], ordered[at], len(ordered))


Met = Callable[[Spread, Spread | None], bool]  # whether a figure, beside its baseline, meets its bar


@dataclass(frozen=True)
class Row:
    """One figure. `bar` is met when `met`, a function of (ours, baseline), says so; None is a figure without a bar."""

    figure: str  # its name in the bar, e.g. P1
    what: str
    unit: str
    ours: Spread
    baseline_is: str = ""
    baseline: Spread | None = None
    bar: str = ""
    met: Met | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        return self.ours.median / self.baseline.median if self.baseline and self.baseline.median else None

    @property
    def is_met(self) -> bool | None:
        return self.met(self.ours, self.baseline) if self.met else None

    def wire(self) -> dict[str, Any]:
        names = ("figure", "what", "unit", "baseline_is", "bar")
        return {name: getattr(self, name) for name in names} | {
            "ours": vars(self.ours),
            "baseline": vars(self.baseline) if self.baseline else None,
            "ratio": round(self.ratio, 3) if self.ratio is not None else None,
            "met": self.is_met,
            **self.more,
        }


def below(limit: float, *, of: str = "median") -> Met:
    return lambda ours, _: bool(getattr(ours, of) < limit)


def at_most(ratio: float) -> Met:
    """Return a check that the figure is at most `ratio` times the baseline."""
    return lambda ours, base: base is not None and ours.median <= ratio * base.median


def at_least(ratio: float) -> Met:
    return lambda ours, base: base is not None and ours.median >= ratio * base.median


def machine() -> dict[str, Any]:
    """Describe the machine on which the figures were measured."""
    import psutil

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "temporalio": version("temporalio"),
        "load": [round(x, 1) for x in os.getloadavg()],
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 1 else f"{value:.3f}"


def cells(row: Row) -> list[str]:
    def spread(s: Spread | None) -> str:
        if s is None:
            return "-"
        return number(s.median) + (f" ({number(s.min)} to {number(s.max)}, n={s.count})" if s.count > 1 else "")

    verdict = {True: "met", False: "**missed**", None: ""}[row.is_met]
    base = f"{spread(row.baseline)} · {row.baseline_is}" if row.baseline else row.baseline_is or "-"
    ratio = f"{row.ratio:.2f}" if row.ratio is not None else "-"
    return [row.figure, row.what, row.unit, spread(row.ours), base, ratio, row.bar, verdict]


HEADS = ["", "figure", "unit", "median (min to max)", "baseline", "ratio", "bar", ""]


def markdown(rows: Sequence[Row]) -> str:
    lines = [HEADS, ["---"] * len(HEADS), *map(cells, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def text(rows: Sequence[Row]) -> str:
    """Return the report for a terminal, one block for each row."""
    out = []
    for row in rows:
        figure, what, unit, ours, base, ratio, bar, verdict = cells(row)
        p95 = f", p95 {number(row.ours.p95)}" if row.ours.count >= 20 else ""
        out.append(f"{figure}  {what}, {unit}")
        out.append(f"    here      {ours}{p95}")
        out.append(f"    baseline  {base}" + (f"   here/baseline {ratio}" if row.ratio is not None else ""))
        if bar:
            out.append(f"    bar       {bar}: {verdict.strip('*')}")
    return "\n".join(out)


def say(line: str) -> None:
    """Progress, beside the result."""
    print(f"bench: {line}", file=sys.stderr, flush=True)


def facts_line(facts: dict[str, Any]) -> str:
    return (
        f"{facts['date']}, {facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, {facts['system']}, "
        f"Python {facts['python']}, temporalio {facts['temporalio']}, load {facts['load'][0]} before the run"
    )


def main(name: str, doc: str | None, measure: Callable[[bool], list[Row]]) -> None:
    """The command line of a bench. `measure(quick)`; quick is a check of the bench, its figures mean nothing."""
    parser = argparse.ArgumentParser(
        prog=f"scripts/bench/{name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON on stdout")
    parser.add_argument("--quick", action="store_true", help="as little as it takes to see that the bench works")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed worker has its bytecode
    facts, began = machine(), time.monotonic()
    rows = measure(options.quick)
    seconds = round(time.monotonic() - began, 1)
    if options.json:
        line = {"bench": name, "machine": facts, "quick": options.quick, "seconds": seconds}
        print(json.dumps({**line, "rows": [row.wire() for row in rows]}))
    else:
        print(f"{name}: {facts_line(facts)}; took {seconds:g} s")
        print(text(rows))


def alternate(
    rounds: int, ours: Callable[[], float], baseline: Callable[[], float], *, warm: int = 1
) -> tuple[Spread, Spread]:
    """Pairs, one after the other and each time the other one first: what else the machine does hits both."""
    for _ in range(warm):
        baseline()
        ours()
    here: list[float] = []
    there: list[float] = []
    for n in range(rounds):
        for take, kept in [(ours, here), (baseline, there)][:: 1 if n % 2 else -1]:
            kept.append(take())
    return Spread.of(here), Spread.of(there)
