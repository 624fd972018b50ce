"""A long execution: 500 steps, each a model call and a tool call whose output is 30 kB.

What a step costs must not depend on how many there were: Temporal history (bytes and events, over all runs that the
execution continues as), memory, the time of a step. The baseline of the last 50 steps are the first 50; for memory it
is steps 151 to 200, when allocators have settled (as in the bench `startup`).

The model is scripted and has a window of 128,000 tokens, so the conversation is summed up on the way, as it is with a
real one. `--plot FILE` draws the run as SVG.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
from temporalio.client import WorkflowHistory

from scripts.bench.plot import Panel, svg
from scripts.bench.report import Row, Spread, at_most, main, say
from scripts.bench.rig import Rig, rig
from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Process

STEPS, QUICK_STEPS = 500, 12
EDGE: Final = 50  # steps at either end that are compared
SETTLED: Final = 200  # steps after which memory has to be flat
OUTPUT: Final = 30_000  # bytes that a tool returns
MODEL: Final = "gpt-4o"  # its window is known: 128,000 tokens
SUMMARY: Final = "You summarise a conversation"  # how a request for a summary is known
MIB: Final = 2**20
FLAT: Final = 1.15  # times the baseline that count as flat
FLAT_TIME: Final = 1.3  # the same for time, in which the machine's other work shows
SHELL: Final = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["cat"], "timeout": 60}}


@dataclass
class Watch:
    """The watch notes what is visible from outside at each model call."""

    processes: dict[str, Process]
    at: list[float] = field(default_factory=list)  # wall clock, seconds
    rss: dict[str, list[float]] = field(default_factory=dict)  # MiB, by process
    given: list[int] = field(default_factory=list)  # bytes of conversation that the model was given
    summaries: int = 0

    def __call__(self, request: dict[str, Any]) -> None:
        if SUMMARY in str(request["body"]["messages"][0]["content"]):
            self.summaries += 1
            return
        self.at.append(time.time())
        self.given.append(int(request["headers"]["content-length"]))
        for name, process in self.processes.items():
            self.rss.setdefault(name, []).append(psutil.Process(process.pid).memory_info().rss / MIB)


def log_lines(seed: int, size: int) -> str:
    """Text as tools return it: lines of a log, which compress to about a fifth."""
    chance = random.Random(seed)
    out, length = [], 0
    while length < size:
        level, part = chance.choice(("INFO", "INFO", "WARN", "ERROR")), chance.choice(("disk", "queue", "http", "auth"))
        line = (
            f"2026-11-26T12:{chance.randrange(60):02}:{chance.randrange(60):02}.{chance.randrange(1000):03}Z {level} "
            f"{part}.{chance.choice(('checked', 'written', 'refused'))} request={chance.randrange(16**8):08x} "
            f"took={chance.randrange(5000)}ms free={chance.randrange(100)}%\n"
        )
        out.append(line)
        length += len(line)
    return "".join(out)[:size]


@dataclass(frozen=True)
class Run:
    """The figures of each step, in order."""

    seconds: list[float]
    history_bytes: list[float]
    history_events: list[float]
    worker: list[float]  # MiB
    control_plane: list[float]
    given: list[float]  # bytes of conversation that the model was given
    runs: int
    summaries: int

    def ends(self, of: str, edge: int, settled: int) -> tuple[list[float], list[float]]:
        """The last steps, and those before `settled`."""
        series = getattr(self, of)
        return series[-edge:], series[settled - edge : settled]


def perform(bench: Rig, steps: int) -> Run:
    script: list[dict[str, Any]] = [{"text": "The summary of what was done.", "when": SUMMARY, "forever": True}]
    for n in range(steps - 1):
        file = bench.workspace / f"material-{n}"
        file.write_text(log_lines(n, OUTPUT))
        call = {"name": "shell", "arguments": {"command": f"cat {file}"}}
        script.append({"text": f"Looking at part {n}.", "tools": [call]})
    script.append({"text": "The end."})
    watch = Watch({})
    with ModelEndpoint(script, kept=0, watch=watch) as endpoint:
        bench.start(OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-bench")
        assert bench.worker is not None and bench.stack.server is not None
        watch.processes |= {"worker": bench.worker, "control_plane": bench.stack.server}
        agent = bench.stack.agent(
            "long", skills=[SHELL], model_id=MODEL, configuration={"budgets": {"max_steps": 2 * steps}}
        )
        execution = bench.run(bench.api.execute(agent, bench.queue, "Look at all parts.", str(bench.workspace)))
        row = bench.stack.wait(execution, timeout=steps * 5 + 60)
        assert (row["status"], row["response"]) == ("completed", "The end."), row
        ended = time.time()
    assert len(watch.at) == steps, f"{len(watch.at)} model calls for {steps} steps"
    kept = bench.stack.call("GET", f"/executions/{execution}/session")["messages"]
    assert sum(len(x["content"]) for x in kept if x["role"] == "tool") == (steps - 1) * OUTPUT, "all of it is kept"
    histories = bench.run(all_runs(bench, f"agent-execution-{execution}"))
    spent_bytes, spent_events = by_step(histories, watch.at)
    say(f"{steps} steps in {len(histories)} runs, {watch.summaries} summaries")
    return Run(
        seconds=[b - a for a, b in itertools.pairwise([*watch.at, ended])],
        history_bytes=spent_bytes,
        history_events=spent_events,
        worker=watch.rss["worker"],
        control_plane=watch.rss["control_plane"],
        given=[float(x) for x in watch.given],
        runs=len(histories),
        summaries=watch.summaries,
    )


async def all_runs(bench: Rig, workflow_id: str) -> list[WorkflowHistory]:
    """The histories of all runs that an execution has continued as."""
    deadline = time.monotonic() + 30
    while True:  # what is listed comes a moment after the end
        found = [x async for x in bench.temporal.list_workflows(f'WorkflowId = "{workflow_id}"')]
        if (found and not any(x.close_time is None for x in found)) or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.1)
    return [await bench.temporal.get_workflow_handle(workflow_id, run_id=x.run_id).fetch_history() for x in found]


def by_step(histories: list[WorkflowHistory], began: list[float]) -> tuple[list[float], list[float]]:
    """(bytes, events) of history that came about from each step's model call to the next one's."""
    sizes, counts = [0.0] * len(began), [0.0] * len(began)
    for history in histories:
        for event in history.events:
            step = max(0, bisect.bisect(began, event.event_time.ToMicroseconds() / 1e6) - 1)
            sizes[step] += event.ByteSize()
            counts[step] += 1
    return sizes, counts


def smooth(series: list[float], over: int) -> list[float]:
    """The mean of the last `over` steps: what continuing as new costs is shared by the steps between."""
    return [sum(series[max(0, n - over + 1) : n + 1]) / min(over, n + 1) for n in range(len(series))]


def rows_of(run: Run, steps: int) -> list[Row]:
    edge, settled = min(EDGE, steps // 2), min(SETTLED, steps // 2)

    def row(what: str, unit: str, of: str, scale: float = 1, *, mean: bool = False, memory: bool = False) -> Row:
        begin = settled if memory else edge
        sides = ([x * scale for x in side] for side in run.ends(of, edge, begin))
        last, first = (Spread.of([sum(side) / edge] if mean else side) for side in sides)
        base = f"steps {begin - edge + 1} to {begin}"
        what = f"{what}, {'mean of ' if mean else ''}last {edge} of {steps} steps"
        return Row("D3", what, unit, last, base, first, "flat", at_most(FLAT_TIME if unit == "ms" else FLAT))

    rows = [
        row("history of a step", "kB", "history_bytes", 1e-3, mean=True),
        row("history events of a step", "", "history_events", mean=True),
        row("time of a step", "ms", "seconds", 1000),
        row("worker's memory", "MiB", "worker", memory=True),
        row("control plane's memory", "MiB", "control_plane", memory=True),
    ]
    rows[0].more.update(runs=run.runs, summaries=run.summaries, output_bytes=OUTPUT)
    return rows


def plot(run: Run, path: Path) -> None:
    over = 25
    per = f"mean of {over} steps"
    path.write_text(
        svg(
            f"{len(run.seconds)} steps with tool outputs of {OUTPUT // 1000} kB",
            "step",
            [
                Panel(f"history, kB per step ({per})", {"": smooth([x / 1000 for x in run.history_bytes], over)}),
                Panel(f"history, events per step ({per})", {"": smooth(run.history_events, over)}),
                Panel("memory, MiB", {"worker": run.worker, "control plane": run.control_plane}),
                Panel(f"time of a step, ms ({per})", {"": smooth([x * 1000 for x in run.seconds], over)}),
                Panel("conversation that the model is given, kB", {"": [x / 1000 for x in run.given]}),
            ],
        )
    )


def measure(quick: bool) -> list[Row]:
    steps = QUICK_STEPS if quick else STEPS
    with rig() as bench:
        run = perform(bench, steps)
    if PLOT:
        plot(run, Path(PLOT))
    return rows_of(run, steps)


PLOT = ""

if __name__ == "__main__":
    import sys

    if "--plot" in sys.argv:
        at = sys.argv.index("--plot")
        PLOT = sys.argv[at + 1]
        del sys.argv[at : at + 2]
    main("long-run", __doc__, measure)
