"""scripts/bench/chaos: see the package."""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import sys
import threading
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.chaos.run import REPLICAS, Report, run
from tests.support import postgres


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench/chaos", description="Random faults while executions run, and the laws that must hold."
    )
    parser.add_argument("--faults", type=int, default=200, help="how many (200: about an hour on a busy machine)")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite", help="of the control plane")
    parser.add_argument("--replicas", type=int, default=1, help="control planes behind a load balancer (postgresql: 2)")
    parser.add_argument("--seed", type=int, help="of the plan (a random one)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout; the run itself goes to stderr")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs, databases and evidence in a new folder")
    options = parser.parse_args()
    if options.faults < 1:
        parser.error("--faults must be at least 1")
    if (options.database, options.replicas) not in (("sqlite", 1), ("postgresql", REPLICAS)):
        parser.error(f"there is one control plane with SQLite, and {REPLICAS} with --database postgresql")
    if options.replicas > 1 and postgres.programs() is None:
        parser.error("PostgreSQL is not installed (apt-get install postgresql)")
    if options.keep is not None and options.keep.exists():
        parser.error(f"{options.keep} exists already")
    seed = options.seed if options.seed is not None else random.randrange(1_000_000)
    out = sys.stderr if options.json else sys.stdout

    def say(text: str) -> None:
        print(text, file=out, flush=True)

    say(f"{options.faults} faults, seed {seed}")
    ending = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.set())  # in the middle of a fault things would stay broken
    keep = options.keep.absolute() if options.keep else None
    report = run(options.faults, seed, say, ending, keep, replicas=options.replicas)
    if options.json:
        print(json.dumps(wire(report)))
    for text in summary(report):
        say(text)
    return 1 if report.broken else 0


def wire(report: Report) -> dict[str, Any]:
    return {
        "seed": report.seed,
        "replicas": report.replicas,
        "broken": report.broken,
        "seconds": round(report.seconds, 1),
        "executions": report.executions,
        "undisturbed": round(report.undisturbed, 3),
        "recovery": {kind: spread(times) for kind, times in by_kind(report).items()},
        "faults": [asdict(outcome) for outcome in report.outcomes],
        "laws": [{**vars(verdict), "notes": dict(verdict.notes)} for verdict in report.verdicts],
        "skipped": report.skipped,
    }


def by_kind(report: Report) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for outcome in report.outcomes:
        if not outcome.missed:
            found["all"].append(outcome.recovery)
            found[outcome.fault.kind].append(outcome.recovery)
    return found


def spread(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    found = {"median": statistics.median(ordered), "p95": p95, "max": ordered[-1]}
    return {"n": len(ordered), **{name: round(value, 2) for name, value in found.items()}}


def summary(report: Report) -> list[str]:
    lines = ["", f"{'recovery, s':26}{'n':>4}{'median':>9}{'p95':>8}{'max':>8}"]
    for kind, times in sorted(by_kind(report).items(), key=lambda item: (item[0] != "all", item[0])):
        of = spread(times)
        lines.append(f"{kind:26}{of['n']:4}{of['median']:9.1f}{of['p95']:8.1f}{of['max']:8.1f}")
    missed = sum(outcome.missed for outcome in report.outcomes)
    lines += [
        "",
        f"{report.executions} executions, {report.seconds / 60:.1f} min" + (f", {missed} missed" if missed else ""),
    ]
    for verdict in report.verdicts:
        notes = "; ".join(f"{name}: {count}" for name, count in sorted(verdict.notes.items()))
        lines.append(
            f"{'BROKEN' if verdict.breaches else 'held':7}{verdict.tried:7} {verdict.law}"
            + (f" ({notes})" if notes else "")
        )
        lines += [f"         {breach}" for breach in verdict.breaches[:10]]
    if report.broken:
        several = f" --database postgresql --replicas {report.replicas}" if report.replicas > 1 else ""
        lines += [
            "",
            "A law is broken. Again: scripts/bench/chaos "
            f"--faults {len(report.outcomes)} --seed {report.seed}{several}",
        ]
    return lines


if __name__ == "__main__":
    sys.exit(main())
