"""P5: 50 concurrent executions on one worker, beside a bare Temporal worker that makes the same calls.

An execution is: begin (local activity), model call, tool call that reads a small file, model call (three regular
activities), end of the turn (local). The bare workflow makes the same number of each, one after the other. Everything
shares this machine: Temporal's server, the control plane with its database, the worker, and the client, which follows
every execution's event stream.
"""

from __future__ import annotations

import psutil

from scripts.bench.report import Row, alternate, at_least, main
from scripts.bench.rig import NOTE_STEP, Rig, rig
from tests.support.demo_scripts import script
from tests.support.stack import Process

STEPS = "LRRRL"
AT_ONCE = 50
SLOTS = 50  # for both workers


def seconds_of(process: Process | None) -> float:
    """CPU time that a process has used."""
    assert process is not None
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


def measure(quick: bool) -> list[Row]:
    total = 10 if quick else 150
    with rig(slots=SLOTS) as bench:
        bench.start()
        before = cpu(bench)
        prompt = script(NOTE_STEP, {"text": "Done."})

        def ours() -> float:
            return total / bench.run(bench.many(total, AT_ONCE, lambda: bench.execute(prompt)))

        def bare() -> float:
            return total / bench.run(bench.many(total, AT_ONCE, lambda: bench.execute_bare(STEPS)))

        rounds, warm = (1, 0) if quick else (5, 1)
        here, there = alternate(rounds, ours, bare, warm=warm)
        runs = total * (rounds + warm)
        spent = {name: round((used - before[name]) / runs * 1000, 1) for name, used in cpu(bench).items()}
    bar = "at least 0.9 times a bare worker"
    more = {"cpu_ms_per_execution": spent}
    what = f"{AT_ONCE} executions at once: throughput"
    return [Row("P5", what, "executions/s", here, "the same calls, bare worker", there, bar, at_least(0.9), more)]


def cpu(bench: Rig) -> dict[str, float]:
    """Return the CPU seconds of all processes except Temporal's server, which works for both workers."""
    parts = {"worker": bench.worker, "control_plane": bench.stack.server, "bare_worker": bench.bare}
    return {name: seconds_of(process) for name, process in parts.items()}


if __name__ == "__main__":
    main("throughput", __doc__, measure)
