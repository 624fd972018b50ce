"""P2: one execution with an instant model, from POST execute to the `done` event, as a client sees it.

Baseline: the same structure on a bare Temporal worker on the same server: a local activity, a regular one, a local one.
"""

from __future__ import annotations

from scripts.bench.report import Row, alternate, at_most, main
from scripts.bench.rig import rig
from tests.support.demo_scripts import script

STEPS = "LRL"  # begin, the model call, the end of the turn


def measure(quick: bool) -> list[Row]:
    with rig() as bench:
        bench.start()
        prompt = script({"text": "Done."})
        ours, bare = alternate(
            2 if quick else 40,
            lambda: bench.run(bench.execute(prompt)),
            lambda: bench.run(bench.execute_bare(STEPS)),
            warm=1 if quick else 5,
        )
    return [
        Row(
            "P2",
            "one execution, request to done",
            "s",
            ours,
            "bare workflow with one activity and two local ones",
            bare,
            "at most 1.05 times a bare workflow",
            at_most(1.05),
        )
    ]


if __name__ == "__main__":
    main("execution", __doc__, measure)
