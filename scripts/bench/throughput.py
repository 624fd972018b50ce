"""P5: 50 concurrent executions on one worker, beside a bare Temporal worker that makes the same calls.

An execution is: begin, model call, tool call that reads a small file, model call, end of the turn. The bare workflow
makes as many calls, one after the other: the first and the last by local activities, the others by regular ones. In the
second row its third call is local too, as our tool call is since `ToolSpec.brief`. Everything shares this machine:
Temporal's server, the control plane with its database, the worker, and the client, which follows every execution's
event stream.
"""

from __future__ import annotations

from functools import partial

import psutil

from scripts.bench.report import Row, alternate, at_least, main
from scripts.bench.rig import NOTE_STEP, Rig, rig
from tests.support.demo_scripts import script
from tests.support.stack import Process

STEPS = {"the same calls, bare worker": "LRRRL", "the same, its tool call by a local activity": "LRLRL"}
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

        def bare(steps: str) -> float:
            return total / bench.run(bench.many(total, AT_ONCE, lambda: bench.execute_bare(steps)))

        rounds, warm = (1, 0) if quick else (5, 1)
        rows: list[Row] = []
        for baseline, steps in STEPS.items():
            here, there = alternate(rounds, ours, partial(bare, steps), warm=warm)
            runs = total * (rounds + warm)
            spent = {name: round((used - before[name]) / runs * 1000, 1) for name, used in cpu(bench).items()}
            before = cpu(bench)
            bar, met = ("at least 0.9 times a bare worker", at_least(0.9)) if not rows else ("", None)
            more = {"cpu_ms_per_execution": spent}
            what = f"{AT_ONCE} executions at once: throughput"
            rows.append(Row("P5", what, "executions/s", here, baseline, there, bar, met, more))
    return rows


def cpu(bench: Rig) -> dict[str, float]:
    """Return the CPU seconds of all processes except Temporal's server, which works for both workers."""
    parts = {"worker": bench.worker, "control_plane": bench.stack.server, "bare_worker": bench.bare}
    return {name: seconds_of(process) for name, process in parts.items()}


if __name__ == "__main__":
    main("throughput", __doc__, measure)
