"""P3: what a step costs, a model call or a tool call, beside a regular activity of a bare Temporal worker.

Both as the slope between a short run and a long one, so that the beginning and the end do not count. Our steps are
model calls of the instant model in turn with calls of a real tool; every step publishes its events. The bare activity
returns what it was given. The tool of the first row searches files, by an activity; that of the second reads a file,
which is brief (`ToolSpec.brief`) and needs none.
"""

from __future__ import annotations

from functools import partial

from scripts.bench.report import Met, Row, alternate, at_most, main
from scripts.bench.rig import NOTE_STEP, Step, rig
from tests.support.demo_scripts import script

SHORT, LONG = 1, 11  # rounds of a model call and a tool call: 2 and 22 steps


SEARCH_STEP: Step = {"tools": [{"name": "search_files", "arguments": {"pattern": "note"}}]}
BAR = "at most 1.15 times a bare activity"


def prompt(step: Step, rounds: int) -> str:
    return script(*[step] * rounds, {"text": "Done."})


def measure(quick: bool) -> list[Row]:
    with rig() as bench:
        bench.start()
        steps = 2 * (LONG - SHORT)

        def ours(step: Step) -> float:
            short, long = (bench.run(bench.execute(prompt(step, rounds))) for rounds in (SHORT, LONG))
            return (long - short) / steps * 1000

        def bare() -> float:
            short, long = (bench.run(bench.execute_bare("R" * (2 * rounds + 1))) for rounds in (SHORT, LONG))
            return (long - short) / steps * 1000

        def row(what: str, step: Step, bar: str = "", met: Met | None = None) -> Row:
            here, there = alternate(1 if quick else 15, partial(ours, step), bare, warm=0 if quick else 2)
            return Row("P3", what, "ms", here, "one activity of a bare worker", there, bar, met)

        return [
            row("one step", SEARCH_STEP, BAR, at_most(1.15)),
            row("one step, where each second one is a brief tool's", NOTE_STEP),
        ]


if __name__ == "__main__":
    main("step", __doc__, measure)
