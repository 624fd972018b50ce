"""Measure the CPU time and bytes of encrypted and compressed payloads against the same run without them.

The run is of eleven rounds: a model call and a call of a real tool that reads a file of 6 kB of log lines. Time is that
of the worker's process, user and system, so that other work of the machine counts little; bytes are the raw history.
"""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psutil

from scripts.bench.report import Row, Spread, alternate, main, say
from scripts.bench.rig import NOTE_STEP, Rig, rig
from tests.support.demo_scripts import script

ROUNDS = 11
STEPS = 2 * ROUNDS + 1
LINES = 100
KEYS, ZLIB = "KUBIYA_PAYLOAD_KEYS_FILE", "KUBIYA_PAYLOAD_COMPRESSION"


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the processes that are started in the meantime."""
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]


def log_lines() -> str:
    levels = ("info", "warning", "error")
    return "".join(
        f"2026-11-24T10:{n % 60:02}:07Z {levels[n % 3]} request id={n * 7919 % 100_003:05} took {n * 31 % 997} ms\n"
        for n in range(LINES)
    )


def prompt(rounds: int) -> str:
    return script(*[NOTE_STEP] * rounds, {"text": "Done."})


async def history_bytes(bench: Rig) -> int:
    """Return the size in bytes of the largest history, which is that of a long run."""
    sizes = [w.raw_info.history_size_bytes async for w in bench.temporal.list_workflows()]
    return max(sizes)


def measure(quick: bool) -> list[Row]:
    rows: list[Row] = []
    with ExitStack() as opened:
        rigs: dict[str, Rig] = {}
        variants = {"plain": {}, "zlib": {ZLIB: "zlib"}, "AES-256-GCM": {KEYS: "1"}, "both": {ZLIB: "zlib", KEYS: "1"}}
        for name, variables in variants.items():
            if KEYS in variables:
                path = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="kubiya-bench-"))) / "keys"
                path.touch(0o600)
                path.write_text(f"bench {base64.b64encode(os.urandom(32)).decode()}\n")
                variables = {**variables, KEYS: str(path)}
            say(name)
            with environment(variables):
                rigs[name] = opened.enter_context(rig())
                rigs[name].start()
            (rigs[name].workspace / "note").write_text(log_lines())

        def step(name: str) -> float:
            """Milliseconds of CPU."""
            bench = rigs[name]
            assert bench.worker is not None
            worker = psutil.Process(bench.worker.pid)
            before = sum(worker.cpu_times()[:2])
            bench.run(bench.execute(prompt(ROUNDS)))
            return (sum(worker.cpu_times()[:2]) - before) / STEPS * 1000

        for name in list(variants)[1:]:
            say(name)
            take, plain = partial(step, name), partial(step, "plain")
            here, there = alternate(1 if quick else 10, take, plain, warm=0 if quick else 1)
            rows.append(Row("", f"CPU of the worker for a step, {name}", "ms", here, "plain", there))
        size = {name: float(bench.run(history_bytes(bench))) for name, bench in rigs.items()}
        for name in list(variants)[1:]:
            here, there = Spread.of([size[name]]), Spread.of([size["plain"]])
            rows.append(Row("", f"history of {STEPS} steps, {name}", "bytes", here, "plain", there))
    return rows


if __name__ == "__main__":
    main("payloads", __doc__, measure)
