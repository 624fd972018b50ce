"""This bench measures what traces cost: a run of five tool calls on a worker that sends them, and on one that does not.

Both workers run beside each other on one stack, each on a queue of its own, and take turns. The spans go to a collector
on this machine, which counts them. The worker's CPU time is measured beside the time of the run: what else the machine
does hardly changes it.
"""

from __future__ import annotations

import time

import psutil

from scripts.bench.report import Row, Spread, alternate
from scripts.bench.rig import NOTE_STEP, Rig, rig
from tests.support.collector import collector
from tests.support.demo_scripts import script
from tests.support.stack import Process

BATCH = 5  # executions of one measurement: a kernel counts CPU time in steps of 10 ms
ROUNDS = 5  # of a model call and a tool call, before the answer
SPANS = 2 * ROUNDS + 2  # with the answer's and the turn's
PROMPT = script(*[NOTE_STEP] * ROUNDS, {"text": "Done."})
OTHER = "the same, without tracing"


class Side:
    """One of the two workers. `cpu` has the CPU time of each measurement, in milliseconds for one execution."""

    def __init__(self, bench: Rig, name: str, collector: str = "") -> None:
        self._bench, self._queue = bench, bench.stack.queue(name)
        self.worker: Process = bench.stack.worker(self._queue, OTEL_EXPORTER_OTLP_ENDPOINT=collector)
        self.cpu: list[float] = []

    def run(self) -> float:
        """Return the milliseconds of one execution, of those that are measured together."""
        bench, process = self._bench, psutil.Process(self.worker.pid)
        before, began = process.cpu_times(), time.monotonic()
        for _ in range(BATCH):
            bench.run(bench.api.run(bench.agent, self._queue, PROMPT, str(bench.workspace)))
        seconds = time.monotonic() - began
        after = process.cpu_times()
        self.cpu.append((after.user + after.system - before.user - before.system) * 1000 / BATCH)
        return seconds * 1000 / BATCH


def measure(quick: bool) -> list[Row]:
    rounds, warm = (1, 1) if quick else (24, 3)
    with collector() as receiver, rig() as bench:
        traced = Side(bench, "traced", receiver.url)
        plain = Side(bench, "plain")
        here, there = alternate(rounds, traced.run, plain.run, warm=warm)
        sent = SPANS * BATCH * (rounds + warm)
        receiver.wait_for("", count=sent)
        assert len(receiver.spans) == sent, len(receiver.spans)
        cpu, plain_cpu = (Spread.of(side.cpu[warm:]) for side in (traced, plain))
        memory = [psutil.Process(side.worker.pid).memory_info().rss / 2**20 for side in (traced, plain)]
    what = f"one execution of {ROUNDS} tool calls"
    return [
        Row("Traces", f"{what}, request to done", "ms", here, OTHER, there),
        Row("Traces", f"{what}, CPU of the worker", "ms", cpu, OTHER, plain_cpu),
        Row("Traces", "memory of the worker", "MiB", Spread.of(memory[:1]), OTHER, Spread.of(memory[1:])),
    ]


if __name__ == "__main__":
    from scripts.bench.report import main

    main("tracing", __doc__, measure)
