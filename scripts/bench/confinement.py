"""Measure what the confinement adds to the start of a program: python -m scripts.bench.confinement [STARTS].

Starts /bin/true plainly and confined in turn, so that both meet the same load, and prints p50 and p95 in ms.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kubiya_worker.tools.confinement import profile, spawn, support


def started() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/true"], stdin=subprocess.DEVNULL)


def milliseconds(start: Callable[[], subprocess.Popen[bytes]]) -> float:
    began = time.perf_counter()
    process = start()
    took = time.perf_counter() - began
    process.wait()
    return took * 1000


def main(starts: int) -> None:
    support.use(support.PREFER)
    print(f"confinement: {support.line()}")
    with tempfile.TemporaryDirectory() as folder:
        limits = profile.make(Path(folder))
        spawn.confined(limits, started).wait()  # makes the ruleset, which is kept for 30 s
        pairs = [(milliseconds(started), milliseconds(lambda: spawn.confined(limits, started))) for _ in range(starts)]
    for name, times in zip(("plain", "confined"), zip(*pairs, strict=True), strict=True):
        found = sorted(times)
        print(f"{name}: p50 {found[starts // 2]:.2f} ms, p95 {found[int(starts * 0.95)]:.2f} ms of {starts}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
