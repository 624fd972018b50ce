"""P10: how long the page takes to show a run of 20,000 events and an output of 5 MB, in a real browser.

The baseline is the same page before a run of one step: what the browser and the control plane take for any run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.bench.report import Row, Spread, alternate, below, main
from tests.support import big_runs
from tests.support.browser import chromium, sign_in
from tests.support.stack import Stack

OUTPUT = 5_000_000  # characters


def measure(quick: bool) -> list[Row]:
    steps, rounds = (200, 1) if quick else (2000, 7)
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder)) as stack, chromium() as browser:
        stack.worker()
        runs = [_run(stack, big_runs.steps(steps)), _run(stack, big_runs.steps(1))]
        long, short = (_run(stack, big_runs.call("shell", {}, big_runs.long_output(size))) for size in (OUTPUT, 500))
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        sign_in(page, stack)
        nodes: tuple[list[float], list[float]] = ([], [])

        def opened(number: int) -> float:
            last = f"Step {(steps, 1)[number] - 1}:"
            took = _open(page, stack, runs[number], page.locator(".message.assistant", has_text=last).wait_for)
            nodes[number].append(page.evaluate(big_runs.NODES))
            return took

        def output(execution: str) -> float:
            def shown() -> None:
                page.locator(".tool summary").first.click()
                page.locator(".tool .output", has_text="line 0000000").first.wait_for()

            return _open(page, stack, execution, shown)

        events = alternate(rounds, lambda: opened(0), lambda: opened(1))
        outputs = alternate(rounds, lambda: output(long), lambda: output(short))
    here, there = map(Spread.of, nodes)
    one, small = "a run of one step", "an output of 500 characters"
    name = f"a run of {10 * steps:,} events"
    return [
        Row(
            "P10", f"{name}: from the address until its end is seen", "s", events[0], one, events[1], "< 2 s", below(2)
        ),
        Row("P10", f"{name}: nodes in the document", "", here, one, there, "under 3,000", below(3000)),
        Row("P10", "an output of 5 MB: until it is seen", "s", outputs[0], small, outputs[1], "under 1 s", below(1)),
    ]


def _run(stack: Stack, events: list[dict[str, Any]]) -> str:
    execution = stack.execute("Hold on", execution_metadata={"interactive": True})
    stack.wait(execution, "waiting_for_input")
    big_runs.post(stack, execution, events)
    return execution


def _open(page: Any, stack: Stack, execution: str, shown: Callable[[], None]) -> float:
    page.goto(f"{stack.url}/#/")
    page.locator("#execution").wait_for(state="hidden")
    begin = time.perf_counter()
    page.goto(f"{stack.url}/#/executions/{execution}")
    shown()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main("page", __doc__, measure)
