"""P3: what a step costs, a model call or a tool call, beside a regular activity of a bare Temporal worker.

Both as the slope between a short run and a long one, so that the beginning and the end do not count. Our steps are
model calls of the instant model in turn with calls of a real tool that reads a small file; every step publishes its
events. The bare activity returns what it was given.
"""

from __future__ import annotations

from scripts.bench.report import Row, alternate, at_most, main
from scripts.bench.rig import NOTE_STEP, rig
from tests.support.demo_scripts import script

SHORT, LONG = 1, 11  # rounds of a model call and a tool call: 2 and 22 steps


def prompt(rounds: int) -> str:
    return script(*[NOTE_STEP] * rounds, {"text": "Done."})


def measure(quick: bool) -> list[Row]:
    with rig() as bench:
        bench.start()
        steps = 2 * (LONG - SHORT)

        def ours() -> float:
            short, long = (bench.run(bench.execute(prompt(rounds))) for rounds in (SHORT, LONG))
            return (long - short) / steps * 1000

        def bare() -> float:
            short, long = (bench.run(bench.execute_bare("R" * (2 * rounds + 1))) for rounds in (SHORT, LONG))
            return (long - short) / steps * 1000

        here, there = alternate(1 if quick else 15, ours, bare, warm=0 if quick else 2)
    bar = "at most 1.15 times a bare activity"
    return [Row("P3", "one step", "ms", here, "one activity of a bare worker", there, bar, at_most(1.15))]


if __name__ == "__main__":
    main("step", __doc__, measure)
