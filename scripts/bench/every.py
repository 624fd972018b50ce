"""Every bench in turn; prints the machine and one table in Markdown, ready for docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

from scripts.bench.report import Row, Spread, facts_line, machine, markdown, say

BENCHES = (
    *("startup", "first_run", "execution", "step", "first_token", "throughput", "long_run", "wide_team"),
    *("rolling", "scale_out", "actions", "install", "caching", "mcp", "recovery", "authority", "page", "fan_out"),
    *("capacity", "confinement", "tracing"),
)


def row_of(raw: dict[str, Any]) -> Row:
    """A row as `Row.wire` wrote it."""
    ours, base = (Spread(**raw[name]) if raw[name] else None for name in ("ours", "baseline"))
    assert ours is not None
    verdict = raw["met"]
    texts = (raw["figure"], raw["what"], raw["unit"])
    return Row(*texts, ours, raw["baseline_is"], base, raw["bar"], None if verdict is None else lambda *_: verdict)


def run(name: str, quick: bool) -> dict[str, Any] | None:
    """A bench in a process of its own; None, with its words on stderr, when it fails."""
    argv = [sys.executable, "-m", f"scripts.bench.{name}", "--json", *(["--quick"] if quick else [])]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        say(f"{name} failed with exit code {done.returncode}")
        return None
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench/all", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="BENCH", help=f"only these: {', '.join(BENCHES)}")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each bench")
    parser.add_argument("--quick", action="store_true", help="see that they work; the figures mean nothing")
    options = parser.parse_args()
    unknown = set(options.names) - set(BENCHES)
    if unknown:
        parser.error(f"no such bench: {', '.join(sorted(unknown))}")
    facts, rows, failed = machine(), [], 0
    for name in options.names or BENCHES:
        say(name)
        found = run(name, options.quick)
        if found is None:
            failed += 1
        elif options.json:
            print(json.dumps(found), flush=True)
        else:
            rows += [row_of(raw) for raw in found["rows"]]
    if not options.json:
        print(facts_line(facts) + ("; QUICK: the figures mean nothing" if options.quick else ""))
        print(f"\n{markdown(rows)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
