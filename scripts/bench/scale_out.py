"""Scale-out: 1, 2 and 4 workers on one queue. Throughput, what each worker did, and what the machine was busy with.

Twice: with a model that takes 1 s, where slots are the limit (2 of them for each worker), and with an instant model,
where the machine is: Temporal, the control plane, the workers and the client share it. An execution is two model calls
and a tool call that reads a small file. Baseline: one worker.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import psutil

from scripts.bench.report import Row, Spread, main, say
from scripts.bench.rig import NOTE_STEP, Rig, rig
from tests.support.demo_scripts import script
from tests.support.stack import Process

SIZES = (1, 2, 4)
LINEAR = 0.9  # of the number of workers, where slots are the limit
SLOW = 1000  # ms that each of the two model calls takes
SLOTS = 2  # of each worker, with the slow model
EACH = 16  # executions for each worker, with the slow model
MANY = 120  # executions, with the instant model
AT_ONCE = 40


def measure(quick: bool) -> list[Row]:
    rows = []
    sizes = SIZES[:2] if quick else SIZES
    for slow in (True, False):
        base: Spread | None = None
        for size in sizes:
            rates, more = _rate(size, slow=slow, quick=quick)
            ours = Spread.of(rates)
            base = base or ours
            kind = f"{SLOTS} slots each, a model of {SLOW / 1000:g} s" if slow else "an instant model"
            what = f"{size} workers, {kind}" if size > 1 else f"1 worker, {kind}"
            wanted = LINEAR * size
            bar = f"at least {wanted:.1f} times one worker" if slow and size > 1 else ""
            met = (lambda o, b, w=wanted: b is not None and o.median >= w * b.median) if bar else None
            rows.append(Row("scale-out", what, "executions/s", ours, "1 worker", base, bar, met, more))
            say(f"{what}: {ours.median:.2f}/s {more}")
    return rows


def _rate(size: int, *, slow: bool, quick: bool) -> tuple[list[float], dict[str, Any]]:
    """Executions a second of each round, and the facts of the last one."""
    rounds, total = (1, 4 * size) if quick else (3, EACH * size if slow else MANY)
    slots = SLOTS if slow else 50
    at_once = slots * size * 2 if slow else AT_ONCE  # as many wait as run
    delay = {"delay_ms": SLOW} if slow else {}
    first = {**NOTE_STEP, "text": "Look.", **delay}
    prompt = script(first, {"text": "Done.", **delay})
    with rig(slots=slots) as bench:
        workers = [bench.stack.worker(bench.queue, MAX_CONCURRENT_ACTIVITIES=str(slots)) for _ in range(size)]
        bench.run(bench.many(2 * size, 2 * size, lambda: bench.execute(prompt)))  # each has loaded what it needs
        made: list[str] = []

        async def one() -> float:
            execution = await bench.api.execute(bench.agent, bench.queue, prompt, str(bench.workspace))
            made.append(execution)
            assert await bench.api.done(execution) == "completed"
            return 0.0

        rates = []
        for _ in range(rounds):
            made.clear()
            before, began = _busy(bench, workers), time.monotonic()
            rates.append(total / bench.run(bench.many(total, at_once, one)))
            took, after = time.monotonic() - began, _busy(bench, workers)
        steps = bench.run(_steps(bench, made))
        cores = {name: round((after[name] - before[name]) / took, 2) for name in after}
    shares = sorted(steps.values(), reverse=True)
    fair = round(min(shares) / max(shares), 2) if len(shares) == size else 0.0
    return rates, {"steps_per_worker": shares, "least_by_most": fair, "busy_cores": cores}


async def _steps(bench: Rig, executions: list[str]) -> Counter[str]:
    """Model and tool calls by worker, as the histories have them."""
    found: Counter[str] = Counter()

    async def count(execution: str) -> None:
        history = await bench.temporal.get_workflow_handle(f"agent-execution-{execution}").fetch_history()
        for event in history.events:
            if event.HasField("activity_task_started_event_attributes"):
                found[event.activity_task_started_event_attributes.identity] += 1

    await asyncio.gather(*map(count, executions))
    return found


def _busy(bench: Rig, workers: list[Process]) -> dict[str, float]:
    """Seconds of CPU time so far, by part."""
    parts: dict[str, Sequence[Process | None]] = {
        "temporal": [bench.stack.temporal],
        "control_plane": [bench.stack.server],
        "workers": workers,
    }
    spent = {name: sum(_seconds(process) for process in some) for name, some in parts.items()}
    own = psutil.Process().cpu_times()
    return {**spent, "client": own.user + own.system}


def _seconds(process: Process | None) -> float:
    assert process is not None
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    main("scale_out", __doc__, measure)
