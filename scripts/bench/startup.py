"""P1: how soon a worker works, what it loads, and the memory that it takes, before its first task and after many.

First poll: from the start of the process (`kubiya worker start`) until Temporal lists pollers of both kinds for the
queue. Baselines: a bare Temporal worker, started the same way; `import temporalio.worker`; the memory of the bare
worker after the same number of workflows.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import time

import psutil
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

from scripts.bench.report import Row, Spread, alternate, at_most, below, main, say
from scripts.bench.rig import Rig, rig
from tests.support.demo_scripts import script
from tests.support.stack import BIN, Process

MIB = 2**20
KINDS = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
LOOK_EVERY = 0.01  # seconds between questions to Temporal
SETTLED, MANY = 200, 1000  # executions
AT_ONCE = 8
FIRST_POLL = "at most 1.6 times a bare worker"
GROWTH = 8.0  # MiB between SETTLED and MANY executions that count as flat: allocators keep a little


async def polled(bench: Rig, queue: str) -> None:
    """Wait until a worker has polled Temporal for both kinds of tasks of a queue."""
    for kind in KINDS:
        request = DescribeTaskQueueRequest(namespace="default", task_queue=TaskQueue(name=queue), task_queue_type=kind)
        while not (await bench.temporal.workflow_service.describe_task_queue(request)).pollers:
            await asyncio.sleep(LOOK_EVERY)


class Starts:
    """Starts workers on queues of their own, and keeps the memory that each took before its first task."""

    def __init__(self, bench: Rig) -> None:
        self._bench = bench
        self._number = itertools.count(1)
        self.memory: dict[str, list[float]] = {"ours": [], "bare": []}

    def ours(self) -> float:
        queue = self._bench.stack.queue(f"start-{next(self._number)}")
        argv = [str(BIN / "kubiya"), "worker", "start", "--queue-id", queue]
        environment = self._bench.stack.worker_environment()
        began = time.monotonic()
        process = self._bench.stack.start(argv, environment)
        return self._finish("ours", process, queue, began, "worker.ready")

    def bare(self) -> float:
        queue = f"bare-{next(self._number)}"
        began = time.monotonic()
        return self._finish("bare", self._bench.start_bare(queue), queue, began, "bare.started")

    def _finish(self, name: str, process: Process, queue: str, began: float, ready: str) -> float:
        self._bench.run(asyncio.wait_for(polled(self._bench, queue), 60))
        took = time.monotonic() - began
        process.expect(ready)
        self.memory[name].append(memory(process))
        process.kill()
        return took


def memory(process: Process) -> float:
    """Resident, in MiB."""
    return psutil.Process(process.pid).memory_info().rss / MIB


def import_seconds(modules: str) -> float:
    """Return the seconds that an import takes in a fresh interpreter, measured inside of it.

    Without rich: an installed worker does not have it, and structlog loads it where a developer's tools brought it.
    """
    code = (
        "import sys, time; sys.modules['rich'] = None; began = time.perf_counter(); "
        f"import {modules}; print(time.perf_counter() - began)"
    )
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def growth(bench: Rig, quick: bool) -> tuple[float, float, dict[str, list[float]]]:
    """MiB that each worker has gained between SETTLED and MANY executions, and the whole curves."""
    steps = [4, 8] if quick else [*range(SETTLED, MANY + 1, SETTLED)]
    prompt = script({"text": "Done."})
    assert bench.worker is not None and bench.bare is not None
    curves: dict[str, list[float]] = {"ours": [memory(bench.worker)], "bare": [memory(bench.bare)]}
    for before, upto in itertools.pairwise([0, *steps]):
        bench.run(bench.many(upto - before, AT_ONCE, lambda: bench.execute(prompt)))
        bench.run(bench.many(upto - before, AT_ONCE, lambda: bench.execute_bare("LRL")))
        curves["ours"].append(memory(bench.worker))
        curves["bare"].append(memory(bench.bare))
    gained = {name: curve[-1] - curve[1] for name, curve in curves.items()}
    shown = {name: [round(x, 1) for x in curve] for name, curve in curves.items()}
    return gained["ours"], gained["bare"], shown


def measure(quick: bool) -> list[Row]:
    imports = alternate(
        1 if quick else 9,
        lambda: import_seconds("kubiya_worker.process.main, kubiya_worker.process.lifecycle"),
        lambda: import_seconds("temporalio.worker"),
    )
    with rig() as bench:
        starts = Starts(bench)
        first_poll = alternate(1 if quick else 9, starts.ours, starts.bare)
        bench.start(LOG_LEVEL="DEBUG")
        assert bench.worker is not None
        # It is loaded once the worker is quiet: within the growth it would be taken for one, of some 35 MiB.
        bench.worker.expect("worker.mcp_client_loaded")
        say("memory over many executions")
        ours, bare, curves = growth(bench, quick)
    fresh = {name: Spread.of(values) for name, values in starts.memory.items()}
    gain = f"memory gained from execution {SETTLED} to {MANY}"
    worker = "bare Temporal worker"
    flat = {"curve_mib": curves, "executions": [0, 4, 8] if quick else [0, *range(SETTLED, MANY + 1, SETTLED)]}
    return [
        Row(
            "P1",
            "worker start to first poll, warm",
            "s",
            first_poll[0],
            worker,
            first_poll[1],
            FIRST_POLL,
            at_most(1.6),
        ),
        Row("P1", "the worker's imports", "s", imports[0], "temporalio.worker", imports[1], "< 0.8 s", below(0.8)),
        Row("P1", "memory before the first task", "MiB", fresh["ours"], worker, fresh["bare"], "< 90 MB", below(85.8)),
        Row("P1", gain, "MiB", Spread.of([ours]), worker, Spread.of([bare]), "flat", below(GROWTH), flat),
    ]


if __name__ == "__main__":
    main("startup", __doc__, measure)
